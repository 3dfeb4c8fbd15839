"""One round as a pipeline: prepare, sample or search, verify, train, evaluate, gate, promote, evaluate, report.

Few tasks, because a task is two pods and up to 20 s on a cluster: curation runs with verification, registration with
training, and the engines are asked for by the steps that need them. For the same reason a round of one shard has
pipelines of its own, without a loop. The promotion is a task of every round, which does nothing after a refusal: KFP
lets no task wait for one that may be skipped, and the report has to wait, because with its record the round is over.
Nothing is decided here but the order; what a round does is in its recipe, which travels as text. `selftaught compile`
compiles them.
"""

# kfp's decorators and the loops over its inputs have no types:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUntypedFunctionDecorator=false, reportFunctionMemberAccess=false, reportArgumentType=false

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
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
from components.train.online import train as train_online  # noqa: E402
from components.verify.component import verify  # noqa: E402
from components.verify.one_shard import verify as verify_one  # noqa: E402
from pipelines.back_end import Compiled, broken  # noqa: E402
from pipelines.cluster import Place, placement, resources_of, settle  # noqa: E402
from selftaught.core.errors import BadInput  # noqa: E402

COMPILED = ROOT / "pipelines" / "compiled"
DESCRIPTION = "One round of self-training, ending in a promotion or a refusal."
ATTEMPTED = {"sample": "sample: training tasks", "mcts": "search: training tasks"}
VERIFIED = "verify: answers, then curate"


@dataclass(frozen=True, slots=True)
class Steps:
    """The tasks of a round, each with its resources, its settings and a name that says what it does."""

    places: Mapping[str, Place]

    def task(self, component: Callable[..., Any], does: str, **inputs: Any) -> Any:
        """One task of `component`, called `does` where people look at it."""
        return settle(component(**inputs), self.places, promoter=component is promote).set_display_name(does)

    def prepared(self, **inputs: Any) -> Any:
        """The first task: the round's job, the input of the others."""
        return self.task(prepare, "prepare: tasks and models", **inputs)

    def trained(self, prepared: Any, verified: Any) -> None:
        """Everything after the examples."""
        given = {"job": prepared.outputs["job"], "examples": verified.outputs["examples"]}
        self.ended(prepared, verified, self.task(train, "train: challenger", **given))

    def ended(self, prepared: Any, verified: Any, trained: Any) -> None:
        """Everything after the training: the decision and the report."""
        job, tasks, examples = prepared.outputs["job"], prepared.outputs["tasks"], verified.outputs["examples"]
        asked = {"job": job, "challenger": trained.outputs["challenger"]}

        measured = self.task(evaluate, "evaluate: gate set", **asked, split="gate", tasks=tasks)
        scores = measured.outputs["scores"]
        decided = self.task(gate, "gate: promote or refuse", **asked, tasks=tasks, examples=examples, scores=scores)
        decision = decided.outputs["decision"]
        promoted = self.task(promote, "promote: challenger, unless refused", **asked, decision=decision)

        held_out = self.task(evaluate, "evaluate: report set", **asked, split="report", tasks=tasks).after(decided)
        self.task(
            report,
            "report: page and record",
            job=job,
            tasks=tasks,
            verified=verified.outputs["verified"],
            examples=examples,
            model=trained.outputs["model"],
            gate_scores=scores,
            report_scores=held_out.outputs["scores"],
            decision=decision,
        ).after(promoted)


Rest = Callable[[Steps, Any, Any], None]
"""What a pipeline does after preparing, from the prepared task and the pipeline's `shards`."""


def _pipeline(name: str, about: str, places: Mapping[str, Place], rest: Rest, by_default: list[int]) -> Any:
    """The pipeline `name`: it prepares the round, then does the `rest` over `shards`, which are `by_default` those."""
    steps = Steps(places)

    @dsl.pipeline(name=name, description=f"{DESCRIPTION} {about}")
    def round(
        recipe: str,
        line: str,
        campaign: str,
        number: int = 0,
        attempt: int = 0,
        shards: list[int] = by_default,
    ) -> None:
        """Run round `number` (0: the next one) of `campaign` on model line `line`."""
        prepared = steps.prepared(
            recipe=recipe, line=line, campaign=campaign, number=number, attempt=attempt, shards=shards
        )
        rest(steps, prepared, shards)

    return round


