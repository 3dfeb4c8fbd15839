"""evaluate: champion and challenger answer the same held-out tasks, each on an engine that serves its digest."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def evaluate(
    job: dsl.Input[dsl.Artifact],
    challenger: str,
    split: str,
    tasks: dsl.Input[dsl.Dataset],
    scores: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Measure both models on the `gate` sets (with the guards) or on the `report` set; values are kept task by task."""
    from selftaught.round.step import step
    from selftaught.round.steps import evaluate

    with step(f"evaluate {split}", job.path):
        manifest = evaluate.run(job.path, challenger, split, tasks.path, scores.path)
        scores.metadata.update(digest=manifest.digest, rows=manifest.rows)
        metrics.metadata.update(manifest.counts)
