"""Counts over groups: each rollout once, by verifier, pair, length and kind of task; and nothing of them is kept."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.records import Group, Message, Rollout, Task, Turn, Verdict
from selftaught.report.data import Agreement, ModelVersion, SampledKind, VerifierCount
from selftaught.report.tally import MOST_KINDS, Tally
from tests.report.sample_report import groups

SAID = {"+": (0.9, True, None), "-": (0.1, False, None), "!": (None, False, "no answer in time")}


def verdict(verifier: str, said: str) -> Verdict:
    score, passed, error = SAID[said]
    return Verdict(verifier=verifier, score=score, passed=passed, error=error)


def group(*rollouts: str, number: int = 0, tokens: tuple[int, ...] = (), cut: tuple[int, ...] = (), **task: object):
    """A group of one rollout a text, which says what verifiers a, b, c … said of it: `+`, `-` or `!`, it could not."""
    asked = {"messages": (Message(role="user", content=f"question {number}"),), "source": "test", **task}
    made = Task(**asked)  # pyright: ignore[reportArgumentType]
    return Group(
        task=made,
        rollouts=tuple(
            Rollout(
                task=made.id,
                index=i,
                model="m",
                turns=(Turn(content=f"{number} {i}"),),
                temperature=1.0,
                completion_tokens=tokens[i] if tokens else 1,
                finish_reason="length" if i in cut else "stop",
            )
            for i in range(len(rollouts))
        ),
        verdicts=tuple(tuple(verdict(name, said) for name, said in zip("abc", text)) for text in rollouts),  # noqa: B905
    )


def test_the_funnel_counts_rollouts_errors_and_truncations():
    sampled = groups(ModelVersion(digest="d"), 21)
    funnel = Tally.of(sampled).funnel(kept=9, replayed=4)
    assert (funnel.tasks, funnel.rollouts, funnel.kept, funnel.replayed) == (21, 84, 9, 4)
    assert funnel.errors == 3  # groups 0, 7 and 14
    assert funnel.truncated == 5  # groups 0, 5, 10, 15 and 20
    assert funnel.accepted == sum(len(list(group.accepted())) for group in sampled)
    assert funnel.solved == sum(any(True for _ in group.accepted()) for group in sampled)


def test_a_rollout_that_two_verifiers_could_not_judge_is_one_error():
    assert Tally.of([group("!!", "+!", "++")]).funnel(kept=0).errors == 2


def test_verdicts_on_earlier_answers_are_not_counted_as_the_rollouts():
    made = group("++", "++")
    earlier = [
        tuple(each.model_copy(update={"turn": "first", "passed": False}) for each in said) for said in made.verdicts
    ]
    both = made.model_copy(update={"verdicts": tuple(zip_both(made.verdicts, earlier))})
    assert Tally.of([both]).sampled() == Tally.of([made]).sampled()


def zip_both(last, earlier):
    return [(*one, *other) for one, other in zip(last, earlier, strict=True)]


def test_each_verifier_is_counted_by_itself_and_with_each_other():
    sampled = Tally.of([group("++", "++", "+-", "-+", number=1), group("--", "+!", "!-", number=2)]).sampled()
    assert sampled.verifiers == (
        VerifierCount(verifier="a", passed=4, failed=2, errors=1),
        VerifierCount(verifier="b", passed=3, failed=3, errors=1),
    )
    assert sampled.agreements == (Agreement(one="a", other="b", both=2, neither=1, only_one=1, only_other=1),)


said = st.text("+-!", min_size=3, max_size=3)


@given(st.lists(st.lists(said, min_size=1, max_size=4), max_size=6))
def test_every_rollout_is_counted_once_whatever_was_said_of_it(tasks: list[list[str]]):
    tally = Tally.of(group(*rollouts, number=n) for n, rollouts in enumerate(tasks))
    sampled, funnel = tally.sampled(), tally.funnel(kept=0)
    everything = [text for rollouts in tasks for text in rollouts]
    assert funnel.rollouts == len(everything) == sum(lengths.rollouts for lengths in sampled.lengths)
    assert {lengths.of: lengths.rollouts for lengths in sampled.lengths} == Counter(
        "error" if "!" in text else "rejected" if "-" in text else "accepted" for text in everything
    )
    for position, counted in enumerate(sampled.verifiers):
        column = Counter(text[position] for text in everything)
        assert (counted.passed, counted.failed, counted.errors) == (column["+"], column["-"], column["!"])
    for pair in sampled.agreements:
        one, other = "abc".index(pair.one), "abc".index(pair.other)
        both = [(text[one], text[other]) for text in everything if "!" not in (text[one], text[other])]
        assert (pair.both, pair.neither) == (both.count(("+", "+")), both.count(("-", "-")))
        assert (pair.only_one, pair.only_other) == (both.count(("+", "-")), both.count(("-", "+")))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_lengths_are_told_by_mean_median_and_the_tenth_that_is_longest(tokens: list[int]):
    (lengths,) = Tally.of([group(*["+"] * len(tokens), tokens=tuple(tokens))]).sampled().lengths
    assert lengths.mean == pytest.approx(sum(tokens) / len(tokens))
    for named, share in ((lengths.median, 0.5), (lengths.high, 0.9)):
        assert named in tokens
        assert sum(length <= named for length in tokens) >= share * len(tokens)
        assert sum(length < named for length in tokens) < share * len(tokens)


def test_lengths_and_truncations_are_distinguished_by_what_came_of_them():
    some = group("+", "-", "-", "!", tokens=(10, 90, 96, 5), cut=(2, 3))
    found = {each.of: (each.rollouts, each.truncated, each.mean) for each in Tally.of([some]).sampled().lengths}
    assert found == {"accepted": (1, 0, 10), "rejected": (2, 1, 93), "error": (1, 1, 5)}


def test_tasks_are_told_by_level_source_and_template():
    some = [
        group("+", "-", number=1, level=10, template="add"),
        group("-", "-", number=2, level=9, template="add"),
        group("+", "+", number=3, level=10),
    ]
    assert Tally.of(some).sampled().kinds == (
        SampledKind(by="level", name="9", tasks=1, solved=0, rollouts=2, right=0),
        SampledKind(by="level", name="10", tasks=2, solved=2, rollouts=4, right=3),
        SampledKind(by="template", name="add", tasks=2, solved=1, rollouts=4, right=1),
        SampledKind(by="source", name="test", tasks=3, solved=2, rollouts=6, right=3),
    )


def test_of_very_many_templates_the_rarest_are_told_as_one():
    some = [group("+", number=n, template=f"t{n:03}") for n in range(MOST_KINDS + 7)]
    some += [group("-", number=1000, template=f"t{MOST_KINDS + 6:03}")]
    kinds = [kind for kind in Tally.of(some).sampled().kinds if kind.by == "template"]
    assert len(kinds) == MOST_KINDS + 1
    assert (kinds[-1].name, kinds[-1].tasks, kinds[-1].right) == ("others", 7, 7)
    assert [kind.name for kind in kinds[:-1]] == sorted(kind.name for kind in kinds[:-1])
    assert f"t{MOST_KINDS + 6:03}" in {kind.name for kind in kinds}
    assert sum(kind.tasks for kind in kinds) == len(some)


def test_groups_are_read_once_and_let_go():
    """Each is gone when the next is made."""
    import weakref

    gone: list[weakref.ref[Group]] = []

    def passing():
        for n in range(20):
            made = group("+-", "-+", number=n, template="t")
            gone.append(weakref.ref(made))
            yield made
            del made
            if n:
                assert gone[n - 1]() is None

    assert Tally.of(passing()).funnel(kept=0).tasks == 20
