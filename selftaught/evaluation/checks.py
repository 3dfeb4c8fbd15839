"""The verifiers of a metric: its own, or the tasks' own check.

A stage's `verify` is a training signal, and a model that is trained by one learns to please it: by a vote, a judge or
its own opinion it would promote itself. So nothing here looks at that.
"""

from collections.abc import Iterable

from selftaught.blocks import Metric, Verifier, registered


def verifiers(metric: Metric) -> tuple[Verifier, ...]:
    """What says whether an answer is right to `metric`, its own verifiers or `task_check`; then what is asked beside.

    Looked up where verifiers register: no step imports another.
    """
    beside = [each.model_copy(update={"required": False}) for each in metric.beside()]
    if metric.verify:
        return (*metric.verify, *beside)
    own = registered("verify")["task_check"].model_validate({})
    assert isinstance(own, Verifier)
    return (own, *beside)


def measured_by(metrics: Iterable[Metric]) -> tuple[Verifier, ...]:
    """The verifiers of all `metrics`, each once."""
    found = list[Verifier]()
    for verifier in (each for metric in metrics for each in verifiers(metric)):
        if verifier not in found:
            found.append(verifier)
    return tuple(found)
