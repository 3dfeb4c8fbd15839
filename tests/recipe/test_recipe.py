"""Recipes: what is read, what stands where, what is the same recipe, and how a mistake is reported.

The messages as people see them, one for each kind of mistake, are in test_bad_inputs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from selftaught.core.errors import BadInput, BadRecipe
from selftaught.recipe import AXES, Recipe, blocks, schema

REPOSITORY = Path(__file__).parents[2]
SHIPPED = sorted((REPOSITORY / "recipes").glob("*.yaml"))
TEXT = """\
name: two
models: {policy: smollm2-135m-instruct}
tasks:
  type: word_problems
  train: 12
  gate: 10
  report: 10
stages:
  - name: warm
    rounds: 2
    sample: {type: iid, k: 4}
    verify:
      - type: answer_match
      - type: rules
    curate: {type: accepted}
    train:
      type: sft
      lora: {rank: 8}
    evaluate: [{type: accuracy}, {type: pass_at_k, k: 4}]
    gate: {type: paired_gain, guard: none}
  - name: main
    sample: {type: iid, k: 8}
    verify: {type: answer_match}
    curate: [{type: accepted}]
    train: {type: sft}
    evaluate: {type: accuracy}
    gate: {type: paired_gain, guard: none}
"""


def parsed(text: str = TEXT, *overrides: str) -> Recipe:
    return Recipe.parse(text, "two.yaml", overrides)


def mistake(text: str, *overrides: str) -> list[str]:
    """The lines of the message that `text` gets."""
    with pytest.raises(BadRecipe) as raised:
        parsed(text, *overrides)
    return str(raised.value).splitlines()


# What is read -------------------------------------------------------------------------------------------------------


def test_a_block_and_a_list_of_one_block_are_the_same() -> None:
    single = TEXT.replace("curate: [{type: accepted}]", "curate: {type: accepted}")
    assert parsed(single) == parsed()
    assert [block.name for block in parsed().stages[0].verify] == ["answer_match", "rules"]


def test_a_type_from_before_a_block_was_renamed_is_the_same_block() -> None:
    inbox = TEXT.replace("type: word_problems\n  train: 12", "type: inbox\n  path: inbox\n  train: 12")
    former = inbox.replace("type: inbox", "type: dropped")
    assert (parsed(former), parsed(former).digest) == (parsed(inbox), parsed(inbox).digest)
    assert parsed(former).tasks.name == "inbox"
    (line,) = mistake(former.replace("  train: 12", "  train: 12\n  gaet: 3"))[:1]
    assert line == "two.yaml:7: tasks.gaet: no such field. Did you mean 'gate'?"


def test_rounds_go_through_the_stages_in_order_and_stay_in_the_last() -> None:
    assert [stage.name for stage in islice(parsed().rounds(), 5)] == ["warm", "warm", "main", "main", "main"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_under_its_own_name(path: Path) -> None:
    recipe = Recipe.load(path)
    assert (recipe.name, bool(recipe.description)) == (path.stem, True)
    assert path.read_text().startswith("# "), "a recipe begins with where it comes from"


def test_what_the_overlays_schedule_is_decided_as_the_recipe_of_that_name_is() -> None:
    texts = [
        schedule["recipe"]
        for file in (REPOSITORY / "manifests" / "overlays").glob("*/values.yaml")
        for schedule in yaml.safe_load(file.read_text()).get("schedules", [])
    ]
    assert texts
    for scheduled in map(Recipe.parse, texts):
        shipped = Recipe.load(REPOSITORY / "recipes" / f"{scheduled.name}.yaml")
        assert scheduled.tasks.sizes()["guard"] == shipped.tasks.sizes()["guard"]
        assert [stage.gate for stage in scheduled.stages] == [stage.gate for stage in shipped.stages]
        assert scheduled.stages[0].evaluate[0] == shipped.stages[0].evaluate[0]


def test_recipes_are_shipped() -> None:
    assert {"rft", "star", "unfiltered"} <= {path.stem for path in SHIPPED}


# The same recipe, or another ----------------------------------------------------------------------------------------


def test_the_digest_is_blind_to_comments_formatting_key_order_and_spelt_out_defaults() -> None:
    """A recipe goes to every step as JSON with all defaults, and has to stay the same one."""
    recipe = parsed()
    assert parsed("# a comment\n" + TEXT.replace("{rank: 8}", "{ rank:   8 }")).digest == recipe.digest
    assert parsed(json.dumps(yaml.safe_load(TEXT), sort_keys=True)).digest == recipe.digest
    assert parsed(recipe.model_dump_json()).digest == recipe.digest


def leaves(data: Any, dotted: str = "") -> list[tuple[str, Any]]:
    """Every path to a plain value of a recipe, as `--set` writes it."""
    if isinstance(data, dict):
        return [leaf for key, value in data.items() for leaf in leaves(value, f"{dotted}.{key}".strip("."))]
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return [leaf for index, value in enumerate(data) for leaf in leaves(value, f"{dotted}.{index}")]
    return [(dotted, data)]


@pytest.mark.parametrize(
    "change", ["name=other", "models.policy=other", "tasks.train=13", "stages.warm.train.learning_rate=1.0e-6"]
)
def test_the_digest_changes_with_any_field(change: str) -> None:
    assert parsed(TEXT, change).digest != parsed().digest


def test_every_number_of_a_recipe_is_in_its_digest() -> None:
    spelt = parsed().model_dump(mode="json")
    numbers = [(dotted, value) for dotted, value in leaves(spelt) if isinstance(value, int) and value > 1]
    digests = {parsed(json.dumps(spelt), f"{dotted}={value + 1}").digest for dotted, value in numbers}
    assert len(digests | {parsed().digest}) == len(numbers) + 1


@pytest.mark.parametrize(("default", "same"), [("", True), ("other", False)])
def test_a_default_that_another_version_changes_makes_another_recipe(default: str, same: bool) -> None:
    """What was made under another default is not this recipe's, though both files say the same."""

    class Later(Recipe):
        description: str = default

    assert (Later.parse(TEXT).digest == parsed().digest) is same


