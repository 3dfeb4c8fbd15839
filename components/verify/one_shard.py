"""verify, in a round of one shard: KFP makes no list of one artifact, and a loop that would is two pods."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def verify(
    job: dsl.Input[dsl.Artifact],
    groups: dsl.Input[dsl.Dataset],
    verified: dsl.Output[dsl.Dataset],
    examples: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Verify the groups, curate. Equal rollouts give equal digests."""
    from selftaught.round.step import step
    from selftaught.round.steps import verify

    with step("verify", job.path):
        done = verify.run(job.path, [groups.path], verified.path, examples.path)
        verified.metadata.update(digest=done.verified.digest, rows=done.verified.rows)
        examples.metadata.update(digest=done.examples.digest, rows=done.examples.rows)
        metrics.metadata.update(done.verified.counts)
