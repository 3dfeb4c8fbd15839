"""mcts: one shard of the training tasks is searched; what comes out are trees, and their answers as rollouts."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def mcts(
    job: dsl.Input[dsl.Artifact],
    shard: int,
    tasks: dsl.Input[dsl.Dataset],
    groups: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Search the tasks of `shard`; finished trees are journaled, so a killed task resumes the unfinished ones."""
    from selftaught.round.step import step
    from selftaught.round.steps import sample

    with step("search", job.path):
        manifest = sample.run(job.path, int(shard), tasks.path, groups.path)
        groups.metadata.update(digest=manifest.digest, rows=manifest.rows)
        metrics.metadata.update(manifest.counts)