# Overrides ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dotted", ["stages.main.sample.k", "stages.1.sample.k", "stages.warm.sample.k", "stages.0.sample.k"]
)
def test_a_stage_is_overridden_by_name_or_index(dotted: str) -> None:
    at = 0 if "warm" in dotted or "0" in dotted else 1
    assert parsed(TEXT, f"{dotted}=3").stages[at].model_dump()["sample"]["k"] == 3
    assert parsed(TEXT, f"{dotted}=3").stages[1 - at] == parsed().stages[1 - at]


def test_a_block_of_a_list_is_overridden_by_its_type() -> None:
    metric = parsed(TEXT, "stages.warm.evaluate.pass_at_k.k=2").stages[0].evaluate[1]
    assert metric.name == "pass@2"


def test_an_override_may_add_a_field_replace_a_block_and_goes_last() -> None:
    recipe = parsed(TEXT, "description=mine", "tasks={type: jsonl, path: a, train: 1, gate: 1, report: 1}")
    assert (recipe.description, recipe.tasks.name) == ("mine", "jsonl")
    assert parsed(TEXT, "tasks.train=5", "tasks.train=6").tasks.train == 6


def test_an_override_may_be_of_fields_that_the_file_does_not_spell_out() -> None:
    made = parsed(TEXT, "chat_template.enable_thinking=false", "stages.1.train.lora.rank=8")
    (objective,) = made.stages[1].train
    assert made.chat_template == {"enable_thinking": False}
    assert objective.model_dump()["lora"]["rank"] == 8
    line = mistake(TEXT, "stages.1.train.lroa.rank=8")[0]
    assert line.startswith("--set stages.1.train.lroa.rank=8: stages.main.train.lroa: no such field.")
    nameless = TEXT.replace("  - name: main\n    sample", "  - sample")
    assert parsed(nameless, "stages.main.sample.k=3").stages[1].sample.model_dump()["k"] == 3


