"""Self-correction: how often a second answer is right, and what became of the first.

Whether a model corrects itself is seen in two shares that cancel in the accuracy: wrong answers that it puts right, and
right ones that it spoils (Confidence vs Critique, arXiv 2412.19513). Nothing in the dialogue may depend on the
verifiers: if a model hears which answers are wrong, it gets more tries and does not correct itself.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from selftaught.core.pooled import Floats, ratio, relative_self_correction
from selftaught.evaluation.labelled import Label, Labelled, share
from selftaught.evaluation.strategies import require_answers
from selftaught.records import Group, Rollout


class SelfCorrection(Labelled, type="self_correction"):
    """The share of rollouts whose answer in turn `last` is right; the mean over the task's rollouts.

    Scores beside it: `.first`, the share that is right in turn `first`; `.fixed`, wrong first and right last;
    `.spoilt`, right first and wrong last; `.changed`, another text. So last = first + fixed - spoilt. And of all tasks
    together: `.confidence`, the share of right first answers that stay right; `.critique`, that of wrong ones which are
    put right; `.rss`, the accuracy of the last answers on a scale from 0 to 1 that those of the first span.
    """

    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    part_names: ClassVar[tuple[str, ...]] = ("first", "fixed", "spoilt", "changed", "confidence", "critique", "rss")
    label: Label = "self_correction"
    first: Annotated[str, Field(description="the turn that answers first")] = "attempt"
    last: Annotated[str, Field(description="the turn whose answer counts")] = "second"

    @model_validator(mode="after")
    def _is_told_nothing(self) -> Self:
        if self.sample.asks_verifiers:
            raise ValueError(
                f"sample: '{self.sample.name}' looks at what verifiers say, so what is measured is no self-correction. "
                "Take a dialogue without `when` and {feedback}, or measure it as a strategy."
            )
        require_answers(self.sample, (self.first, self.last))
        return self

    def value(self, group: Group) -> float:
        """The share of rollouts whose last answer is right."""
        return share([group.passed(at) for at in range(len(group.rollouts))])

    def parts(self, group: Group) -> Mapping[str, float]:
        """What became of the first answers."""
        after = [group.passed(at) for at in range(len(group.rollouts))]
        before = [_first_passed(group, at, self.first) for at in range(len(group.rollouts))]
        both = list(zip(before, after, strict=True))
        return {
            "first": share(before),
            "fixed": share([not one and other for one, other in both]),
            "spoilt": share([one and not other for one, other in both]),
            "changed": share([_text(each, self.first) != each.text for each in group.rollouts]),
        }

    def pooled(self, groups: Sequence[Group]) -> Mapping[str, Sequence[float]]:
        """Confidence level, critique score and relative self-correction score (arXiv 2412.19513)."""
        parts = [self.parts(group) for group in groups]
        first, fixed, spoilt = (np.array([each[name] for each in parts]) for name in ("first", "fixed", "spoilt"))
        found: dict[str, Floats | None] = {
            "confidence": ratio(first - spoilt, first),
            "critique": ratio(fixed, 1 - first),
            "rss": relative_self_correction(first, first + fixed - spoilt),
        }
        return {name: values.tolist() for name, values in found.items() if values is not None}


def _first_passed(group: Group, at: int, turn: str) -> bool:
    """Whether the answer in `turn` was right; the only answer has its verdicts without a turn."""
    only = len(group.rollouts[at].answers) == 1
    return group.passed(at, "" if only else turn)


def _text(rollout: Rollout, turn: str) -> str:
    return next((each.content for each in rollout.turns if each.name == turn), rollout.text)
