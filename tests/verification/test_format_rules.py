"""Format rules: each rule breaks alone, and impossible rules are refused."""

import pytest
from pydantic import ValidationError

from selftaught.records import Message, Rollout, Task, Turn
from selftaught.verification.format_rules import Rules

TASK = Task(messages=(Message(role="user", content="?"),), source="test")
TEXT = r"First, 1 + 1. So \boxed{2}"


def verdict(finish_reason="stop", **rules):
    rollout = Rollout(
        task=TASK.id, index=0, model="m", turns=(Turn(content=TEXT),), temperature=1.0, finish_reason=finish_reason
    )
    return Rules(**rules).verdict(TASK, rollout)


def test_a_text_that_keeps_every_rule_passes():
    rules = {"min_chars": len(TEXT), "max_chars": len(TEXT), "pattern": "^First", "forbid": ["sorry"]}
    assert verdict(**rules, require_boxed=True).passed


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"min_chars": len(TEXT) + 1}, "fewer than min_chars"),
        ({"max_chars": len(TEXT) - 1}, "more than max_chars"),
        ({"pattern": "^So"}, "no match of '^So'"),
        ({"forbid": ["Second", r"box\w+"]}, r"match of 'box\\w+'"),
        ({"finish_reason": "length"}, "ended by length"),
    ],
)
def test_a_broken_rule_fails_and_is_the_only_one_named(rules, reason):
    said = verdict(**rules)
    assert said.score == 0
    assert reason in said.reason
    assert ";" not in said.reason


def test_every_broken_rule_is_named():
    assert verdict(min_chars=99, pattern="never").reason.count(";") == 1


def test_truncated_rollouts_may_be_allowed():
    assert verdict(finish_reason="length", finished=False).passed


@pytest.mark.parametrize(
    ("rules", "words"),
    [({"min_chars": 9, "max_chars": 5}, ["min_chars: 9", "max_chars: 5"]), ({"pattern": "("}, ["pattern"])],
)
def test_impossible_rules_are_refused(rules, words):
    with pytest.raises(ValidationError) as error:
        Rules(**rules)
    assert all(word in str(error.value) for word in words)
