"""report: what happened in the round, as one self-contained page and as MLflow metrics; ends the round."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def report(
    job: dsl.Input[dsl.Artifact],
    tasks: dsl.Input[dsl.Dataset],
    verified: dsl.Input[dsl.Dataset],
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    gate_scores: dsl.Input[dsl.Dataset],
    report_scores: dsl.Input[dsl.Dataset],
    decision: dsl.Input[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Write the page and close the round's run."""
    from selftaught.round.step import step
    from selftaught.round.steps import report

    with step("report", job.path):
        inputs = report.Inputs(
            tasks=tasks.path,
            verified=verified.path,
            examples=examples.path,
            model=model.path,
            gate_scores=gate_scores.path,
            report_scores=report_scores.path,
            decision=decision.path,
        )
        metrics.metadata.update(report.run(job.path, inputs, page.path).last.figures)
