"""Recipes that extend others, stages of the library, and profiles: what they come to, and where their values stand."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core import shipped
from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe, schema
from selftaught.recipe.inheritance import _data, _merged, _node  # pyright: ignore[reportPrivateUsage]
from selftaught.recipe.models import ExternalModel, IterateModel

SPELT_OUT = sorted((Path(__file__).parent / "spelt_out").glob("*.yaml"))
BASE = """\
name: base
models: {policy: smollm2-135m-instruct}
tasks: {type: word_problems, train: 12, gate: 10, report: 10}
stages:
  - name: main
    sample: {type: iid, k: 8}
    verify: [{type: answer_match}, {type: rules}]
    curate: {type: accepted, per_task: 2}
    train: {type: sft, lora: {rank: 8}}
    evaluate: {type: accuracy}
    gate: {type: paired_gain, guard: none}
profiles:
  small: {tasks: {train: 3}}
  deep: {stages: [{sample: {k: 64}}]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    """A folder with base.yaml."""
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def child(folder: Path, text: str, *overrides: str, profile: str = "") -> Recipe:
    (folder / "child.yaml").write_text(f"extends: base.yaml\nname: child\n{text}")
    return Recipe.load(folder / "child.yaml", overrides, profile)


def mistake(folder: Path, text: str, *overrides: str, profile: str = "") -> str:
    """The message that a recipe which extends base.yaml gets, without the folder."""
    with pytest.raises(BadRecipe) as raised:
        child(folder, text, *overrides, profile=profile)
    return str(raised.value).replace(f"{folder}/", "")


def dumped(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")


# What a recipe inherits -----------------------------------------------------------------------------------------------


def test_a_recipe_that_changes_nothing_is_the_one_that_it_extends_under_its_own_name(folder: Path) -> None:
    base = Recipe.load(folder / "base.yaml", ["name=child"])
    assert (child(folder, ""), child(folder, "").digest) == (base, base.digest)


def test_a_name_is_not_inherited(folder: Path) -> None:
    (folder / "child.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(BadRecipe, match=r"child\.yaml:1: name: is missing"):
        Recipe.load(folder / "child.yaml")


def test_a_profile_that_is_null_and_inherited_from_nowhere_is_a_mistake(folder: Path) -> None:
    said = mistake(folder, "profiles: {smal: null}\n")
    assert said == "child.yaml:3: profiles.smal: null leaves out no inherited profile. Did you mean 'small'?"


@pytest.mark.parametrize(
    ("text", "left"), [("profiles: null\n", set()), ("profiles: {small: null}\n", {"deep"}), ("", {"small", "deep"})]
)
def test_profiles_that_are_null_are_not_inherited(folder: Path, text: str, left: set[str]) -> None:
    assert child(folder, text).profiles.keys() == left


def test_mappings_are_merged_and_lists_replaced(folder: Path) -> None:
    stage = "stages:\n  - {name: main, sample: {k: 2}, verify: [{type: answer_match}], train: {lora: {alpha: 3}}}\n"
    made = dumped(child(folder, f"tasks: {{train: 5}}\n{stage}"))
    assert (made["tasks"]["train"], made["tasks"]["gate"]) == (5, 10)
    main = made["stages"][0]
    assert (main["sample"]["type"], main["sample"]["k"]) == ("iid", 2)
    assert [each["type"] for each in main["verify"]] == ["answer_match"]
    assert (main["train"][0]["lora"]["rank"], main["train"][0]["lora"]["alpha"]) == (8, 3)


def test_a_block_of_another_type_inherits_no_field(folder: Path) -> None:
    made = dumped(child(folder, "stages: [{name: main, curate: {type: unfiltered}}]"))
    assert made == dumped(child(folder, "", "stages.main.curate={type: unfiltered}"))


def test_a_reference_to_a_model_of_another_kind_inherits_no_field(folder: Path) -> None:
    others = "hosted: {models: {judge: {url: 'https://h/v1', model: m}}}, head: {models: {judge: {iterate: head}}}"
    (folder / "child.yaml").write_text(f"extends: judged.yaml\nname: child\nprofiles: {{{others}}}\n")
    text = (folder / "base.yaml").read_text()
    assert "models: {" in text
    (folder / "judged.yaml").write_text(
        text.replace("models: {", "models: {judge: {iterate: champion, line: rft}, ", 1)
    )
    hosted, head = (Recipe.load(folder / "child.yaml", (), name).models["judge"] for name in ("hosted", "head"))
    assert hosted == ExternalModel(url="https://h/v1", model="m")
    assert head == IterateModel(iterate="head", line="rft")


def test_a_new_stage_precedes_the_inherited_one_that_follows_it_and_is_last_where_none_does(folder: Path) -> None:
    new = "{name: %s, sample: {type: iid}, verify: {type: rules}, evaluate: {type: accuracy}}"
    stages = f"stages: [{new % 'a'}, {new % 'b'}, {{name: main, rounds: 3}}, {new % 'c'}]"
    made = child(folder, stages)
    assert [(stage.name, stage.rounds) for stage in made.stages] == [("a", 1), ("b", 1), ("main", 3), ("c", 1)]


def test_a_recipe_extends_a_shipped_one_by_name_even_from_a_file_of_that_name(folder: Path) -> None:
    (folder / "rft.yaml").write_text("extends: rft\nname: mine\n")
    assert dumped(Recipe.load(folder / "rft.yaml")) == dumped(Recipe.load(Path("rft"), ["name=mine"]))
    assert dumped(Recipe.parse('{"extends": "rft", "name": "mine"}')) == dumped(Recipe.load(Path("rft"), ["name=mine"]))


def test_a_stage_of_the_library_is_extended_by_name_and_one_of_a_file_by_path(folder: Path) -> None:
    (folder / "mine.yaml").write_text("extends: warm-up\nrounds: 2\nsample: {k: 5}\n")
    stages = "stages: [{extends: warm-up}, {extends: mine.yaml, name: second}, {name: main}]"
    first, second, _ = child(folder, stages + "\ntasks: {guard: 4}").stages
    assert (first.name, second.name, second.rounds) == ("warm", "second", 2)
    assert second.model_dump()["sample"] == first.model_dump()["sample"] | {"k": 5}


texts = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner) | st.lists(inner, max_size=2)
)


@given(texts, texts)
def test_merging_again_and_merging_nothing_changes_nothing(one: Any, two: Any) -> None:
    base, over, nothing = (_node({"x": each}, (), {}, "here") for each in (one, two, {}))
    merged = _data(_merged(base, over))
    assert _data(_merged(_merged(base, over), over)) == merged
    assert _data(_merged(_merged(base, nothing), over)) == _data(_merged(base, _merged(over, over))) == merged


# The same recipe ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SPELT_OUT, ids=lambda path: path.stem)
def test_the_shipped_recipes_run_what_they_ran_before_they_shared_stages(path: Path) -> None:
    assert Recipe.load(shipped.recipes() / path.name).digest == Recipe.load(path).digest


def test_what_goes_to_a_pipeline_stands_alone(folder: Path) -> None:
    """A parent that changes later does not change what ran."""
    made = child(folder, "stages: [{extends: warm-up}, {name: main}]\ntasks: {guard: 4}", profile="small")
    sent = made.as_argument()
    (folder / "base.yaml").write_text("name: [")
    assert Recipe.parse(sent).digest == made.digest
    assert not {"extends", "profiles"} & {*json.loads(sent), *json.loads(sent)["stages"][0]}


def test_every_stage_of_the_library_is_one_of_a_shipped_recipe() -> None:
    used = "".join(path.read_text() for path in shipped.recipes().rglob("*.yaml"))
    for path in shipped.stages().iterdir():
        assert path.suffix == ".yaml"
        assert f"extends: {path.stem}\n" in used
        assert path.read_text().startswith("# "), "a stage begins with what it is for"


# Profiles -------------------------------------------------------------------------------------------------------------


def test_a_profile_is_merged_over_the_recipe_before_overrides(folder: Path) -> None:
    base = folder / "base.yaml"
    assert Recipe.load(base, profile="small") == Recipe.load(base, ["tasks.train=3"])
    assert Recipe.load(base, ["tasks.train=4"], "small") == Recipe.load(base, ["tasks.train=4"])
    assert Recipe.load(base, profile="deep") == Recipe.load(base, ["stages.main.sample.k=64"])


def test_profiles_are_no_part_of_the_digest(folder: Path) -> None:
    alone = BASE.partition("profiles:")[0]
    assert Recipe.parse(BASE).digest == Recipe.parse(alone).digest
    assert Recipe.parse(BASE, profile="small").digest == Recipe.parse(alone, overrides=["tasks.train=3"]).digest


def test_profiles_are_inherited_and_merged_by_name(folder: Path) -> None:
    profiles = "profiles: {deep: {stages: [{name: main, rounds: 5}]}, other: {tasks: {train: 99}}}"
    made = child(folder, profiles, profile="deep")
    assert (made.stages[0].rounds, dumped(made)["stages"][0]["sample"]["k"]) == (5, 64)
    assert set(made.profiles) == {"small", "deep", "other"}


def test_the_name_of_a_profile_is_not_inherited(folder: Path) -> None:
    """It is that of a line: what builds on a recipe would continue the recipe's own."""
    (folder / "base.yaml").write_text(BASE.replace("small: {tasks", "small: {name: base-small, tasks"))
    assert Recipe.load(folder / "base.yaml", profile="small").name == "base-small"
    made = child(folder, "", profile="small")
    assert (made.name, made.tasks.train) == ("child", 3)


def test_a_block_that_was_renamed_is_the_one_that_it_was(folder: Path) -> None:
    inbox = "tasks: {type: inbox, path: /in, at_least: 7, gate: 4}"
    (folder / "parent.yaml").write_text(re.sub("^tasks: .*$", inbox, BASE, flags=re.M))
    (folder / "child.yaml").write_text("extends: parent.yaml\nname: child\ntasks: {type: dropped, train: 11}\n")
    tasks = Recipe.load(folder / "child.yaml").tasks.model_dump()
    assert (tasks["at_least"], tasks["train"], tasks["path"]) == (7, 11, "/in")


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tasks: {train: x}", "child.yaml:3: tasks.train: 'x': should be an integer."),
        (
            "tasks: {guard: 3}\nstages: [{extends: warm-up, sample: {k: no}}, {name: main}]",
            "child.yaml:4: stages.warm.",
        ),
        ("extends: base.yaml", "child.yaml:3: extends is defined twice."),
        (
            "stages: [{extends: warmup}]",
            "child.yaml:3: extends: 'warmup': no such stage. Did you mean 'warm-up'?",
        ),
        (
            "stages: [{extends: bas.yaml}]",
            "child.yaml:3: extends: 'bas.yaml': no such stage. Did you mean 'base.yaml'?",
        ),
        (f"stages: [{{extends: {'x' * 300}}}]", f"child.yaml:3: extends: '{'x' * 300}': no such stage."),
        (
            "stages: [{name: man, sample: {k: 3}}]",
            "child.yaml:3: stages.man: there is no such stage to change, and a new one has sample, verify and more. "
            "Did you mean 'main'?",
        ),
        ("stages: [{extends: [a]}]", "child.yaml:3: extends: ['a']: should be a shipped stage's name, or a path."),
        ("stages: [{name: main}, {}]", "child.yaml:3: stages.main: two stages share this name. Name each stage once."),
        ("profiles: {small: 3}", "child.yaml:3: profiles.small: 3: should be a mapping."),
        ("profiles: 3", "child.yaml:3: profiles: 3: should be a mapping."),
        ("profile: {}", "child.yaml:3: profile: no such field. Did you mean 'profiles'?"),
    ],
)
def test_a_mistake_is_told_where_it_stands(folder: Path, text: str, says: str) -> None:
    assert mistake(folder, text).startswith(says)


