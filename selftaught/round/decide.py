"""gate: contamination is looked for once more in what was trained on, and the recipe's gate decides.

A refusal is a normal outcome. Held-out problems among the training examples end the round instead: no measurement on
them means anything.
"""

from pathlib import Path

from selftaught import dataset
from selftaught.blocks import Decision, Evidence
from selftaught.errors import RoundFailed
from selftaught.evaluation.decision import decision_to_json
from selftaught.records import Example, Task, TaskScore
from selftaught.round.history import history
from selftaught.round.job import Job, Workplace
from selftaught.round.replay import trained_tasks
from selftaught.tasks.contamination import check_examples


def run(job_path: str, challenger: str, tasks: str, examples: str, scores: str, out: str) -> Decision:
    """Decide on the gate and guard scores alone and write the decision to `out`.

    Raises RoundFailed when a training example is a held-out task.
    """
    place, job = Workplace.open(), Job.read(job_path)
    found = _contaminated(place, job, Path(tasks), Path(examples))
    if found:
        raise RoundFailed(
            "training examples overlap held-out tasks, so nothing measured on them counts:\n" + "\n".join(found)
        )
    assert job.blocks.gate is not None  # a stage that trains has one
    decision = job.blocks.gate.decide(_evidence(place, job, challenger, Path(scores)))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(decision_to_json(decision), encoding="utf-8")
    return decision


def _contaminated(place: Workplace, job: Job, tasks: Path, examples: Path) -> list[str]:
    drawn = dataset.read(tasks, Task)
    held_out = [task for task in drawn if task.split != "train"]
    known = {task.id: task for task in (*trained_tasks(place, job), *drawn)}
    return check_examples(dataset.read(examples, Example), known, held_out)


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
