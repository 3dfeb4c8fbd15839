"""gate: contamination is looked for once more in what was trained on, and the recipe's gate decides.

A refusal is a normal outcome. Held-out problems among the training examples end the round instead: no measurement on
them means anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from selftaught.blocks import Decision, Evidence, Gate
from selftaught.blocks.boundary import called
from selftaught.evaluation.decision import decision_to_json
from selftaught.evaluation.runner import summarise
from selftaught.platform import Platform
from selftaught.records import Example, Task, TaskScore, dataset, named_set
from selftaught.round.checks.leaks import require_no_leak
from selftaught.round.error_budget import decided
from selftaught.round.job import Job
from selftaught.round.patience import patient
from selftaught.tasks.sameness import compared
from selftaught.tasks.splits import families

UNDECIDED = Decision("trained", metric="", gain=0.0, low=0.0, high=0.0, p_value=1.0, alpha=0.0, checks=())
"""Of a stage without a gate: nothing was tested, and no version is promoted."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The outcome, and what it rests on: the deciding metric of both models on the gate set, and the gain."""

    outcome: str
    figures: dict[str, float | str]


@patient
def run(job_path: str, challenger: str, tasks: str, examples: str, scores: str, out: str) -> Decided:
    """Decide on the scores of gate, guard and sets with a margin alone, and write the decision to `out`.

    It is `trained` where the stage has no gate.

    Raises RoundFailed when a training example is a held-out task.
    """
    platform, job = Platform.open(), Job.read(job_path)
    require_no_leak(platform, job, dataset.read(Path(tasks), Task), dataset.rows(Path(examples), Example))
    decision, figures = _decided(platform, job, challenger, tasks, scores)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(decision_to_json(decision), encoding="utf-8")
    return Decided(decision.outcome, figures)


def _decided(
    platform: Platform, job: Job, challenger: str, tasks: str, scores: str
) -> tuple[Decision, dict[str, float | str]]:
    if job.blocks.gate is None:
        return UNDECIDED, {"outcome": UNDECIDED.outcome}
    gate = [task for task in dataset.read(Path(tasks), Task) if task.split == "gate"]
    evidence = _evidence(job, challenger, Path(scores), gate)
    decision = decided(platform, job, [task.id for task in gate], partial(_decide, job.blocks.gate, evidence))
    return decision, _figures(decision, evidence)


def _evidence(job: Job, challenger: str, scores: Path, gate: Sequence[Task]) -> Evidence:
    stage = job.blocks
    return Evidence(
        champion=job.champion.digest,
        challenger=challenger,
        scores=dataset.read(scores, TaskScore),
        round=job.round,
        fresh=job.recipe.tasks.resamples_gate,
        seed=job.seed,
        anchor=job.anchor.digest if job.anchor else "",
        over=job.recipe.tasks.over,
        clusters=_clusters(gate),
        bounds={metric.name: metric.bounds for metric in job.recipe.with_sets(stage).evaluate},
        margins={named_set(name): each.allowed(stage) for name, each in job.recipe.sets.items() if each.guards(stage)},
    )


def _figures(decision: Decision, evidence: Evidence) -> dict[str, float | str]:
    means = {s.model: s.mean for s in summarise(evidence.scores) if (s.metric, s.split) == (decision.metric, "gate")}
    return {
        "champion": means[evidence.champion],
        "challenger": means[evidence.challenger],
        "gain": decision.gain,
        "low": decision.low,
        "high": decision.high,
        "p_value": decision.p_value,
        "outcome": decision.outcome,
    }


def _clusters(gate: Sequence[Task]) -> dict[str, str]:
    """The template of each gate task, or the first of those that share its wording."""
    plain = [task for task in gate if task.template is None]
    clusters = {task.id: task.template for task in gate if task.template is not None}
    for family in families(compared(plain).marks):
        clusters |= {plain[one].id: plain[family[0]].id for one in family}
    return clusters


def _decide(gate: Gate, evidence: Evidence, spent: float) -> Decision:
    """Fresh tasks that an earlier round was decided by are fresh no more."""
    given = replace(evidence, alpha_spent=spent, fresh=evidence.fresh and not spent)
    return called(gate, "decide", Decision, lambda: gate.decide(given))