def test_a_mistake_in_an_override_is_told_of_the_override_not_of_the_file() -> None:
    (line,) = mistake(TEXT, "tasks.train=none")
    assert line == "--set tasks.train=none: tasks.train: 'none': should be an integer."
    (line,) = mistake(TEXT, "tasks={type: word_problems, train: x, gate: 1, report: 1}")
    assert line.startswith("--set tasks={")


def test_a_mistake_beside_an_override_is_still_told_of_the_file() -> None:
    (line,) = mistake(TEXT.replace("gate: 10", "gate: ten"), "tasks.train=5")
    assert line == "two.yaml:6: tasks.gate: 'ten': should be an integer."


@pytest.mark.parametrize("override", ["", "=3", "stages", "stages.=3=", "stages.0.0.0=1", "models.policy.x=1", "a.b=["])
def test_an_override_that_means_nothing_is_refused_with_its_own_text(override: str) -> None:
    assert mistake(TEXT, override)[0].startswith(f"--set {override}: ")


# Where a mistake is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("  train: 12", "  train: 0", "two.yaml:5: tasks.train: 0: should be greater than 0."),
        ("  train: 12", "  train: 1.5", "two.yaml:5: tasks.train: 1.5: should be an integer."),
        (
            "      - type: rules",
            "      - type: rulse",
            "two.yaml:14: stages.warm.verify.1.type: unknown verifier 'rulse'.",
        ),
        (
            "lora: {rank: 8}",
            "lora: {rnk: 8}",
            "two.yaml:18: stages.warm.train.lora.rnk: no such field. Did you mean 'rank'?",
        ),
        ("{rank: 8}", "{rank: high}", "two.yaml:18: stages.warm.train.lora.rank: 'high': should be an integer."),
        (
            "curate: [{type: accepted}]",
            "curate: []",
            "two.yaml:21: stages.main: curate is missing: a stage has train and",
        ),
        ("    train: {type: sft}\n", "", "two.yaml:21: stages.main: train is missing: a stage has train and curate,"),
        ("    verify: {type: answer_match}\n", "", "two.yaml:21: stages.main.verify: is missing."),
        (
            "    verify: {type: answer_match}\n",
            "    verify: []\n",
            "two.yaml:23: stages.main.verify: []: should not be",
        ),
        ("  - name: warm", "  - name: Warm Up", "two.yaml:9: stages.Warm Up.name: 'Warm Up': should be lower case"),
        ("name: two\n", "name: [two]\n", "two.yaml:1: name: ['two']: should be text."),
        (
            "models: {policy: smollm2-135m-instruct}",
            "models: smollm2",
            "two.yaml:2: models: 'smollm2': should be a mapping.",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_field(old: str, new: str, text: str) -> None:
    assert TEXT.count(old) == 1
    assert mistake(TEXT.replace(old, new))[0].startswith(text)


@pytest.mark.parametrize("keep", ["recovered", "[held, recovered]", "improved"])
def test_what_became_of_a_second_answer_is_no_choice_where_there_is_one(keep: str) -> None:
    turns = "{type: dialogue, turns: [{name: plan, kind: action}, {name: solution, ask: Now solve it.}]}"
    two = TEXT.replace("sample: {type: iid, k: 8}", f"sample: {turns}").replace(
        "[{type: accepted}]", f"{{type: transcripts, keep: {keep}}}"
    )
    (said, *_) = mistake(two)
    assert "'transcripts' keeps rollouts by what became of 2 answers, and sample has 1" in said
    parsed(two.replace(f"keep: {keep}", "keep: [held, passed]"))
    parsed(two.replace("kind: action", "kind: attempt"))
    (said, *_) = mistake(TEXT.replace("[{type: accepted}]", f"{{type: transcripts, keep: {keep}}}"))
    assert "and sample has 1 (turns of kind attempt or refinement: the answer)" in said


def test_all_mistakes_are_told_at_once() -> None:
    found = mistake(
        TEXT.replace("k: 4}\n", "k: no}\n", 1).replace("train: 12", "train: twelve").replace("name: two", "nme: two")
    )
    places = [line.split(": ")[0] for line in found if line.startswith("two.yaml")]
    assert sorted(places) == ["two.yaml:1", "two.yaml:1", "two.yaml:11", "two.yaml:5"]


def test_a_list_is_not_called_short_because_its_entry_is_wrong() -> None:
    assert len([line for line in mistake(TEXT.replace("type: rules", "type: rulse")) if "two.yaml" in line]) == 1


def test_an_alias_of_itself_is_refused() -> None:
    (line,) = mistake("name: x\nmodels: &m\n  policy: *m\n")
    assert "contains itself" in line


@settings(max_examples=60)
@given(
    st.integers(0, len(TEXT) - 1),
    st.integers(0, 12),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")) | st.just("\n"), max_size=6),
)
def test_whatever_is_changed_it_is_a_recipe_or_told_with_its_place(start: int, length: int, new: str) -> None:
    """No spelling of a recipe ends in a traceback."""
    text = "two.yaml: a recipe"
    try:
        parsed(TEXT[:start] + new + TEXT[start + length :])
    except BadRecipe as error:
        text = str(error)
    assert text.startswith("two.yaml")


# What YAML says, and what is no recipe -------------------------------------------------------------------------------


def bomb(aliases: int, deep: int) -> str:
    """Lists of `aliases` aliases each of the list before it: `aliases ** deep` values in a few hundred bytes."""
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * aliases)}]\n" for level in range(1, deep)]
    return "l0: &l0 [x]\n" + "".join(levels)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("#### (.+)", "no value. Did # start a comment? Quote the value, or write null or ''."),
        ("", "no value. Did # start a comment?"),
        ("0x_", "'0x_' starts like a number but is not one. Quote it."),
        ("!!int x", "'x' starts like a number but is not one."),
        ("9" * 5000, f"'{'9' * 40}' starts like a number but is not one."),
        (".inf", ".inf: should be a finite number."),
        ("-1.0e+400", "-1.0e+400: should be a finite number."),
        (".nan", ".nan: should be a finite number."),
        (r'"\uD83D"', r"'\ud83d': holds half a character"),
        ("!!binary aGk=", "!!binary is nothing that a recipe holds."),
        ("!!set {a}", "!!set is nothing that a recipe holds."),
        ("{1: x}", "has a key that is not text. Quote the key."),
    ],
)
def test_what_no_recipe_can_say_is_told_of_its_line_and_of_an_override(value: str, text: str) -> None:
    (line,) = mistake(TEXT.replace("name: two", f"name: two\ndescription: {value}"))
    assert line.startswith("two.yaml:2: description: ")
    assert text in line
    (line,) = mistake(TEXT, f"description={value}")
    assert line.startswith(f"--set description={value}: ")
    assert text in line


