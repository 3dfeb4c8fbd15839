"""The compiled pipeline: it is what the source says, in the order that a round has, and components stay thin."""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl

from pipelines import round as pipeline
from pipelines.round import COMPILED as FOLDER
from selftaught.sampling.runner import CONCURRENCY
from tests.rounds import REPOSITORY

COMPILED, SEARCH, ONE_SHARD = (FOLDER / f"{name}round.yaml" for name in ("", "search-", "one-shard-"))
IR, PLATFORM = yaml.safe_load_all(COMPILED.read_text())
TASKS = IR["root"]["dag"]["tasks"]
COMPONENTS = sorted((REPOSITORY / "components").glob("*/component.py"))


def test_the_compiled_pipelines_are_the_sources(tmp_path: Path):
    pipeline.main(tmp_path)
    made, kept = ({path.name: path.read_text() for path in folder.iterdir()} for folder in (tmp_path, FOLDER))
    assert made == kept, "run `selftaught compile`"


def test_a_round_of_search_differs_in_the_search_alone():
    plain, searched = COMPILED.read_text(), next(yaml.safe_load_all(SEARCH.read_text()))
    assert set(IR["components"]) ^ set(searched["components"]) == {"comp-sample", "comp-mcts"}
    loop = searched["components"]["comp-for-loop-1"]["dag"]["tasks"]
    assert list(loop) == ["mcts"]
    assert set(searched["root"]["dag"]["tasks"]) == set(TASKS)
    assert "comp-mcts" not in plain


def test_a_round_of_one_shard_is_the_same_without_the_loop():
    """The same tasks with the same inputs, but for what is attempted, which stands where the loop was."""
    root = next(yaml.safe_load_all(ONE_SHARD.read_text()))["root"]
    alone = root["dag"]["tasks"]
    attempted = alone["sample"]["inputs"]
    assert attempted["parameters"]["shard"]["runtimeValue"]["constant"] == 0.0
    assert set(attempted["artifacts"]) == {"job", "tasks"}
    groups = {"producerTask": "sample", "outputArtifactKey": "groups"}
    assert alone["verify"]["inputs"]["artifacts"]["groups"] == {"taskOutputArtifact": groups}
    assert {name for name in alone if alone[name] != TASKS.get(name)} == {"sample", "verify"}
    assert set(TASKS) - set(alone) == {"for-loop-1"}
    assert root["inputDefinitions"]["parameters"]["shards"]["defaultValue"] == [0.0]


def _after(task: str) -> set[str]:
    """Every task that has to be done before `task`."""
    direct = set(TASKS[task].get("dependentTasks", ()))
    return direct.union(*map(_after, direct))


def test_the_steps_follow_one_another_as_a_round_does():
    order = ["prepare", "for-loop-1", "verify", "train", "evaluate", "gate", "evaluate-2", "report"]
    assert set(TASKS) == {*order, "promote"}
    for number, task in enumerate(order[:-1]):
        assert _after(task) == set(order[:number])


def test_the_report_set_is_answered_after_the_decision_and_never_seen_by_the_gate():
    assert "gate" in _after("evaluate-2")
    split = TASKS["evaluate"]["inputs"]["parameters"]["split"]["runtimeValue"]["constant"]
    assert split == "gate"
    assert TASKS["gate"]["inputs"]["artifacts"]["scores"]["taskOutputArtifact"]["producerTask"] == "evaluate"


def test_the_round_is_over_when_its_promotion_is():
    """With its report the next one is due, and a promotion that failed would never be tried again."""
    assert _after("report") == set(TASKS) - {"report"}
    assert "gate" in _after("promote")
    assert not any("triggerPolicy" in task for task in TASKS.values())  # what follows a task that is skipped is, too


def test_shards_are_sampled_side_by_side():
    loop = IR["components"][TASKS["for-loop-1"]["componentRef"]["name"]]["dag"]["tasks"]
    assert list(loop) == ["sample"]
    assert TASKS["for-loop-1"]["parameterIterator"]["items"]["inputParameter"] == "pipelinechannel--shards"
    assert "artifactIterator" not in TASKS["verify"]


