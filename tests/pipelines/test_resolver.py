"""The pods of tests/cluster are given parameters as KFP's driver gives them, and none where it gives none."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.back_end import Compiled
from pipelines.round import COMPILED
from tests.cluster.pods import Pods
from tests.cluster.resolver import driven

LOOP, ITEM = "comp-for-loop-1", "pipelinechannel--shards-loop-item"


def documents(file: str) -> tuple[Any, Any]:
    spec, platform = yaml.safe_load_all((COMPILED / file).read_text())
    return spec, platform


def with_items(file: str, type: str) -> Compiled:
    """The pipeline with loop items of a type."""
    spec, platform = documents(file)
    spec["components"][LOOP]["inputDefinitions"]["parameters"][ITEM]["parameterType"] = type
    return Compiled.of(spec, platform)


@pytest.mark.parametrize(("file", "step"), [("round.yaml", "sample"), ("search-round.yaml", "mcts")])
def test_an_item_of_text_is_refused_where_a_number_is_taken(file: str, step: str):
    """As `shards: list` has it: the number 1 comes to the task as the text "1"."""
    assert driven(with_items(file, "NUMBER_INTEGER"), step, {"shard": 1}) == {"shard": 1}
    with pytest.raises(TypeError, match="'shard' type mismatch: expect NUMBER_INTEGER, got STRING"):
        driven(with_items(file, "STRING"), step, {"shard": 1})


def test_text_stays_text_through_every_group():
    pipeline = Compiled.read(COMPILED / "round.yaml")
    given = {"recipe": "{}", "line": "7", "campaign": "c", "number": 0, "attempt": 1, "shards": [0, 1]}
    assert driven(pipeline, "prepare", given) == given
    assert driven(pipeline, "promote", {"challenger": "1e9"}) == {"challenger": "1e9"}


class NoPod(Pods):
    """Notes what would be a pod, and makes none."""

    def _ran(self, function: str, *rest: Any) -> bool:
        self.tries[function] = 1
        return False


@pytest.mark.parametrize(("type", "pods"), [("STRING", {}), ("NUMBER_INTEGER", {"sample": 1})])
def test_a_task_that_the_driver_refuses_is_no_pod(
    type: str, pods: dict[str, int], capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    fields = {"inputs": {"parameterValues": {"shard": 1}}, "outputs": {"outputFile": f"{tmp_path}/out.json"}}
    command = ["sh", "--executor_input", json.dumps(fields), "--function_to_execute", "sample"]
    harness = NoPod("namespace", "s3://bucket/root", str)
    assert not harness.task("image", command, with_items("round.yaml", type), tmp_path)
    assert harness.tries == pods
    assert ("driver: comp-for-loop-1/sample" in capsys.readouterr().out) is (not pods)