def test_a_comment_never_takes_an_answer_pattern_away() -> None:
    """GSM8K's marker begins a YAML comment; without the pattern every worked solution would be a gold answer."""
    tasks = "tasks={type: jsonl, path: a, train: 1, gate: 1, report: 1}"
    (line,) = mistake(TEXT, tasks, "tasks.answer_pattern=#### (.+)")
    assert "Did # start a comment?" in line
    recipe = parsed(TEXT, tasks, "tasks.answer_pattern='#### (.+)'")
    assert recipe.model_dump(mode="json")["tasks"]["answer_pattern"] == "#### (.+)"
    assert parsed(TEXT, tasks, "tasks.answer_pattern=null").model_dump()["tasks"]["answer_pattern"] is None


@pytest.mark.parametrize("value", ["true", "yes", "on"])
@pytest.mark.parametrize("dotted", ["tasks.train", "stages.warm.train.learning_rate", "stages.warm.sample.temperature"])
def test_true_is_no_number(dotted: str, value: str) -> None:
    """pydantic makes 1 of it: `k: yes` would have been one rollout."""
    assert mistake(TEXT, f"{dotted}={value}") == [f"--set {dotted}={value}: {dotted}: True: should be a number."]


@pytest.mark.parametrize("letter", ["\0", "\x1b", "\x7f"])
def test_a_control_character_is_told_with_its_line(letter: str) -> None:
    (found,) = mistake(f"# one\n# two\n# {letter}\n{TEXT}")
    assert found.startswith(f"two.yaml:3: not valid YAML (it holds the control character {letter!a}). Remove it.")


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("x: {ask: which one?, n: 4}", "Put text with any of : ? # , { } [ ] @ % in quotes."),
        ("x: {ask: {task} Think.}", "Put text with any of : ? # , { } [ ] @ % in quotes."),
        ("x: Say: yes", "Put text with a colon in quotes, or indent the line like what stands beside it."),
        ("x: {ask: count the #s, n: 4}", "The bracket of line 1 is not closed, or a # without quotes hides its end."),
        ("x: {ask: 'yes, n: 4}", "The quote of line 1 is not closed."),
        ("x:\n\ty: 1", "Indent with spaces."),
        ("x:\n  - y: 1\n z: 2", "Indent it like what stands beside it."),
    ],
)
def test_what_is_no_yaml_is_told_with_what_to_do(line: str, advice: str) -> None:
    (found,) = mistake(f"{line}\n")
    assert found.endswith(f"). {advice}")