@pytest.mark.parametrize("places", ["cpu", "gpu"])
def test_as_many_shards_run_at_once_as_fill_an_engines_batch(places: str, tmp_path: Path):
    """One sequence for each task in flight, as in a search, comes to `maxNumSeqs` of the chart's runtime."""
    pipeline.main(tmp_path, places)
    chart = yaml.safe_load((REPOSITORY / "charts" / "selftaught" / "values.yaml").read_text())
    batch = chart["runtimes"][{"cpu": "cpu", "gpu": "cuda"}[places]]["maxNumSeqs"]
    for compiled in (COMPILED.name, SEARCH.name):
        loop = next(yaml.safe_load_all((tmp_path / compiled).read_text()))["root"]["dag"]["tasks"]["for-loop-1"]
        assert loop["iteratorPolicy"]["parallelismLimit"] * CONCURRENCY == batch


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.parent.name)
def test_a_component_makes_one_library_call(path: Path):
    (function,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    made = [ast.unparse(call) for call in calls if isinstance(call, ast.Attribute)]
    assert [call for call in made if call.endswith(".run")] != []
    assert len([call for call in made if call.endswith(".run")]) == 1
    assert all(call.endswith((".run", ".Inputs", ".metadata.update")) or call.startswith("dsl.") for call in made)


@pytest.mark.parametrize(
    "path",
    [*COMPONENTS, *REPOSITORY.glob("components/*/one_shard.py")],
    ids=lambda path: f"{path.parent.name}.{path.stem}",
)
def test_a_component_reads_no_name_of_an_artifact(path: Path):
    """On the back end it is an id, where kfp.local has the output's name; path, uri and metadata are the same."""
    read = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert "name" not in read


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.parent.name)
def test_a_component_says_what_it_is(path: Path):
    """Its README names every input and output; its image is one of ours, pinned by the platform's version."""
    readme = (path.parent / "README.md").read_text()
    ir = next(yaml.safe_load_all(SEARCH.read_text())) if path.parent.name == "mcts" else IR
    compiled = next(c for name, c in ir["components"].items() if name == f"comp-{path.parent.name}")
    for side in ("inputDefinitions", "outputDefinitions"):
        for kind in ("artifacts", "parameters"):
            for name in compiled.get(side, {}).get(kind, {}):
                assert f"| {name} |" in readme, f"{name} is not in {path.parent.name}/README.md"
    image = ir["deploymentSpec"]["executors"][f"exec-{path.parent.name}"]["container"]["image"]
    assert image.startswith("localhost/selftaught/")


def test_components_install_nothing_when_they_start():
    for executor in IR["deploymentSpec"]["executors"].values():
        assert "pip" not in " ".join(executor["container"]["command"])


def test_the_pipeline_runs_with_what_a_schedule_gives_it():
    """Recipe, line and campaign; everything else has a default."""
    inputs = IR["root"]["inputDefinitions"]["parameters"]
    assert {name for name, given in inputs.items() if not given.get("isOptional")} == {"recipe", "line", "campaign"}
    assert isinstance(pipeline.built("cpu")[COMPILED.name], dsl.base_component.BaseComponent)


EXECUTORS = PLATFORM["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def _secrets(executor: dict[str, Any]) -> set[str]:
    return {each["secretName"] for each in (*executor.get("secretAsEnv", ()), *executor.get("secretAsVolume", ()))}


def test_only_the_promote_task_is_given_the_promoters_credentials():
    promoters = {"selftaught-mlflow-promoter", "selftaught-promoter-token", "selftaught-git"}
    assert {name for name, executor in EXECUTORS.items() if _secrets(executor) & promoters} == {"exec-promote"}
    assert promoters <= _secrets(EXECUTORS["exec-promote"])


def test_a_namespace_that_enforces_restricted_takes_every_task():
    for name, executor in IR["deploymentSpec"]["executors"].items():
        assert EXECUTORS[name]["securityContext"] == {"runAsNonRoot": True}
        assert executor["container"]["resources"].keys() >= {"resourceCpuRequest", "resourceMemoryLimit"}


def test_tasks_are_called_by_what_they_do():
    names = {task: each["taskInfo"]["name"] for task, each in TASKS.items()}
    assert (names["evaluate"], names["evaluate-2"]) == ("evaluate: gate set", "evaluate: report set")
    assert len(set(names.values())) == len(names)


def test_training_asks_for_a_gpu_where_the_placement_says_so(tmp_path: Path):
    pipeline.main(tmp_path, "gpu")
    ir, platform = yaml.safe_load_all((tmp_path / "round.yaml").read_text())
    assert (
        ir["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]["accelerator"]["resourceCount"] == "1"
    )
    environment = ir["deploymentSpec"]["executors"]["exec-train"]["container"]["env"]
    assert {"name": "SELFTAUGHT_TRAIN_PROCESSES", "value": "1"} in environment  # one process a GPU
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert [name for name, each in found.items() if "tolerations" in each] == ["exec-train"]


@pytest.mark.parametrize("compiled", [COMPILED, SEARCH])
def test_an_item_of_a_loop_has_the_type_that_its_consumer_takes(compiled: Path):
    """The back end makes items what the loop declares: of a bare `list` they are strings, and a shard is a number."""
    components = next(yaml.safe_load_all(compiled.read_text()))["components"]
    loop = components["comp-for-loop-1"]
    declared = loop["inputDefinitions"]["parameters"]["pipelinechannel--shards-loop-item"]["parameterType"]
    (task,) = loop["dag"]["tasks"].values()
    taken = components[task["componentRef"]["name"]]["inputDefinitions"]["parameters"]["shard"]["parameterType"]
    assert declared == taken == "NUMBER_INTEGER"
