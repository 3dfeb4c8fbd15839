"""What a round costs on the back end: pods, those that follow one another, and those before the first answer."""

from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from pipelines.back_end.ir import Compiled
from pipelines.back_end.pods import Pods, before, pods
from pipelines.round import COMPILED
from tests.rounds import REPOSITORY


def counted(file: str, shards: int) -> Pods:
    return pods(Compiled.read(COMPILED / file), shards)


@pytest.mark.parametrize("search", ["", "search-"])
def test_what_a_round_costs(search: str):
    assert counted(f"one-shard-{search}round.yaml", 1).count == 19
    assert [counted(f"{search}round.yaml", shards).count for shards in (2, 8)] == [24, 42]


def test_an_online_round_costs_less():
    """It has neither sample nor verify."""
    assert counted("online-round.yaml", 1).count == 15


def test_the_docs_say_so():
    """operations.md: pods, pods in a row, and seconds at the stock requeue."""
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    for shards, file in ((1, "one-shard-round.yaml"), (2, "round.yaml"), (8, "round.yaml")):
        made, first = counted(file, shards), before(Compiled.read(COMPILED / file), "sample")
        assert f"| {shards} | {made.count} | {made.in_a_row} | {made.seconds} | {first * 10} |" in text


@pytest.mark.parametrize("file", sorted(path.name for path in COMPILED.glob("*.yaml")))
def test_the_first_answer_is_asked_for_in_the_second_task(file: str):
    """Behind `prepare` alone; each pod before it is about 10 s."""
    pipeline = Compiled.read(COMPILED / file)
    asking = "mcts" if "search" in file else "train" if "online" in file else "sample"
    assert before(pipeline, asking) == (6 if file in ("round.yaml", "search-round.yaml") else 4)


def test_a_round_of_one_shard_has_no_driver_of_a_loop():
    assert not [task.key for task in Compiled.read(COMPILED / "one-shard-round.yaml").tasks() if task.loops]


def test_promotion_and_the_report_set_go_on_side_by_side():
    tasks = Compiled.read(COMPILED / "one-shard-round.yaml").root.tasks
    assert "promote" not in tasks["evaluate-2"].after()
    assert "evaluate-2" not in tasks["promote"].after()


def compiled(pipeline: Any, folder: Path) -> Compiled:
    compiler.Compiler().compile(pipeline, str(folder / "pipeline.yaml"))
    return Compiled.read(folder / "pipeline.yaml")


@dsl.component(base_image="image:1", install_kfp_package=False)
def work(number: int = 0) -> int:
    return number


def test_a_loop_over_twenty_items_is_the_64_pods_that_were_seen(tmp_path: Path):
    """The root's driver, one task before, the loop's driver, and of each turn a driver and a task."""

    @dsl.pipeline(name="loop")
    def loop() -> None:
        first = work()
        with dsl.ParallelFor(list(range(20))) as number:
            work(number=number).after(first)

    assert pods(compiled(loop, tmp_path), 20) == Pods(1 + 2 + 1 + 20 * 3, 1 + 2 + 1 + 1 + 2)


def test_an_importer_is_one_pod(tmp_path: Path):
    @dsl.pipeline(name="imported")
    def imported() -> None:
        dsl.importer(artifact_uri="s3://bucket/key", artifact_class=dsl.Dataset)
        work()

    assert pods(compiled(imported, tmp_path)) == Pods(1 + 1 + 2, 1 + 2)
