"""prepare: fix a round before it starts. Draws the tasks, resolves the aliases once, opens the MLflow run."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def prepare(
    recipe: str,
    line: str,
    campaign: str,
    number: int,
    attempt: int,
    shards: list[int],
    job: dsl.Output[dsl.Artifact],
    tasks: dsl.Output[dsl.Dataset],
) -> None:
    """Fix round `number` (0: the next one). `job` is the input of every later step."""
    from selftaught.round.step import step
    from selftaught.round.steps import prepare

    with step("prepare"):
        manifest = prepare.run(recipe, line, campaign, int(number), int(attempt), len(shards), job.path, tasks.path)
        tasks.metadata.update(digest=manifest.digest, rows=manifest.rows)