@pytest.mark.parametrize("role", ["a/b", "..", "", "A", "a b", "-a"])
def test_a_role_is_called_as_a_line_may_be(role: str) -> None:
    (found,) = mistake(TEXT, f"models={{policy: m, '{role}': m}}")
    assert f"models.{role}: '{role}': should be lower case letters, digits, dashes and underscores" in found


def test_a_date_is_a_text() -> None:
    for day in ("2026-11-28", "2026-99-99"):
        assert parsed(TEXT, f"description={day}").description == day


@pytest.mark.parametrize("text", ["[" * 2_000, "{a: " * 2_000, f"a: {'[' * 25}{']' * 25}"])
def test_what_is_nested_too_deep_is_refused(text: str) -> None:
    assert "20 deep" in mistake(text)[0]
    assert "20 deep" in mistake(TEXT, f"tasks={text}")[0]


def test_aliases_of_aliases_are_refused_before_they_are_spelt_out() -> None:
    assert mistake(TEXT + bomb(9, 9))[0].endswith("is more than 10,000 values, aliases spelt out. Remove the aliases.")
    assert len(bomb(9, 9)) < 500
    merged = bomb(9, 9).replace("[", "{<<: [").replace("]", "]}").replace("[x]", "{x: y}")
    assert "aliases spelt out" in mistake(merged)[0]


def test_an_alias_means_what_it_names() -> None:
    again = TEXT.replace("evaluate: {type: accuracy}", "evaluate: *e").replace("evaluate: [", "evaluate: &e [")
    assert parsed(again).stages[1].evaluate == parsed().stages[0].evaluate


@pytest.mark.parametrize(
    "dotted", ["stages.main.sample.temperature", "stages.warm.train.learning_rate", "stages.main.gate.min_gain"]
)
@pytest.mark.parametrize("value", ["'inf'", "'nan'", ".inf"])
def test_no_field_takes_a_number_that_json_cannot_say(dotted: str, value: str) -> None:
    """The pipeline gets the recipe as JSON, where they are null."""
    assert "should be a finite number" in mistake(TEXT, f"{dotted}={value}")[0]


def test_recipes_are_utf_8_whatever_the_locale_and_what_a_terminal_cannot_show_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_bytes(("\ufeff" + TEXT + "description: \u00dcbung\n").encode())
    command = [sys.executable, "-m", "selftaught", "recipes"]
    locale = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for environment in (locale, {**os.environ, "PYTHONIOENCODING": "ascii"}):
        result = subprocess.run(
            [*command, "list", tmp_path, "--json"], capture_output=True, check=True, env=environment, cwd=tmp_path
        )
        assert json.loads(result.stdout)[0]["description"] == "\u00dcbung"
        shown = subprocess.run(
            [*command, "list", tmp_path], capture_output=True, check=True, env=environment, cwd=tmp_path
        )
        assert rb"\xdcbung" in shown.stdout


