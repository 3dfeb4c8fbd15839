"""One round as a pipeline: prepare, sample or search, verify, train, evaluate, gate, promote?, evaluate, report.

Few tasks, because a task costs 13 to 20 s on a cluster: curation runs with verification, registration with training,
and the engines are asked for by the steps that need them. Nothing is decided here but the order; what a round does is
in its recipe, which travels as text. `selftaught compile` compiles it.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from components.evaluate.component import evaluate  # noqa: E402
from components.gate.component import gate  # noqa: E402
from components.mcts.component import mcts  # noqa: E402
from components.prepare.component import prepare  # noqa: E402
from components.promote.component import promote  # noqa: E402
from components.report.component import report  # noqa: E402
from components.sample.component import sample  # noqa: E402
from components.train.component import train  # noqa: E402
from components.verify.component import verify  # noqa: E402
from pipelines.cluster import Place, place_of, placement, settle  # noqa: E402

COMPILED = ROOT / "pipelines" / "compiled"


def _round(name: str, attempted_by: Callable[..., Any], places: Mapping[str, Place]) -> Any:
    """The pipeline `name`, in which shards of the training tasks are attempted by the component `attempted_by`."""

    def settled(component: Callable[..., Any], **inputs: Any) -> Any:
        return settle(component(**inputs), places, promoter=component is promote)

    @dsl.pipeline(name=name, description="One round of self-training, ending in a promotion or a refusal.")
    def round(
        recipe: str,
        line: str,
        campaign: str,
        number: int = 0,
        attempt: int = 0,
        shards: list[int] = [0],  # noqa: B006 (kfp reads the default)
    ) -> None:
        """Run round `number` (0: the next one) of `campaign` on model line `line`, sampling in `shards` ([0, 1, …])."""
        prepared = settled(
            prepare, recipe=recipe, line=line, campaign=campaign, number=number, attempt=attempt, shards=shards
        )
        prepared.set_caching_options(enable_caching=False)  # which round is due is not in its inputs
        job, tasks = prepared.outputs["job"], prepared.outputs["tasks"]

        # A number of the compiled pipeline: KFP takes no parameter for it.
        with dsl.ParallelFor(shards, parallelism=place_of(attempted_by.name, places).at_once) as shard:
            attempted = settled(attempted_by, job=job, shard=shard, tasks=tasks)
        verified = settled(verify, job=job, shards=dsl.Collected(attempted.outputs["groups"]))
        trained = settled(train, job=job, examples=verified.outputs["examples"])
        challenger = trained.outputs["challenger"]

        measured = settled(evaluate, job=job, challenger=challenger, split="gate", tasks=tasks)
        decided = settled(
            gate,
            job=job,
            challenger=challenger,
            tasks=tasks,
            examples=verified.outputs["examples"],
            scores=measured.outputs["scores"],
        )
        # kfp.local resolves a condition on an unnamed output only
        with dsl.If(decided.outputs["Output"] == "promoted"):
            settled(promote, job=job, challenger=challenger, decision=decided.outputs["decision"])

        held_out = settled(evaluate, job=job, challenger=challenger, split="report", tasks=tasks).after(decided)
        settled(
            report,
            job=job,
            tasks=tasks,
            verified=verified.outputs["verified"],
            examples=verified.outputs["examples"],
            model=trained.outputs["model"],
            gate_scores=measured.outputs["scores"],
            report_scores=held_out.outputs["scores"],
            decision=decided.outputs["decision"],
        )

    return round


def built(places: str) -> dict[str, Any]:
    """The pipelines by the name of their compiled file, placed as `pipelines/placements/<places>.yaml` says."""
    placed = placement(places)
    return {
        "round.yaml": _round("selftaught-round", sample, placed),
        "search-round.yaml": _round("selftaught-search-round", mcts, placed),
    }


round, search_round = built("cpu").values()


def main(into: Path = COMPILED, places: str = "cpu") -> None:
    """Write the compiled pipelines; see `built`."""
    pipelines = built(places)
    into.mkdir(exist_ok=True, parents=True)
    for file, pipeline in pipelines.items():
        compiler.Compiler().compile(pipeline, str(into / file))


if __name__ == "__main__":
    main()
