"""The guard: a non-inferiority test on tasks of other kinds, against the champion and the line's base model.

A recipe's named sets are tested in the same way, each with its own margin.

A loss of the margin has to be excluded, so "cannot tell" is a refusal. The margin is relative to what there is to lose:
beside a champion that is right on a tenth of the guard tasks, a challenger that is right on none has lost everything.
The anchor keeps small losses, each within the margin, from adding up over rounds (D'Agostino, Massaro and Sullivan
2003, Statistics in Medicine 22:169). Where several metrics guard, each has to pass; none needs a stricter level for
that (Berger 1982, Technometrics 24:295).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from selftaught.blocks import Check, Evidence, Margin
from selftaught.core.errors import BadInput
from selftaught.core.statistics import SHARES, Bounds, is_binary, sign_flip, tango
from selftaught.evaluation.judged import judged
from selftaught.evaluation.pairing import Pairs, pair
from selftaught.evaluation.wording import percent
from selftaught.records import Split


def guard_checks(evidence: Evidence, metrics: Sequence[str], margin: float, confidence: float) -> Iterator[Check]:
    """A check a metric and reference, the champion and the line's base model, on the guard tasks.

    Where answers could not be judged there is one more of each, on these.

    Raises BadInput where a metric was not measured on them.
    """
    for metric in metrics:
        if not any(score.split == "guard" and score.metric == metric for score in evidence.scores):
            raise BadInput(
                f"there are no '{metric}' scores on guard tasks, so a loss elsewhere cannot be seen. Give the tasks a "
                "guard set, or set `guard: none` in the gate."
            )
    yield from _checks(evidence, "guard", Margin(tuple(metrics), margin), confidence)


def set_checks(evidence: Evidence, confidence: float) -> Iterator[Check]:
    """The same on every named set with a margin. Raises BadInput where one was not measured."""
    for split, margin in evidence.margins.items():
        yield from _checks(evidence, split, margin, confidence)


def _checks(evidence: Evidence, split: Split, margin: Margin, confidence: float) -> Iterator[Check]:
    references = {"champion": evidence.champion}
    if evidence.anchor and evidence.anchor not in (evidence.champion, evidence.challenger):
        references["base"] = evidence.anchor
    for metric in margin.metrics:
        for name, digest in references.items():
            pairs = pair(evidence.scores, metric, split, digest, evidence.challenger)
            label = [split, *[metric] * (metric != margin.metrics[0]), *[name] * (name != "champion")]
            guarded = _Guarded(metric, name, split, pairs, evidence.bounds.get(metric, SHARES))
            if any(pairs.errors):
                yield judged(" ".join([*label, "judged"]), f"{metric} on the {split} set", pairs, name)
            yield _check(" ".join(label), guarded, margin.loss, confidence)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """The challenger beside one reference, `whose` model it is, on the tasks of `split` in one metric."""

    metric: str
    whose: str
    split: Split
    pairs: Pairs
    bounds: Bounds | None

    def low(self, confidence: float) -> float:
        """The one-sided lower limit of the gain at `confidence`."""
        difference, two_sided = self.pairs.difference, 2 * confidence - 1
        if self.bounds == SHARES and is_binary(self.pairs.champion) and is_binary(self.pairs.challenger):
            gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
            return tango(gained, lost, len(difference), two_sided).low
        width = self.bounds[1] - self.bounds[0] if self.bounds else 1.0
        return width * sign_flip(difference / width, two_sided).low

    def text(self) -> str:
        """What was measured, in words."""
        mean = f"{np.mean(self.pairs.champion):.3f}"
        has = f"of which it has {mean} right" if self.bounds == SHARES else f"where it has {mean}"
        gain = f"{self.metric} gain over the {self.whose} {self.pairs.difference.mean():+.3f}"
        return f"{gain} on {len(self.pairs.tasks)} {self.split} tasks, {has}"

    def way_out(self) -> str:
        """What a recipe may say instead of looking at these tasks."""
        return "set `guard: none`" if self.split == "guard" else f"leave out the margin of {self.split}"


def relative_margin(margin: float, reference: Sequence[float], bounds: Bounds | None = SHARES) -> float:
    """The loss that has to be excluded: `margin`, or half of what the reference has to lose where that is less.

    That is what it has right, or is above the least value; where there is none, `margin` alone counts.
    """
    return margin if bounds is None else min(margin, (float(np.mean(reference)) - bounds[0]) / 2)


def _check(label: str, guarded: _Guarded, margin: float, confidence: float) -> Check:
    pairs, low = guarded.pairs, guarded.low(confidence)
    excluded, gain = relative_margin(margin, pairs.champion, guarded.bounds), float(pairs.difference.mean())
    passed = low > -excluded
    reason = (
        f"{guarded.text()}: a loss of {excluded:.3g} or more is {'' if passed else 'not '}excluded at "
        f"{percent(confidence)} (lower limit {low:+.3f})"
    )
    if not passed and excluded <= 0:
        way_out = guarded.way_out()
        reason += f"; the {guarded.whose} has nothing to lose on them: take tasks that it can do, or {way_out}"
    elif not passed and gain > -excluded:
        reason += "; these tasks cannot tell: take more of them, or more samples of each"
    return Check(label, passed, reason, {"gain": gain, "low": low, "margin": excluded, "tasks": len(pairs.tasks)})
