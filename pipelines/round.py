"""One round as a pipeline: prepare, sample or search, verify, train, evaluate, gate, promote?, evaluate, report.

Few tasks, because a task costs 13 to 20 s on a cluster: curation runs with verification, registration with training,
and the engines are asked for by the steps that need them. Nothing is decided here but the order; what a round does is
in its recipe, which travels as text. Run this file to compile it: `python pipelines/round.py`.
"""

import sys
from collections.abc import Callable
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

COMPILED = ROOT / "pipelines" / "compiled"


def _round(name: str, attempted_by: Callable[..., Any]) -> Any:
    """The pipeline `name`, in which shards of the training tasks are attempted by the component `attempted_by`."""

    @dsl.pipeline(name=name, description="One round of self-training, ending in a promotion or a refusal.")
    def round(recipe: str, line: str, campaign: str, number: int = 0, attempt: int = 0, shards: list = [0]) -> None:  # noqa: B006 (kfp reads the default)
        """Run round `number` (0: the next one) of `campaign` on model line `line`, sampling in `shards` ([0, 1, …])."""
        prepared = prepare(recipe=recipe, line=line, campaign=campaign, number=number, attempt=attempt, shards=shards)
        job, tasks = prepared.outputs["job"], prepared.outputs["tasks"]

        with dsl.ParallelFor(shards) as shard:
            attempted = attempted_by(job=job, shard=shard, tasks=tasks)
        verified = verify(job=job, shards=dsl.Collected(attempted.outputs["groups"]))
        trained = train(job=job, examples=verified.outputs["examples"])
        challenger = trained.outputs["challenger"]

        measured = evaluate(job=job, challenger=challenger, split="gate", tasks=tasks)
        decided = gate(
            job=job,
            challenger=challenger,
            tasks=tasks,
            examples=verified.outputs["examples"],
            scores=measured.outputs["scores"],
        )
        # kfp.local resolves a condition on an unnamed output only
        with dsl.If(decided.outputs["Output"] == "promoted"):
            promote(job=job, challenger=challenger, decision=decided.outputs["decision"])

        held_out = evaluate(job=job, challenger=challenger, split="report", tasks=tasks).after(decided)
        report(
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


round = _round("selftaught-round", sample)
search_round = _round("selftaught-search-round", mcts)


def main() -> None:
    """Write the compiled pipelines."""
    COMPILED.mkdir(exist_ok=True)
    compiler.Compiler().compile(round, str(COMPILED / "round.yaml"))
    compiler.Compiler().compile(search_round, str(COMPILED / "search-round.yaml"))


if __name__ == "__main__":
    main()
