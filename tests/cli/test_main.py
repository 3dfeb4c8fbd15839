"""The command line, as people and machines use it: what it prints, as JSON too, and its exit codes.

What it says of bad input is in test_bad_inputs; runs of complete rounds are in test_campaign and tests/e2e.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner, Result

from selftaught import __version__
from selftaught.campaign.limits import Limits
from selftaught.campaign.local import Campaign, LimitReached, RoundResult
from selftaught.cli.main import app
from selftaught.cli.outcomes import PROMOTED, REFUSED
from selftaught.platform import Platform
from selftaught.recipe import AXES, Recipe, blocks
from selftaught.report.data import ReportData
from selftaught.state.round_key import RoundKey
from tests.plans import end_round
from tests.registry_made import LINE, Registry
from tests.report.sample_report import sample

pytest_plugins = ["tests.registry_fixtures"]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("COLUMNS", "250")


def ran(command: str, code: int = 0, typed: str = "") -> Result:
    done = CliRunner().invoke(app, shlex.split(command), input=typed)
    assert done.exit_code == code, done.stderr + repr(done.exception)
    return done


def json_of(command: str) -> Any:
    """What `command` prints, as JSON."""
    return json.loads(ran(command).stdout)


# The complete
# ----------------------------------------------------------------------------------------------------------


def test_the_version_is_the_packages() -> None:
    assert ran("--version").stdout.strip() == __version__


def test_help_lists_every_command_with_the_exit_codes() -> None:
    text = ran("--help").stdout
    assert "0 promoted, trained, done or nothing new, 3 refused, 4 fell, 1 error, 2 usage" in " ".join(text.split())
    commands = (
        "run evaluate benchmark report compile recipes models serve chat doctor clean gc adopt submit schedule status "
        "watch"
    )
    for command in commands.split():
        assert f"\n  {command} " in text


def test_nothing_heavy_is_imported_to_print_help() -> None:
    """`selftaught --help` has to answer at once."""
    code = (
        "from selftaught.cli.main import app; import sys; print(sorted({'mlflow', 'torch', 'kfp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "[]\n"


def test_compile_places_tasks_where_it_is_told(tmp_path: Path) -> None:
    ran(f"compile --places gpu --into {tmp_path / 'gpu'}")
    compiled = next(yaml.safe_load_all((tmp_path / "gpu" / "round.yaml").read_text()))
    assert "accelerator" in compiled["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]


# Recipes ------------------------------------------------------------------------------------------------------------


def test_recipes_list_shows_every_recipe_with_the_digest_that_validate_shows() -> None:
    listed = {recipe["name"]: recipe for recipe in json_of("recipes list --json")}
    assert set(listed) == {path.stem for path in REPOSITORY.glob("recipes/*.yaml")}
    printed = ran("recipes list").stdout
    for name, recipe in listed.items():
        assert (
            ran(f"recipes validate recipes/{name}.yaml").stdout
            == f"recipes/{name}.yaml: ok ({recipe['digest'][:12]})\n"
        )
        assert name in printed


def test_recipes_list_finds_recipes_by_family_and_paper() -> None:
    listed = json_of("recipes list --family search --paper 2406.03816 --json")
    assert [(each["name"], each["about"]["paper"]["year"]) for each in listed] == [("rest-mcts-star", 2024)]
    assert "arXiv 2203.14465" in ran("recipes list --paper star").stdout
    cited = ran("recipes list --bibtex").stdout
    papers = {each["about"]["paper"]["arxiv"] for each in json_of("recipes list --json") if each["about"]["paper"]}
    assert cited.count("@misc{") == cited.count("eprint = ") == len(papers)
    assert cited.count("@misc{yuan2023scaling,") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--family serch", "Did you mean 'search'?"),
        ("--family control --paper star", "none of its recipes has such a family or paper"),
    ],
)
def test_recipes_list_says_when_there_are_none(options: str, message: str) -> None:
    assert message in ran(f"recipes list {options}", code=1).stderr


def test_recipes_show_is_the_same_recipe_with_every_default_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ran("recipes show recipes/rft.yaml --set stages.main.sample.k=3").stdout
    spelt = yaml.safe_load(shown)
    assert Recipe.parse(shown).digest == Recipe.load(Path("recipes/rft.yaml"), ["stages.main.sample.k=3"]).digest
    monkeypatch.setenv("COLUMNS", "20")
    assert ran("recipes show recipes/rft.yaml --set stages.main.sample.k=3").stdout == shown
    assert spelt["stages"][0]["sample"]["k"] == 3
    assert spelt["stages"][0]["train"][0]["weight_decay"] == 0.0


def test_every_command_that_takes_a_recipe_takes_a_profile_of_it() -> None:
    taking = {name: found for name, found in commands(get_command(app)).items() if {"recipe", "recipes"} & found}
    assert {"run", "recipes show", "recipes validate", "tasks upload"} <= taking.keys()
    assert [name for name, found in taking.items() if "profile" not in found] == []


def commands(command: Any, name: str = "") -> dict[str, set[str]]:
    """The parameters of every command, by its name."""
    inner = getattr(command, "commands", {})
    found = {
        key: each for sub, under in inner.items() for key, each in commands(under, f"{name} {sub}".strip()).items()
    }
    return found or {name: {parameter.name for parameter in command.params}}


def test_a_profile_is_shown_as_it_would_run_and_validated_without_being_named(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "extends: rft\nname: mine\nprofiles: {small: {tasks: {train: 3}}, wide: {stages: [{rounds: 2}]}}\n"
    )
    shown = yaml.safe_load(ran(f"recipes show {recipe} --profile small --set tasks.gate=4").stdout)
    assert (shown["tasks"]["train"], shown["tasks"]["gate"]) == (3, 4)
    assert not {"extends", "profiles"} & shown.keys()
    assert "ok" in ran(f"recipes validate {recipe}").stdout
    recipe.write_text(recipe.read_text().replace("rounds: 2", "rounds: 0"))
    assert "stages.main.rounds: 0: should be greater than 0" in ran(f"recipes validate {recipe}", code=1).stderr
    assert "ok" in ran(f"recipes validate {recipe} --profile small").stdout


def test_recipes_validate_stops_at_the_first_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\n")
    done = ran(f"recipes validate recipes/rft.yaml {broken} recipes/star.yaml", code=1)
    assert "recipes/rft.yaml: ok" in done.stdout
    assert "star" not in done.stdout
    assert "models: is missing." in done.stderr


def test_recipes_blocks_says_the_first_paragraph_whole() -> None:
    said = " ".join(ran("recipes blocks curate").stdout.split())
    assert all(" ".join((b.__doc__ or "").split("\n\n")[0].split()) in said for b in blocks("curate").values())


def test_recipes_schema_is_a_json_schema_that_names_the_blocks() -> None:
    schema = json_of("recipes schema")
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"name", "models", "tasks", "stages"} <= set(schema["$defs"]["Recipe"]["required"])
    assert "AnswerMatch" in schema["$defs"]


def test_recipes_blocks_says_type_default_and_meaning_of_each_field() -> None:
    shown = [" ".join(line.split()) for line in ran("recipes blocks gate").stdout.splitlines()]
    assert "│ min_gain │ number ≥ 0 < 1 │ 0.0 │ smallest estimate worth a promotion │" in shown
    (sft,) = (block for block in json_of("recipes blocks train --json") if block["type"] == "sft")
    fields = {field["name"]: (field["type"], field["default"]) for field in sft["fields"]}
    assert fields["role"] == ("text", "policy")
    assert fields["scheduler"] == ("one of linear, cosine, constant_with_warmup", "linear")
    assert fields["gradient_checkpointing"] == ("true or false", "false")


def test_the_schema_tells_an_editor_which_block_a_mistake_is_in() -> None:
    """By its `type`, which each has to have."""
    schema = json_of("recipes schema")
    for axis in AXES:
        for name, block in blocks(axis).items():
            found = schema["$defs"].get(block.__name__)
            assert found is None or "type" in found["required"], name


def test_recipes_blocks_lists_every_block_of_an_axis_with_its_fields() -> None:
    shown = ran("recipes blocks").stdout
    for axis in AXES:
        printed = ran(f"recipes blocks {axis}").stdout
        for name in blocks(axis):
            assert f" {name} " in shown
            assert f"{name}: " in printed
    assert "temperature, max_tokens" in shown
    assert "answer_match" not in ran("recipes blocks sample").stdout


def test_recipes_blocks_lists_the_fields_of_nested_settings_and_of_no_nested_block() -> None:
    found = {block["type"]: {field["name"] for field in block["fields"]} for block in json_of("recipes blocks --json")}
    assert found["sft"] >= {"lora", "lora.rank"}
    assert found["dialogue"] >= {"turns", "turns.name", "turns.kind"}
    assert not any(name.startswith("sample.") for name in found["strategy"])


# Models of a line ---------------------------------------------------------------------------------------------------


def test_models_list_has_every_version_with_digest_and_aliases(registry: Registry) -> None:
    first, second = json_of("models list --json")
    assert (first["version"], first["digest"], first["aliases"]) == ("1", registry.first.digest, "base, previous")
    assert (second["version"], second["digest"], second["aliases"]) == ("2", registry.second.digest, "champion, head")
    assert (second["recipe"], second["round"], second["outcome"]) == ("rft", "1", "promoted")
    assert json_of(f"models list {LINE} --json") == [first, second]
    assert registry.second.digest[:8] in ran("models list").stdout


def test_models_list_shows_long_names_whole_on_a_narrow_terminal(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    line = "self-correction-of-gsm8k-" + "again-" * 15
    registry.tracker.register(line, registry.first.digest, registry.first.uri, "", {"selftaught.recipe": "r" * 40})
    listed = ran(f"models list {line}").stdout.splitlines()
    assert [row.split() for row in listed] == [
        "line version digest aliases outcome recipe round".split(),
        [line, "1", registry.first.digest[:8], "r" * 40],
    ]


def test_models_show_says_the_digest_once_and_the_place_as_it_is_typed(registry: Registry) -> None:
    uri = "file:///home/my%20project/%C3%A9/models"
    registry.tracker.register("spaced", "d" * 64, uri, "", {"selftaught.recipe": "rft"})
    shown = ran("models show spaced 1").stdout
    assert shown.count("d" * 64) == 1
    assert "/home/my project/é/models" in shown


def test_models_list_of_a_new_home_is_empty_not_an_error(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2"):
        registry.tracker.client.delete_model_version(LINE, version)
    registry.tracker.client.delete_registered_model(LINE)
    assert json_of("models list --json") == []


@pytest.mark.parametrize("name", ["champion", "head", "2", "digest"])
def test_models_show_takes_an_alias_a_version_or_the_start_of_a_digest(name: str, registry: Registry) -> None:
    shown = ran(f"models show {LINE} {registry.second.digest[:8] if name == 'digest' else name}").stdout
    assert registry.second.digest in shown
    assert registry.second.uri in shown
    assert "outcome" in shown and "promoted" in shown


def test_rollback_moves_the_champion_and_a_second_one_moves_it_back(registry: Registry) -> None:
    assert "version 1" in ran(f"models rollback {LINE}").stdout
    aliases = registry.tracker.aliases(LINE)
    assert (aliases["champion"].version, aliases["previous"].version, aliases["head"].version) == ("1", "2", "2")
    ran(f"models rollback {LINE}")
    assert registry.tracker.aliases(LINE)["champion"].version == "2"


def test_rollback_to_a_version_whose_files_are_gone_is_refused(registry: Registry) -> None:
    registry.tracker.mark_removed(registry.first, "2026-01-31")
    done = ran(f"models rollback {LINE} --to 1", code=1)
    assert "the files of version 1 were removed on 2026-01-31 (`selftaught gc`). Name a version" in done.stderr
    assert registry.tracker.resolve(LINE, "champion") == registry.second


def test_rollback_to_a_named_version(registry: Registry) -> None:
    ran(f"models rollback {LINE} --to {registry.first.digest[:10]}")
    assert registry.tracker.aliases(LINE)["champion"] == registry.first


# Runs ---------------------------------------------------------------------------------------------------------------


def test_the_plan_shows_one_task_of_each_set_as_it_is_sent(registry: Registry, tmp_path: Path) -> None:
    """With everything around the question: worked examples, instruction, and the gold answer that was taken out."""
    words = ["apples", "boats", "coins", "drums", "eggs", "flags", "goats", "hats"]
    rows = [{"q": f"{a}\x1b[2J {b}?", "a": f"So {n}.\n#### {n}"} for n, (a, b) in enumerate(product(words, words))]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = {"type": "jsonl", "path": str(tmp_path / "t.jsonl"), "train": 9, "gate": 3, "report": 3, "question": "q"}
    tasks |= {"answer": "a", "answer_pattern": "#### (.+)", "instruction": "Think, then say: The answer is N."}
    shots = [{"question": "How many?", "answer": "The answer is 7."}]
    overrides = [f"tasks={json.dumps(tasks)}", f"stages.0.sample.shots={json.dumps(shots)}", "stages.0.gate.guard=none"]
    command = ["run", "recipes/rft.yaml", "--dry-run", *(word for each in overrides for word in ("--set", each))]
    sent = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["plan"]["sent"]
    assert [each["split"] for each in sent] == ["train", "gate", "report"]
    for each in sent:
        *before, (role, prompt) = each["messages"]
        assert before == (
            [["user", "How many?"], ["assistant", "The answer is 7."]] if each["split"] == "train" else []
        )
        assert role == "user"
        assert prompt.endswith("? Think, then say: The answer is N.")
        assert each["answer"].isdecimal()
    shown = CliRunner().invoke(app, command).stderr
    assert 'assistant: "The answer is 7."' in shown
    assert f'gold answer: "{sent[2]["answer"]}"' in shown
    assert "\x1b" not in shown


def test_a_batch_of_worked_solutions_is_told_the_pattern_that_would_do(tmp_path: Path) -> None:
    rows = [{"question": f"{n} apples?", "answer": f"There are {n - 1} and one more.\n#### {n}"} for n in range(60)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = CliRunner().invoke(app, ["tasks", "upload", str(tmp_path / "t.jsonl"), "--to", str(tmp_path / "drops")])
    assert done.exit_code == 0
    assert "warning: verify: 'answer_match' fails 60 of the tasks' own 60 gold answers" in done.stderr
    assert "tasks.answer_pattern: '#### (.+)'" in done.stderr
    recipe = Path("recipes/fresh.yaml").read_text()
    (tmp_path / "r.yaml").write_text(recipe)
    into = ["--to", str(tmp_path / "other"), "--recipe", str(tmp_path / "r.yaml")]
    done = CliRunner().invoke(app, ["tasks", "upload", str(tmp_path / "t.jsonl"), *into])
    assert done.exit_code == 1
    assert "error: verify: 'answer_match' fails 60" in done.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("verb", ["upload", "drop"])  # "drop" was its name in earlier versions
def test_tasks_are_uploaded_by_the_verb_and_by_the_one_before_it(tmp_path: Path, verb: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "What is 2 + 3?", "answer": "5"}\n')
    done = CliRunner().invoke(
        app, ["tasks", verb, str(tmp_path / "t.jsonl"), "--to", str(tmp_path / "inbox"), "--json"]
    )
    assert (done.exit_code, json.loads(done.stdout)["tasks"]) == (0, 1)


def test_a_dry_run_plans_and_touches_nothing(registry: Registry) -> None:
    before = everything(registry.home)
    plan = json_of("run recipes/rft.yaml --dry-run --json --rounds 2")["plan"]
    recipe = Recipe.load(Path("recipes/rft.yaml"))
    assert (plan["digest"], plan["rounds"], plan["train_tasks"]) == (recipe.digest, 2, recipe.tasks.train)
    assert plan["sampled_tokens"] == recipe.tasks.train * recipe.stages[0].sample.cost()
    assert plan["control_tokens"] == 0
    searching = json_of("run recipes/thinklite-text.yaml --dry-run --json")["plan"]
    alone = json_of("run recipes/thinklite-text.yaml --dry-run --json --set stages.0.sample.control=0")["plan"]
    assert (
        searching["sampled_tokens"] == alone["sampled_tokens"] + searching["control_tokens"] > alone["sampled_tokens"]
    )
    assert (
        f"{searching['control_tokens']:,} of them to hold the search against"
        in ran("run recipes/thinklite-text.yaml --dry-run").stderr
    )
    assert f"champion {recipe.policy}, 1 round(s)" in ran("run recipes/rft.yaml --dry-run").stderr
    assert (
        f"champion version 2 ({registry.second.digest[:8]})"
        in ran(f"run recipes/rft.yaml --dry-run --line {LINE}").stderr
    )
    assert everything(registry.home) == before


def everything(folder: Path) -> dict[Path, bytes]:
    """Every file with its content, the database by its tables."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".db" not in path.name}


