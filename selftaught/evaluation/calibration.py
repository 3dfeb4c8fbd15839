"""Calibration: does a model, or another verifier, know which answers are right?

What is measured is an opinion of each answer: a verdict or a confidence that a turn states (`stated`), or the score of
any verifier. It is held against the truth, which is the tasks' own check unless the metric names verifiers. F1, ECE and
AUROC are figures of all answers together and of no task alone (`selftaught.core.pooled`).
Sources: Critique Ability of Large Language Models (arXiv 2310.04815) for verdicts; Guo et al. 2017, On Calibration of
Modern Neural Networks (1706.04599).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from selftaught.blocks import Verifier
from selftaught.blocks.loading import OnAxis
from selftaught.core.pooled import BINS, Opinions, figures
from selftaught.evaluation.labelled import Label, Labelled, share
from selftaught.evaluation.strategies import require_turns
from selftaught.records import Group, Verdict


class Calibration(Labelled, type="calibration"):
    """The share of answers of which `of` says the truth; one of which it says nothing counts as wrong.

    Scores beside it: `.said`, the share of which it says anything; and of those, all together, `.accuracy`, `.f1` (of
    calling right answers right), `.brier`, `.ece` with `.ece_calibrated`, what it would be if it were perfectly
    calibrated and said the same of as many answers, and `.auroc`. Lower is better for Brier score and ECE.
    """

    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    part_names: ClassVar[tuple[str, ...]] = ("said", "accuracy", "f1", "brier", "ece", "ece_calibrated", "auroc")
    label: Label = "calibration"
    of: Annotated[Verifier, OnAxis("verify"), Field(description="whose opinion of each answer is measured")]
    bins: Annotated[PositiveInt, Field(description="bins of equal width of the expected calibration error")] = BINS

    @model_validator(mode="after")
    def _is_said(self) -> Self:
        require_turns(self.sample, self.of.turn_names)
        return self

    def beside(self) -> Sequence[Verifier]:
        """The one whose opinion is measured."""
        return (self.of.opinion(),)

    def value(self, group: Group) -> float:
        """The share of answers of which the truth is said."""
        return share([said is not None and _agrees(said, right) for said, right in self._asked(group)])

    def parts(self, group: Group) -> Mapping[str, float]:
        """The share of answers of which anything is said."""
        return {"said": share([said is not None for said, _ in self._asked(group)])}

    def pooled(self, groups: Sequence[Group]) -> Mapping[str, Sequence[float]]:
        """The figures of all opinions of all `groups`."""
        said = [[(said, right) for said, right in self._asked(group) if said is not None] for group in groups]
        return {name: values.tolist() for name, values in figures(Opinions.of(said), self.bins).items()}

    def _asked(self, group: Group) -> Iterator[tuple[float | None, bool]]:
        """How sure `of` is of each answer that it was asked about, None where it says nothing, and the truth."""
        for at, verdicts in enumerate(group.verdicts):
            for verdict in filter(self._is_opinion, verdicts):
                yield verdict.score, group.passed(at, verdict.turn)

    def _is_opinion(self, verdict: Verdict) -> bool:
        return not verdict.required and verdict.verifier == self.of.name


def _agrees(said: float, right: bool) -> bool:
    """Whether it is on the side of the truth; .5 is on neither."""
    return said != 0.5 and (said > 0.5) == right