# The schema ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_schema_takes_every_shipped_recipe(path: Path) -> None:
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [("type: rules", "type: rulse"), ("k: 8", "k: 0"), ("name: two", "nme: two"), ("{rank: 8}", "{rnk: 8}")],
)
def test_the_schema_refuses_what_the_parser_refuses(old: str, new: str) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid(json.loads(json.dumps(yaml.safe_load(TEXT))))
    assert not validator.is_valid(yaml.safe_load(TEXT.replace(old, new, 1)))


# Blocks -------------------------------------------------------------------------------------------------------------


def test_every_axis_has_blocks_and_each_says_what_it_does() -> None:
    for axis in AXES:
        ours = {name: block for name, block in blocks(axis).items() if block.__module__.startswith("selftaught.")}
        assert ours
        for name, block in ours.items():
            assert (block.__doc__ or "").strip(), name
            assert block.model_fields["type"].default is not None or block.model_fields["type"].is_required()


def test_every_field_of_a_recipe_and_of_what_it_holds_says_what_it_means() -> None:
    ours = (block for axis in AXES for block in blocks(axis).values() if block.__module__.startswith("selftaught."))
    silent = [
        f"{model.__name__}.{name}"
        for model in models(Recipe, *ours)
        for name, field in model.model_fields.items()
        if name != "type" and not field.description
    ]
    assert not silent


def models(*roots: Any) -> Iterable[type[BaseModel]]:
    """The models among `roots`, and those that their fields hold."""
    found: dict[type[BaseModel], None] = {}
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        if not (isinstance(each, type) and issubclass(each, BaseModel)):
            waiting += get_args(each)
        elif each not in found:
            found[each] = None
            waiting += [field.annotation for field in each.model_fields.values()]
    return found


def test_an_axis_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match=r"unknown axis 'verifier'\. Did you mean 'verify'"):
        blocks("verifier")


PLUGIN = '''
"""A verifier of somebody else's."""
from selftaught.blocks import RolloutVerifier
from selftaught.records import Verdict


class Polite(RolloutVerifier, type="polite"):
    """Pass a rollout that says please."""

    word: str = "please"

    def verdict(self, task, rollout):
        return Verdict(score=1.0, passed=self.word in rollout.text, reason="")
'''