def test_a_mistake_of_the_parent_is_told_of_the_parents_file(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE.replace("k: 8}\n    v", "k: x}\n    v"))
    assert mistake(folder, "").startswith("base.yaml:6: stages.main.sample.k: 'x': should be an integer.")
    (folder / "base.yaml").write_text(BASE.replace("gate: 10", "gaet: 10"))
    assert "base.yaml:3: tasks.gaet: no such field." in mistake(folder, "tasks: {train: 3}").splitlines()[1]
    (folder / "base.yaml").write_text("- a\n")
    assert mistake(folder, "").startswith("base.yaml: a recipe is a mapping with name, models, tasks and stages, not a")


def test_a_mistake_of_a_profile_is_told_of_its_line(folder: Path) -> None:
    assert mistake(folder, "profiles:\n  small:\n    tasks: {gaet: 3}\n", profile="small").startswith(
        "child.yaml:5: tasks.gaet: no such field. Did you mean 'gate'?"
    )
    said = mistake(folder, "", profile="smal")
    assert "--profile smal: no such profile of child.yaml. Did you mean 'small'?\n  accepted: small, deep" in said
    said = mistake(folder, "profiles: {paper: [1]}", profile="paper")
    assert said == "child.yaml:3: profiles.paper: [1]: should be a mapping."
    (folder / "base.yaml").write_text(BASE.partition("profiles:")[0])
    assert mistake(folder, "", profile="small") == "--profile small: child.yaml has no profiles. Leave --profile out."


