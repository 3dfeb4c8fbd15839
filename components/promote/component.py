"""promote: point the champion alias at a challenger that passed the gate. The only step that moves it."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def promote(job: dsl.Input[dsl.Artifact], challenger: str, decision: dsl.Input[dsl.Artifact]) -> None:
    """Make the challenger the champion of its line where `decision` says so; safe to run twice."""
    from selftaught.round.step import step
    from selftaught.round.steps import promote

    with step("promote", job.path):
        promote.run(job.path, challenger, decision.path)