def test_a_block_of_another_package_comes_in_through_its_entry_point(tmp_path: Path) -> None:
    """As installed: a module, and a dist-info folder that names it in the group `selftaught.blocks`."""
    (tmp_path / "polite_blocks.py").write_text(PLUGIN)
    info = tmp_path / "polite-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: polite\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[selftaught.blocks]\npolite = polite_blocks\n")
    recipe = tmp_path / "polite.yaml"
    recipe.write_text(TEXT.replace("verify: {type: answer_match}", "verify: {type: polite, word: thanks}"))
    code = (
        "from pathlib import Path; import sys; from selftaught.recipe import Recipe;"
        "print(Recipe.load(Path(sys.argv[1])).stages[1].verify[0].word)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, "-c", code, recipe], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.stdout, done.returncode) == ("thanks\n", 0), done.stderr
    with pytest.raises(BadRecipe, match="unknown verifier 'polite'"):
        Recipe.load(recipe)


# On its way through Kubeflow Pipelines --------------------------------------------------------------------------------

PLAIN = yaml.safe_load(TEXT)


@given(text=st.text("{}$()\\\"' nA%é\n", max_size=40))
def test_a_recipe_comes_through_a_pipeline_as_it_is(text: str):
    """Nothing in it is a variable to Argo, nor to Kubernetes, and what is read at the other end is the same recipe."""
    recipe = Recipe.parse(json.dumps(PLAIN | {"description": f"x{text}x"}))
    found = recipe.as_argument()
    assert "{{" not in found
    assert "$" not in found
    assert Recipe.parse(found).digest == recipe.digest
    assert json.loads(found)["description"] == recipe.description


@pytest.mark.parametrize("text", ["Solve $$x^2 = 4$$.", "\\\\frac{{a}}{b}", "{{ question }}", "$(HOME)", "{{{a}}}"])
def test_what_argo_and_kubernetes_would_have_changed(text: str):
    recipe = Recipe.parse(json.dumps(PLAIN | {"description": text}))
    assert Recipe.parse(recipe.as_argument()).description == text


def test_a_recipe_that_no_argument_holds_is_refused():
    recipe = Recipe.parse(json.dumps(PLAIN | {"description": "x" * 100_000}))
    with pytest.raises(BadInput, match=r"two: the recipe is 10\d,\d{3} bytes, and a pipeline takes 100,000"):
        recipe.as_argument()


# What a stage's blocks need of one another ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curate", "train", "words"),
    [
        ("advantages", "sft", "'sft' learns from examples to imitate, and curate (advantages) gives some to reinforce"),
        (
            "accepted",
            "policy_gradient",
            "learns from examples to reinforce, and curate (accepted) gives some to imitate",
        ),
        ("accepted", "dpo", "learns from examples to prefer, and curate (accepted) gives some to imitate"),
    ],
)
def test_an_objective_that_no_curator_gives_examples_is_refused(curate: str, train: str, words: str):
    (said,) = mistake(TEXT, f"stages.main.curate={{type: {curate}}}", f"stages.main.train={{type: {train}}}")
    assert words in said and "Train by" in said and "or curate by" in said


@pytest.mark.parametrize("unset", [("gate", "curate", "train"), ("gate", "evaluate"), ("control",)])
def test_null_unsets_a_list_as_it_does_a_gate(unset: tuple[str, ...]):
    stage = parsed(TEXT, *(f"stages.main.{axis}=null" for axis in unset)).stages[-1]
    assert not any(getattr(stage, axis) for axis in unset)


def test_what_has_to_be_there_is_not_unset():
    assert "stages.main.verify" in mistake(TEXT, "stages.main.verify=null")[0]


def test_what_is_replayed_does_not_make_up_for_a_curator():
    (said,) = mistake(TEXT, "stages.main.train={type: dpo}", "stages.main.replay=240")
    assert "learns from examples to prefer" in said


@pytest.mark.parametrize("sample", ["iid", "budget", "rationalise", "trie", "self_play", "search"])
def test_a_turn_is_no_turn_of_a_sampler_whose_turns_have_no_names(sample: str):
    fields = {"search": "{type: search, select: {type: uct}, value: {type: verifier}}"}
    changes = [f"stages.main.sample={fields.get(sample, f'{{type: {sample}}}')}"]
    (said,) = mistake(TEXT, *changes, "stages.main.verify={type: stated, turn: check}")
    assert said.endswith("verify names the turn 'check', but sample has no turns with names. Sample by `dialogue`.")


def test_an_objective_with_one_curator_of_several_is_not():
    blocks = "stages.main.curate=[{type: accepted}, {type: advantages}]"
    assert parsed(TEXT, blocks, "stages.main.train={type: policy_gradient}")


@pytest.mark.parametrize("curate", ["{type: advantages, rewards: {answr_match: 1}}", "{type: pairs, by: answr_match}"])
def test_a_curator_goes_by_verifiers_that_there_are(curate: str):
    train = "policy_gradient" if "advantages" in curate else "dpo"
    (said,) = mistake(TEXT, f"stages.main.curate={curate}", f"stages.main.train={{type: {train}}}")
    assert "goes by the verifier 'answr_match', but verify has answer_match. Did you mean 'answer_match'?" in said


def test_what_the_tasks_own_checks_are_is_not_known_before():
    own = ["stages.main.verify={type: task_check}", "stages.main.curate={type: pairs, by: answer_match}"]
    assert parsed(TEXT, *own, "stages.main.train={type: dpo}")
