"""sample: one shard of the training tasks is attempted by the policy on its engine."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def sample(
    job: dsl.Input[dsl.Artifact], shard: int, tasks: dsl.Input[dsl.Dataset], groups: dsl.Output[dsl.Dataset]
) -> None:
    """Sample the tasks of `shard`; finished groups are journaled, so a killed task resumes where it stopped."""
    from selftaught.round.step import step
    from selftaught.round.steps import sample

    with step("sample", job.path):
        manifest = sample.run(job.path, int(shard), tasks.path, groups.path)
        groups.metadata.update(digest=manifest.digest, rows=manifest.rows, **manifest.counts)
