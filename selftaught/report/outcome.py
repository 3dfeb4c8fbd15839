"""A round's outcome as text, and the table of metrics behind it."""

from collections.abc import Iterator
from dataclasses import dataclass

from selftaught.records import Split, set_name
from selftaught.report.data import Gain, ModelVersion, ReportData, RoundReport, Summary
from selftaught.report.formatting import (
    PERCENT,
    count,
    metric_name,
    rate,
    sentence,
    short,
    signed,
    split_name,
    split_rank,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric on one split: champion, challenger and the paired gain, each where it was measured."""

    metric: str
    split: Split
    champion: Summary | None
    challenger: Summary | None
    gain: Gain | None

    @property
    def drawn(self) -> Gain | None:
        """The gain, if it is one of rates: a gain in tokens is not on their scale."""
        return self.gain if self.gain and max(abs(self.gain.low), abs(self.gain.high)) <= 1 else None

    @property
    def tasks(self) -> int:
        """How many tasks it was measured on."""
        return next((part.n for part in (self.gain, self.challenger, self.champion) if part), 0)


@dataclass(frozen=True, slots=True)
class Scale:
    """A common axis for intervals of gains: `position` gives the per cent from its left edge."""

    low: float
    high: float

    def position(self, value: float) -> float:
        """Where `value` lies, in per cent of the axis."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def comparisons(round: RoundReport) -> list[Comparison]:
    """Every metric and split that was measured: the deciding metric first, then report, gate, guard and named sets."""
    measured = dict.fromkeys([*map(_key, round.summaries), *map(_key, round.gains)])
    ranked = sorted(measured, key=lambda key: (key[0] != round.metric, key[0], split_rank(key[1])))
    return [_comparison(round, metric, split) for metric, split in ranked]


def _key(part: Summary | Gain) -> tuple[str, Split]:
    return part.metric, part.split


def _comparison(round: RoundReport, metric: str, split: Split) -> Comparison:
    return Comparison(
        metric,
        split,
        round.summary(round.champion, metric, split),
        round.summary(round.challenger, metric, split),
        round.gain(metric, split),
    )


def deciding_sets(round: RoundReport) -> list[str]:
    """The named sets that the gate looked at, so that they are none for reports."""
    checks = round.gate.checks if round.gate else ()
    looked_at = {check.name.split()[0] for check in checks}
    return sorted(split_name(split) for split in round.measured_on if set_name(split) and split in looked_at)


def gain_scale(rows: list[Comparison]) -> Scale:
    """The axis that holds zero and every drawn interval of `rows`, with a little room on both sides."""
    ends = [0.0, *(end for row in rows if row.drawn for end in (row.drawn.low, row.drawn.high))]
    room = 0.05 * (max(ends) - min(ends)) or 0.05
    return Scale(min(ends) - room, max(ends) + room)


def headline(round: RoundReport) -> Comparison | None:
    """What the page opens with: the deciding metric on the report set, or on the gate set where that is all."""
    rows = (row for row in comparisons(round) if row.metric == round.metric and row.champion and row.challenger)
    return next(rows, None)


def consequence(data: ReportData) -> str:
    """What the round changes for users, in a sentence or two for those who read no further."""
    last, now = data.last, data.last.champion
    if last.outcome != "promoted" or not last.challenger:
        said = f"Nothing changes for users: {_called(now)} continues to answer them."
        if last.outcome == "trained" and last.challenger:
            said += f" {_called(last.challenger)} is available to later stages."
        return said
    said = f"Users get {_called(last.challenger)} instead of {_called(now)}."
    row = headline(last)
    if row and row.champion and row.challenger and row.metric.split("@")[0] in ("accuracy", "mean"):
        right, before = (round(100 * one.mean) for one in (row.challenger, row.champion))
        said += f" Of 100 new problems it gets about {right} right, where users had about {before}."
    return said + _longer(data, row)


def _longer(data: ReportData, row: Comparison | None) -> str:
    """How much longer answers are than they were."""
    means = [_answer_tokens(data, row, model) for model in (data.last.champion, data.last.challenger)]
    before, after = means
    if not before or not after:
        return ""
    by = round(100 * (after / before - 1))
    if not by:
        return " Its answers are as long."
    return f" Its answers are {abs(by)}{PERCENT} {'longer' if by > 0 else 'shorter'} in tokens."


def _answer_tokens(data: ReportData, row: Comparison | None, model: ModelVersion | None) -> float:
    """The mean length of a model's answers to the tasks of the headline; 0 where none is known."""
    if not row or not model:
        return 0.0
    wanted = (model.digest, row.metric, row.split)
    scores = [score for score in data.scores if (score.model, score.metric, score.split) == wanted]
    return sum(score.completion_tokens for score in scores) / max(sum(len(score.passed) for score in scores), 1)


def _called(model: ModelVersion) -> str:
    return f"{model.name} v{model.version}" if model.name and model.version else f"model {short(model.digest)}"


def reasons(round: RoundReport) -> Iterator[str]:
    """Why the round was not promoted: what it failed of, or the gate's failed checks. Nothing when it was promoted."""
    if round.failure:
        yield sentence(round.failure)
    for check in round.gate.checks if round.gate else ():
        if not check.passed:
            yield sentence(check.reason)


def numbers(row: Comparison) -> str:
    """The comparison as a sentence: `Accuracy on 200 new problems: .285 → .610 (+.325, 95 % interval …).`"""
    assert row.champion and row.challenger
    values = f"{rate(row.champion.mean)} → {rate(row.challenger.mean)}"
    kind = _KIND.get(row.split) or split_name(row.split)
    what = f"{sentence(metric_name(row.metric))[:-1]} on {count(row.tasks)} {kind} problems"
    return f"{what}: {values}{_interval(row.gain)}."


def _interval(gain: Gain | None) -> str:
    if gain is None:
        return ""
    span = f"{100 * gain.confidence:.4g}{PERCENT} interval {rate(gain.low)} to {rate(gain.high)}"
    return f" ({signed(gain.gain)}, {span})"


_KIND: dict[Split, str] = {"report": "new", "gate": "held-out", "guard": "guard", "train": "training"}
