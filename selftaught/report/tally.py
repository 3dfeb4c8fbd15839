"""Counts of a round's rollouts by outcome, in one pass over its verified groups, without keeping them.

Counts by verifier, by pair of verifiers, by what a rollout came to and by kind of task. It says nothing of held-out
tasks and does no statistics.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate, combinations
from typing import Self

from selftaught.records import Group, Task, Verdict
from selftaught.report.data import (
    Agreement,
    Funnel,
    Judgement,
    Kind,
    Lengths,
    Sampled,
    SampledKind,
    VerifierCount,
)

MOST_KINDS = 40
"""Templates (levels, sources) that are listed one by one, those with most tasks; the others are merged."""
OTHERS = "others"


class Tally:
    """Counts over groups, which are added one after the other."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._verdicts = Counter[tuple[str, str]]()
        self._pairs = Counter[tuple[str, str, bool, bool]]()
        self._tokens: defaultdict[Judgement, Counter[int]] = defaultdict(Counter)
        self._cut = Counter[Judgement]()
        self._kinds: defaultdict[tuple[Kind, str], Counter[str]] = defaultdict(Counter)

    @classmethod
    def of(cls, groups: Iterable[Group]) -> Self:
        """The counts of `groups`, which are read once."""
        counted = cls()
        for group in groups:
            counted.add(group)
        return counted

    def add(self, group: Group) -> None:
        """Count one verified group."""
        judged = list(judgements(group))
        cut = [rollout.finish_reason == "length" for rollout in group.rollouts]
        counts = {
            "tasks": 1,
            "solved": int("accepted" in judged),
            "rollouts": len(judged),
            "right": judged.count("accepted"),
            "errors": judged.count("error"),
            "truncated": sum(cut),
        }
        self._counts.update(counts)
        for kind in kinds(group.task):
            self._kinds[kind].update(counts)
        for rollout, judgement, is_cut in zip(group.rollouts, judged, cut, strict=True):
            self._tokens[judgement][rollout.completion_tokens] += 1
            self._cut[judgement] += is_cut
        for verdicts in group.verdicts:
            self._see(verdicts)

    def _see(self, verdicts: Iterable[Verdict]) -> None:
        judged: dict[str, bool] = {}
        for verdict in (each for each in verdicts if not each.turn):  # those on earlier answers are no rollout's
            self._verdicts[verdict.verifier, _said(verdict)] += 1
            if verdict.error is None:
                judged[verdict.verifier] = verdict.passed
        for (one, passed), (other, too) in combinations(judged.items(), 2):
            self._pairs[one, other, passed, too] += 1

    def funnel(self, kept: int, replayed: int = 0) -> Funnel:
        """The funnel of the groups, of which `kept` examples were curated."""
        counts = {name: self._counts[name] for name in ("tasks", "solved", "rollouts", "truncated", "errors")}
        return Funnel(**counts, accepted=self._counts["right"], kept=kept, replayed=replayed)

    def sampled(self) -> Sampled:
        """All the other counts."""
        return Sampled(
            verifiers=tuple(self._verifiers()),
            agreements=tuple(self._agreements()),
            lengths=tuple(_lengths(kind, self._tokens[kind], self._cut[kind]) for kind in JUDGED if self._tokens[kind]),
            kinds=tuple(self._by_kind()),
        )

    def _verifiers(self) -> Iterator[VerifierCount]:
        for name in dict.fromkeys(verifier for verifier, _ in self._verdicts):
            counts = {said: self._verdicts[name, said] for said in ("passed", "failed", "errors")}
            yield VerifierCount(verifier=name, **counts)

    def _agreements(self) -> Iterator[Agreement]:
        for one, other in dict.fromkeys((one, other) for one, other, *_ in self._pairs):
            yield Agreement(
                one=one,
                other=other,
                both=self._pairs[one, other, True, True],
                neither=self._pairs[one, other, False, False],
                only_one=self._pairs[one, other, True, False],
                only_other=self._pairs[one, other, False, True],
            )

    def _by_kind(self) -> Iterator[SampledKind]:
        for by in BY:
            counted = {name: counts for (of, name), counts in self._kinds.items() if of == by}
            for name, counts in most(counted):
                tallied = {each: counts[each] for each in ("tasks", "solved", "rollouts", "right")}
                yield SampledKind(by=by, name=name, **tallied)


BY: tuple[Kind, ...] = ("level", "template", "source")
JUDGED: tuple[Judgement, ...] = ("accepted", "rejected", "error")


def judgements(group: Group) -> Iterator[Judgement]:
    """What each rollout of a verified group came to, in order."""
    for index, verdicts in enumerate(group.verdicts):
        if any(verdict.is_missing for verdict in verdicts):
            yield "error"
        else:
            yield "accepted" if group.passed(index) else "rejected"


def kinds(task: Task) -> Iterator[tuple[Kind, str]]:
    """What a task is grouped by: level, source and, where it has one, template."""
    yield "level", str(task.level)
    yield "source", task.source
    if task.template is not None:
        yield "template", task.template


def most(counted: dict[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    """The kinds with most tasks, by name, at most `MOST_KINDS`; what there is beside them is one more kind."""
    ranked = sorted(counted.items(), key=lambda each: (-each[1]["tasks"], each[0]))
    shown, rest = sorted(ranked[:MOST_KINDS], key=_by_name), ranked[MOST_KINDS:]
    return [*shown, *([(OTHERS, sum((counts for _, counts in rest), Counter[str]()))] if rest else [])]


def _by_name(kind: tuple[str, object]) -> tuple[int, str]:
    # levels are numbers: 10 comes after 9
    return (int(kind[0]), "") if kind[0].isdecimal() else (0, kind[0])


def _said(verdict: Verdict) -> str:
    return "errors" if verdict.error is not None else "passed" if verdict.passed else "failed"


def _lengths(judgement: Judgement, tokens: Counter[int], cut: int) -> Lengths:
    rollouts = tokens.total()
    mean = sum(length * n for length, n in tokens.items()) / rollouts
    middle, high = _at(tokens, 0.5), _at(tokens, 0.9)
    return Lengths(of=judgement, rollouts=rollouts, truncated=cut, mean=mean, median=middle, high=high)


def _at(tokens: Counter[int], share: float) -> int:
    """The least length that at least `share` of the rollouts do not exceed."""
    lengths = sorted(tokens)
    reached = accumulate(tokens[length] for length in lengths)
    return next(length for length, n in zip(lengths, reached, strict=True) if n >= share * tokens.total())
