"""train, of an online stage: the policy samples, is verified and learns step by step; groups and examples come out."""

# kfp's decorators and artifacts have no types:
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportUntypedFunctionDecorator=false

from typing import NamedTuple

from kfp import dsl

from components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def train(
    job: dsl.Input[dsl.Artifact],
    tasks: dsl.Input[dsl.Dataset],
    verified: dsl.Output[dsl.Dataset],
    examples: dsl.Output[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Trained", [("challenger", str)]):  # type: ignore[valid-type]
    """Train on `tasks`. Returns the challenger's digest; `verified` and `examples` are what was learnt from."""
    from selftaught.round.step import step
    from selftaught.round.steps import train_online

    with step("train", job.path):
        trained = train_online.run(job.path, tasks.path, verified.path, examples.path, model.path)
        verified.metadata.update(digest=trained.verified)
        examples.metadata.update(digest=trained.examples)
        model.metadata.update(digest=trained.digest, uri=trained.uri)
        metrics.metadata.update(trained.metrics)
    return (trained.digest,)
