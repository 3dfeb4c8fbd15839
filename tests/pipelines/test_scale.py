"""docs/scale.md: the model is what the benchmark makes of the compiled pipelines, and its pods are the driver's."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rounds import REPOSITORY


@pytest.fixture(scope="module")
def scale() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "benchmarks")
        yield importlib.import_module("bench_scale")


def test_the_page_has_the_table(scale: Any):
    assert "\n".join(scale.table()) in (REPOSITORY / "docs" / "scale.md").read_text()


@pytest.mark.parametrize("shards", [1, 2, 7, 100])
def test_each_pod_waits_for_pods_before_it_and_as_many_in_a_row_as_the_driver_makes(scale: Any, shards: int):
    """A pod behind those that it waits for, the longest row of which is what scheduling costs."""
    asked, row = scale.Round(1, 1, shards), dict[str, int]()
    for step in scale.unrolled(asked.pipeline, shards):
        row[step.name] = 1 + max((row[each] for each in step.after), default=0)
    assert max(row.values()) == asked.pods.in_a_row


def test_as_many_turns_go_on_at_once_as_were_asked_for(scale: Any):
    steps = {step.name: step for step in scale.unrolled(scale.Round(1, 1, 5).pipeline, 5, at_once=2)}
    turns = [step for name, step in steps.items() if name.rpartition(".")[2].isdigit()]
    waits = [[each for each in step.after if each.endswith(".executor")] for step in turns]
    assert [len(each) for each in waits] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("shards", [1, 2, 7, 100])
def test_what_is_simulated_is_what_the_driver_makes(scale: Any, shards: int):
    asked = scale.Round(1, 1, shards)
    assert len(scale.unrolled(asked.pipeline, shards)) == asked.pods.count
