"""The guard: a non-inferiority test on tasks of other kinds, against the champion and against where the line began.

A loss of the margin has to be excluded, so "cannot tell" is a refusal. The margin is relative to what there is to lose:
beside a champion that is right on a tenth of the guard tasks, a challenger that is right on none has lost everything.
The anchor keeps small losses, each within the margin, from adding up over rounds (D'Agostino, Massaro and Sullivan
2003, Statistics in Medicine 22:169). Where several metrics guard, each has to pass; none needs a stricter level for
that (Berger 1982, Technometrics 24:295).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from selftaught.blocks import Check, Evidence
from selftaught.errors import BadInput
from selftaught.evaluation.pairing import Pairs, pair
from selftaught.evaluation.wording import percent
from selftaught.statistics import is_binary, sign_flip, tango


def guard_checks(evidence: Evidence, metrics: Sequence[str], margin: float, confidence: float) -> Iterator[Check]:
    """A check a metric and reference: the champion, and the anchor where it is another model.

    Raises BadInput where a metric was not measured on guard tasks.
    """
    references = {"champion": evidence.champion}
    if evidence.anchor and evidence.anchor not in (evidence.champion, evidence.challenger):
        references["base"] = evidence.anchor
    for metric in metrics:
        if not any(score.split == "guard" and score.metric == metric for score in evidence.scores):
            raise BadInput(
                f"there are no '{metric}' scores on guard tasks, so a loss elsewhere cannot be seen. Give the tasks a "
                "guard set, or say `guard: none` in the gate."
            )
        for name, digest in references.items():
            pairs = pair(evidence.scores, metric, "guard", digest, evidence.challenger)
            label = ["guard"] + [metric] * (metric != metrics[0]) + [name] * (name != "champion")
            yield _check(" ".join(label), metric, name, pairs, relative_margin(margin, pairs.champion), confidence)


def relative_margin(margin: float, reference: Sequence[float]) -> float:
    """The loss that has to be excluded: `margin`, or half of what the reference has right where that is less."""
    return min(margin, float(np.mean(reference)) / 2)


def _check(label: str, metric: str, whose: str, pairs: Pairs, margin: float, confidence: float) -> Check:
    gain, low = float(pairs.difference.mean()), _low(pairs, confidence)
    passed = low > -margin
    reason = (
        f"{metric} gain over the {whose} {gain:+.3f} on {len(pairs.tasks)} guard tasks, of which it has "
        f"{np.mean(pairs.champion):.3f} right: a loss of {margin:.3g} or more is {'' if passed else 'not '}excluded at "
        f"{percent(confidence)} (lower limit {low:+.3f})"
    )
    if not passed and gain > -margin:
        reason += "; these tasks cannot tell: take more of them, or more samples of each"
    return Check(label, passed, reason, {"gain": gain, "low": low, "margin": margin, "tasks": len(pairs.tasks)})


def _low(pairs: Pairs, confidence: float) -> float:
    """The one-sided lower limit of the gain at `confidence`."""
    difference, two_sided = pairs.difference, 2 * confidence - 1
    if is_binary(pairs.champion) and is_binary(pairs.challenger):
        gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
        return tango(gained, lost, len(difference), two_sided).low
    return sign_flip(difference, two_sided).low