def test_a_recipe_that_leads_back_to_itself_is_refused(folder: Path) -> None:
    (folder / "base.yaml").write_text("extends: ./child.yaml\n")
    says = "base.yaml:1: extends: ./child.yaml leads back to itself (child.yaml → base.yaml → child.yaml). Remove one."
    assert mistake(folder, "") == says
    (folder / "stage.yaml").write_text("\nextends: stage.yaml\n")
    (folder / "base.yaml").write_text(BASE)
    assert mistake(folder, "stages: [{extends: stage.yaml}]").startswith("stage.yaml:2: extends: stage.yaml leads back")


@pytest.mark.parametrize("late", ["extends=base.yaml", "stages.main.extends=warm-up"])
def test_what_is_extended_cannot_be_overridden(folder: Path, late: str) -> None:
    assert mistake(folder, "", late).endswith(
        "comes too late here. Write it in a recipe or a stage, not in a profile or --set."
    )


# The schema -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("extends: rft\nname: mine\n", True),
        ("extends: rft\nname: mine\nstages: [{sample: {k: 3}}]\n", True),
        ("extends: rft\nname: mine\nstages: [{sample: {kk: 3}}]\n", False),
        ("extends: rft\nnmae: mine\n", False),
        ("name: mine\n", False),
        (BASE, True),
        (BASE.replace("tasks: {train: 3}", "tasks: {trian: 3}"), False),
        (BASE.replace("- name: main", "- {extends: warm-up}\n  - name: main"), True),
        (BASE.replace("- name: main", "- {rounds: 3}\n  - name: main"), False),
    ],
)
def test_the_schema_asks_a_recipe_that_extends_another_only_for_what_it_changes(text: str, valid: bool) -> None:
    assert jsonschema.Draft202012Validator(schema()).is_valid(yaml.safe_load(text)) is valid
