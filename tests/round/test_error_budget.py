"""The error budget of a gate pool: whoever spends on it, in whatever line or campaign, spends of the same."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selftaught.blocks import Decision, Evidence
from selftaught.core.errors import StoreError
from selftaught.core.statistics import alpha_spending
from selftaught.platform import Platform
from selftaught.recipe import load_blocks, registered
from selftaught.round.error_budget import decided, pool_of, spent
from selftaught.round.job import Job
from selftaught.round.steps import gate as decide
from selftaught.state.store import open_store

load_blocks()
GATE = ["a", "b", "c"]


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    tracker: Any = SimpleNamespace(rounds=lambda line, campaign: [])
    settings: Any = SimpleNamespace(home=tmp_path)
    return Platform(settings, open_store(str(tmp_path / "store")), tracker)


def source(tmp_path: Path, kind: str = "jsonl", **fields: Any) -> Any:
    return registered("tasks")[kind].model_validate({"type": kind, "train": 1, "gate": 1, "report": 1} | fields)


def job(round: int = 1, campaign: str = "a", line: str = "line", pool: str = "pool", attempt: int = 0) -> Job:
    tasks = SimpleNamespace(resamples_gate=False, over="templates")
    recipe: Any = SimpleNamespace(tasks=tasks)
    made = {"line": line, "campaign": campaign, "round": round, "attempt": attempt, "pool": pool, "recipe": recipe}
    return Job.model_construct(**made)


def spending(platform: Platform, of: Job, gate: Sequence[str] = GATE) -> float:
    """What the round may err with, as the gate has it."""

    def decide(before: float) -> Decision:
        alpha = alpha_spending(of.round, 0.025, before)
        return Decision("refused", "accuracy", 0, 0, 0, 1, alpha, ())

    return decided(platform, of, gate, decide).alpha


def test_another_campaign_on_the_same_pool_goes_on_with_what_is_left(platform: Platform):
    ten = [spending(platform, job(n)) for n in range(1, 11)]
    assert sum(ten) == pytest.approx(0.02273, abs=5e-6)
    assert spending(platform, job(1, campaign="b")) == pytest.approx(0.00114, abs=5e-6)


def test_another_line_on_the_same_pool_shares_the_sum(platform: Platform):
    alphas = [spending(platform, job(n, line=line)) for n in range(1, 30) for line in ("one", "two", "three")]
    assert sum(alphas) <= 0.025
    assert spent(platform, "pool") == pytest.approx(sum(alphas))
    assert spent(platform, "another") == spent(platform, "") == 0


def test_an_attempt_that_failed_after_its_gate_has_spent(platform: Platform):
    first = spending(platform, job(1))
    assert spending(platform, job(1, attempt=1)) == alpha_spending(1, 0.025, first)


def test_a_gate_that_is_run_again_decides_as_it_did(platform: Platform):
    """Whatever was spent meanwhile, and though its own note is there."""
    first = spending(platform, job(1))
    spending(platform, job(1, campaign="b"))
    assert spending(platform, job(1)) == first == alpha_spending(1, 0.025)
    assert spent(platform, "pool") == pytest.approx(first + alpha_spending(1, 0.025, first))


def test_the_same_tasks_have_been_spent_on_whatever_their_pool_is_called(platform: Platform):
    first = spending(platform, job(1, pool="file"))
    assert spending(platform, job(1, campaign="b", pool="the file has grown"), ["c", "d"]) < first
    assert spending(platform, job(1, campaign="c", pool="other tasks"), ["e"]) == first


def test_where_a_note_was_removed_the_next_goes_behind_the_last(platform: Platform):
    """As many as there are is the number of one that is there: a gate tried that again and again, for ever."""
    for n in range(1, 4):
        spending(platform, job(n))
    platform.store.release("budget/000001")
    spending(platform, job(4))
    assert platform.store.claims("budget") == ["budget/000000", "budget/000002", "budget/000003"]


@pytest.mark.parametrize("junk", [b"", b"{}", b"null", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("key", ["budget/000007", "budget/notes"])
def test_a_note_that_cannot_be_read_is_named(platform: Platform, key: str, junk: bytes):
    """It is not passed over: it may be what another version spent."""
    platform.store.claim(key, junk)
    if junk:
        with pytest.raises(StoreError, match=rf"/claims/{key}: cannot be read as a BudgetEntry .* remove it"):
            spending(platform, job(1))
        platform.store.release(key)
    assert spending(platform, job(1)) == alpha_spending(1, 0.025)


@pytest.mark.parametrize(("spent", "fresh"), [(0.0, True), (0.01, False)])
def test_the_gate_is_told_what_was_spent_and_that_such_tasks_are_fresh_no_more(spent: float, fresh: bool):
    seen = list[Evidence]()

    def refuse(evidence: Evidence) -> Decision:
        seen.append(evidence)
        return Decision("refused", "accuracy", 0, 0, 0, 1, 0.025, ())

    gate: Any = SimpleNamespace(decide=refuse)
    evidence = Evidence(champion="a", challenger="b", scores=[], round=1, fresh=True)
    decide._decide(gate, evidence, spent)  # pyright: ignore[reportPrivateUsage]
    assert [(each.alpha_spent, each.fresh) for each in seen] == [(spent, fresh)]


def test_two_that_decide_at_once_are_counted_one_after_the_other(platform: Platform):
    """The other takes the number while this one is deciding: it decides again, with what the other spent."""
    seen = list[float]()

    def decide(before: float) -> Decision:
        seen.append(before)
        if len(seen) == 1:
            spending(platform, job(1, line="other"))
        return Decision("refused", "accuracy", 0, 0, 0, 1, alpha_spending(1, 0.025, before), ())

    decided(platform, job(1), GATE, decide)
    assert seen == [0, 0.0125]


def test_generated_tasks_spend_nothing(platform: Platform):
    generated = job(1)
    fresh: Any = SimpleNamespace(tasks=SimpleNamespace(resamples_gate=True, over="tasks"))
    generated = generated.model_copy(update={"recipe": fresh})
    assert [spending(platform, generated) for _ in range(3)] == [0.0125] * 3
    assert spent(platform, "pool") == 0


def test_inbox_tasks_that_decided_a_round_are_fresh_no_more(platform: Platform):
    dropped: Any = SimpleNamespace(tasks=SimpleNamespace(resamples_gate=True, over="templates"))
    first, again = (job(1, campaign, pool="").model_copy(update={"recipe": dropped}) for campaign in "ab")
    assert spending(platform, first) == alpha_spending(1, 0.025)
    assert spending(platform, again) < spending(platform, first)
    assert spending(platform, again.model_copy(update={"campaign": "c"}), ["x"]) == alpha_spending(1, 0.025)


def test_a_pool_is_its_rows_not_how_many_are_asked_for_nor_what_is_said_around_them(tmp_path: Path):
    file, copy, other = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    file.write_text('{"question": "1?", "answer": "1"}\n')
    copy.write_bytes(file.read_bytes())
    other.write_text('{"question": "2?", "answer": "2"}\n')
    one = pool_of(source(tmp_path, path=str(file)))
    assert one == pool_of(source(tmp_path, path=str(copy), gate=7, instruction="Think.", system="You are."))
    assert one != pool_of(source(tmp_path, path=str(other)))
    assert one != pool_of(source(tmp_path, path=str(file), question="answer"))
    assert pool_of(source(tmp_path, "word_problems")) == ""
