"""Named sets in the gate: what a margin refuses, and that it never makes a promotion likelier."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Decision, Evidence, Margin
from selftaught.core.errors import BadInput
from selftaught.records import named_set
from tests.evaluation.test_paired_gain import CHALLENGER, CHAMPION, CLEAR, check, evidence, failed, gate, guarded, rows
from tests.evaluation.test_paired_gain import table as changed

OOD = named_set("ood")
Values = list[float]


def decided(values: tuple[Values, Values], loss: float = 0.15, *metrics: str, **found) -> Decision:
    """The decision on a clear gain, of a gate that looks at the set `ood` as well."""
    before = evidence(*CLEAR)
    return gate(min_gain=0.05).decide(on_set(before, values, Margin(metrics or ("accuracy",), loss), **found))


def on_set(before: Evidence, values: tuple[Values, Values], margin: Margin, **found) -> Evidence:
    scores = [
        *before.scores,
        *(row for metric in margin.metrics for row in rows(CHAMPION, values[0], OOD, metric)),
        *(row for metric in margin.metrics for row in rows(CHALLENGER, values[1], OOD, metric)),
        *found.pop("more", ()),
    ]
    own = {name: getattr(before, name) for name in ("champion", "challenger", "round", "fresh", "bounds")}
    return Evidence(**own | {"scores": scores, "margins": {OOD: margin}} | found)


def test_a_loss_on_a_set_with_a_margin_refuses_a_gain() -> None:
    assert (decided(changed(3, 3, 120)).outcome, failed(decided(changed(3, 3, 120)))) == ("promoted", set())
    lost = decided(changed(0, 30, 120))
    assert (lost.outcome, failed(lost)) == ("refused", {"set.ood"})
    assert check(lost, "set.ood").reason.startswith(
        "accuracy gain over the champion -0.250 on 120 set.ood tasks, of which it has 1.000 right: a loss of 0.15 or "
        "more is not excluded at 90 % (lower limit"
    )


def test_too_few_tasks_to_tell_are_a_refusal_and_the_margin_decides() -> None:
    assert failed(decided(changed(2, 2, 10), 0.05)) == {"set.ood"}
    assert failed(decided(changed(3, 8, 120), 0.15)) == set()
    assert failed(decided(changed(3, 8, 120), 0.05)) == {"set.ood"}


def test_every_metric_and_the_base_model_count() -> None:
    same = changed(3, 3, 120)
    assert [each.name for each in decided(same, 0.15, "accuracy", "pass@8").checks][-2:] == [
        "set.ood",
        "set.ood pass@8",
    ]
    better = rows("base", [1.0] * 120, OOD)
    worse = (changed(30, 0, 120)[0], changed(30, 0, 120)[0])
    assert failed(decided(worse, more=better, anchor="base")) == {"set.ood base"}
    with pytest.raises(BadInput, match=r"no 'accuracy' scores of model base on the set\.ood set"):
        decided(same, anchor="base")


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.01, 0.05, 0.15, 0.5]))
def test_a_set_only_ever_refuses_and_spends_nothing_of_the_gains_error_probability(
    gained: int, lost: int, loss: float
) -> None:
    """The gain and the sets all have to pass, so each keeps its own level (Berger 1982)."""
    for number in (1, 3):
        before = evidence(*changed(40, 12, 200), fresh=False, round=number)
        alone = gate().decide(before)
        both = gate().decide(on_set(before, changed(gained, lost, 80), Margin(("accuracy",), loss)))
        assert (both.alpha, both.p_value, both.checks[: len(alone.checks)]) == (
            alone.alpha,
            alone.p_value,
            alone.checks,
        )
        assert both.outcome == "refused" or alone.outcome == "promoted"


def test_a_set_is_looked_at_without_a_guard_and_beside_one() -> None:
    before = evidence(*CLEAR, guard=changed(8, 3, 64))
    names = [
        each.name for each in guarded().decide(on_set(before, changed(3, 3, 120), Margin(("accuracy",), 0.1))).checks
    ]
    assert names[-2:] == ["guard", "set.ood"]
