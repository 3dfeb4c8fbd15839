"""gate: decide whether the challenger becomes the champion. A refusal is a normal outcome."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def gate(
    job: dsl.Input[dsl.Artifact],
    challenger: str,
    tasks: dsl.Input[dsl.Dataset],
    examples: dsl.Input[dsl.Dataset],
    scores: dsl.Input[dsl.Dataset],
    decision: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Returns `promoted` or `refused`, for people to see; `decision` holds every condition with its reason."""
    from selftaught.round.step import step
    from selftaught.round.steps import gate

    with step("gate", job.path):
        decided = gate.run(job.path, challenger, tasks.path, examples.path, scores.path, decision.path)
        metrics.metadata.update(decided.figures)
    return decided.outcome