def _round(name: str, attempted_by: Callable[..., Any], places: Mapping[str, Place]) -> Any:
    """The pipeline `name`, whose shards are attempted by the component `attempted_by`, side by side."""

    def rest(steps: Steps, prepared: Any, shards: Any) -> None:
        # A number of the compiled pipeline: KFP takes no parameter for it.
        at_once = resources_of(attempted_by.name, places).at_once
        with dsl.ParallelFor(shards, name="shards", parallelism=at_once) as shard:
            attempted = steps.task(attempted_by, ATTEMPTED[attempted_by.name], **prepared.outputs, shard=shard)
        groups = dsl.Collected(attempted.outputs["groups"])
        verified = steps.task(verify, VERIFIED, job=prepared.outputs["job"], shards=groups)
        steps.trained(prepared, verified)

    return _pipeline(name, "In several shards.", places, rest, by_default=[0, 1])


def _one_shard_round(name: str, attempted_by: Callable[..., Any], places: Mapping[str, Place]) -> Any:
    """The same without a loop, whose drivers are two pods: all training tasks are attempted in one task."""

    def rest(steps: Steps, prepared: Any, _shards: Any) -> None:
        attempted = steps.task(attempted_by, ATTEMPTED[attempted_by.name], **prepared.outputs, shard=0)
        groups = attempted.outputs["groups"]
        verified = steps.task(verify_one, VERIFIED, job=prepared.outputs["job"], groups=groups)
        steps.trained(prepared, verified)

    return _pipeline(name, "In one shard.", places, rest, by_default=[0])


def _online_round(name: str, places: Mapping[str, Place]) -> Any:
    """The round of a stage that samples while it trains: tasks go into training, groups and examples come out."""

    def rest(steps: Steps, prepared: Any, _shards: Any) -> None:
        trained = steps.task(train_online, "train: sample, verify and learn", **prepared.outputs)
        steps.ended(prepared, trained, trained)

    return _pipeline(name, "It samples while it trains.", places, rest, by_default=[0])


def built(places: str) -> dict[str, Any]:
    """The pipelines by the name of their compiled file, placed as `pipelines/placements/<places>.yaml` says."""
    placed = placement(places)
    return {
        "round.yaml": _round("selftaught-round", sample, placed),
        "search-round.yaml": _round("selftaught-search-round", mcts, placed),
        "one-shard-round.yaml": _one_shard_round("selftaught-one-shard-round", sample, placed),
        "one-shard-search-round.yaml": _one_shard_round("selftaught-one-shard-search-round", mcts, placed),
        "online-round.yaml": _online_round("selftaught-online-round", placed),
    }


def main(into: Path = COMPILED, places: str = "cpu") -> None:
    """Write the compiled pipelines; see `built`. Raises BadInput, and writes none, where the back end refuses one."""
    pipelines = built(places)
    with TemporaryDirectory() as folder:
        compiled = [Path(folder) / file for file in pipelines]
        for path in compiled:
            compiler.Compiler().compile(pipelines[path.name], str(path))
            _require_accepted(path)
        into.mkdir(exist_ok=True, parents=True)
        for path in compiled:
            shutil.copyfile(path, into / path.name)


def _require_accepted(path: Path) -> None:
    findings = [each for findings in broken(Compiled.read(path)).values() for each in findings]
    if findings:
        problems = "\n  ".join(findings)
        raise BadInput(
            f"{path.name}: Kubeflow Pipelines would not run it. Fix pipelines/ and compile again.\n  {problems}"
        )


if __name__ == "__main__":
    main()
