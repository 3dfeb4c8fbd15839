"""verify: every rollout is scored by the stage's verifiers, and the accepted ones become training examples."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def verify(
    job: dsl.Input[dsl.Artifact],
    shards: dsl.Input[list[dsl.Dataset]],
    verified: dsl.Output[dsl.Dataset],
    examples: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Merge the shards, verify them, curate. Equal rollouts give equal digests."""
    from selftaught.round.step import step
    from selftaught.round.steps import verify

    with step("verify", job.path):
        done = verify.run(job.path, [shard.path for shard in shards], verified.path, examples.path)
        verified.metadata.update(digest=done.verified.digest, rows=done.verified.rows)
        examples.metadata.update(digest=done.examples.digest, rows=done.examples.rows)
        metrics.metadata.update(done.verified.counts)
