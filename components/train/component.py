"""train: the stage's objectives change the model; what comes out is stored by digest and registered as challenger."""

from typing import NamedTuple

from kfp import dsl

from components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def train(
    job: dsl.Input[dsl.Artifact],
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Trained", [("challenger", str)]):  # type: ignore[valid-type]
    """Train on `examples`. Returns the challenger's digest; `model` is the training record."""
    from selftaught.round.step import step
    from selftaught.round.steps import train

    with step("train", job.path):
        trained = train.run(job.path, examples.path, model.path)
        model.metadata.update(digest=trained.digest, uri=trained.uri)
        metrics.metadata.update(trained.metrics)
    return (trained.digest,)