@pytest.mark.parametrize(("rounds", "code"), [(1, PROMOTED), (2, REFUSED), (3, PROMOTED)])
def test_the_exit_code_of_a_run_is_what_became_of_its_last_round(
    rounds: int, code: int, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample's rounds are promoted, refused, promoted."""

    def ended(campaign: Campaign) -> Iterator[RoundResult]:
        campaign.watch({"step": "sample", "done": 1, "total": 2, "unit": "tasks"})
        for number in range(1, rounds + 1):
            yield RoundResult(RoundKey(LINE, LINE, number), sample(number), Path("report.html"))

    monkeypatch.setattr(Campaign, "run", ended)
    done = ran("run recipes/rft.yaml --json", code=code)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["outcome"] for line in lines if "outcome" in line] == ["promoted", "refused", "promoted"][:rounds]
    assert "plan" in lines[0] and lines[1]["event"]["step"] == "sample"
    assert "report: report.html" in ran("run recipes/rft.yaml", code=code).stderr


@pytest.mark.parametrize(("rounds", "code"), [(0, 0), (1, PROMOTED), (2, REFUSED)])
def test_a_run_that_reached_a_limit_says_so_and_ends_as_its_last_round_did(
    rounds: int, code: int, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(campaign: Campaign) -> Iterator[RoundResult | LimitReached]:
        assert campaign.order.limits == Limits(hours=0.5, tokens=7)
        for number in range(1, rounds + 1):
            yield RoundResult(RoundKey("line", "line", number), sample(number), Path("report.html"))
        yield LimitReached(
            RoundKey("line", "line", rounds + 1), "its rounds have taken 9 new tokens of 7 (--max-tokens)"
        )

    monkeypatch.setattr(Campaign, "run", ended)
    command = "run recipes/rft.yaml --max-hours 0.5 --max-tokens 7"
    last = json.loads(ran(f"{command} --json", code=code).stdout.splitlines()[-1])
    assert (last["round"], last["outcome"]) == (rounds + 1, "limit reached")
    said = ran(command, code=code).stderr
    assert f"Stopped before round {rounds + 1}: its rounds have taken 9 new tokens of 7" in said


def test_report_writes_the_page_of_the_last_finished_round_again(registry: Registry, tmp_path: Path) -> None:
    platform, page = Platform.open(), tmp_path / "again.html"
    for number in (1, 2):
        finish(platform, number)
    assert ran(f"report {LINE} --to {page}").stdout.strip() == str(page)
    first = page.read_bytes()
    assert b"<html" in first and b"Round 2" in first
    ran(f"report {LINE} --to {page}")
    assert page.read_bytes() == first


def finish(platform: Platform, number: int) -> None:
    """Record round `number` of the line as `selftaught.round.steps.report` does."""
    data: ReportData = sample(number).model_copy(update={"line": LINE})
    end_round(platform.store, RoundKey(LINE, LINE, number), data)
    run = platform.tracker.round_run(RoundKey(LINE, LINE, number), "main")
    platform.tracker.finish(run, data.last.outcome)


# The machine --------------------------------------------------------------------------------------------------------


def test_clean_frees_what_can_be_made_again_and_keeps_the_rest(registry: Registry) -> None:
    for folder in ("cache/models/a", "scratch/b", "engines", "campaigns/maths", "journal"):
        (registry.home / folder).mkdir(parents=True)
        (registry.home / folder / "file").write_bytes(b"x" * 1_000_000)
    before = set(registry.home.rglob("*"))
    assert "3 MB freed" in ran("clean").stdout
    gone = {path.relative_to(registry.home).parts[0] for path in before - set(registry.home.rglob("*"))}
    assert gone == {"cache", "scratch", "engines"}
    assert len(json_of("models list --json")) == 2


def test_clean_all_asks_first(registry: Registry) -> None:
    ran("clean --all", code=1, typed="n\n")
    assert len(json_of("models list --json")) == 2
    ran("clean --all", typed="y\n")
    assert not registry.home.exists()


def test_clean_of_a_home_that_is_not_there_frees_nothing(home: Path) -> None:
    assert "0 MB freed" in ran("clean --all --yes").stdout
    assert not home.exists()


def test_doctor_ends_with_1_exactly_when_something_is_missing(home: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    findings = json.loads(done.stdout)
    assert done.exit_code == (0 if all(finding["ok"] for finding in findings) else 1)
    assert all(finding["fix"] for finding in findings if not finding["ok"])
