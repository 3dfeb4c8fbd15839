"""gate: contamination is looked for once more in what was trained on, and the recipe's gate decides.

A refusal is a normal outcome. Held-out problems among the training examples end the round instead: no measurement on
them means anything.
"""

from pathlib import Path

from selftaught import dataset
from selftaught.blocks import Decision, Evidence
from selftaught.evaluation.decision import decision_to_json
from selftaught.records import Example, Task, TaskScore
from selftaught.round.history import history
from selftaught.round.job import Job, Workplace
from selftaught.round.leaks import require_no_leak


def run(job_path: str, challenger: str, tasks: str, examples: str, scores: str, out: str) -> Decision:
    """Decide on the gate and guard scores alone and write the decision to `out`.

    Raises RoundFailed when a training example is a held-out task.
    """
    place, job = Workplace.open(), Job.read(job_path)
    require_no_leak(place, job, dataset.read(Path(tasks), Task), dataset.read(Path(examples), Example))
    assert job.blocks.gate is not None  # a stage that trains has one
    decision = job.blocks.gate.decide(_evidence(place, job, challenger, Path(scores)))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(decision_to_json(decision), encoding="utf-8")
    return decision


def _evidence(place: Workplace, job: Job, challenger: str, scores: Path) -> Evidence:
    return Evidence(
        champion=job.champion.digest,
        challenger=challenger,
        scores=dataset.read(scores, TaskScore),
        round=job.round,
        fresh=job.recipe.tasks.fresh,
        seed=job.seed,
        alpha_spent=0.0
        if job.recipe.tasks.fresh
        else sum(past.gate.alpha for past in history(place, job) if past.gate),
    )
