"""A round on an engine that is not polite: what was broken off stays so, what it leaves out is asked for again, and a
task that it refuses costs that task alone.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selftaught.platform import Platform
from selftaught.records import Example, Group, Task, TaskScore, dataset
from selftaught.round.distributed.request import OfflineRequest
from selftaught.round.history import page_of
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]


@pytest.fixture
def round(platform: Platform, engines: Path, model: Path, tmp_path: Path) -> Round:
    """A round that is fixed, four samples a task."""
    round = Round(tmp_path / "round", recipe(model, sample={"type": "iid", "k": 4, "max_tokens": 32}))
    round.prepare()
    return round


def questions(round: Round, split: str) -> list[str]:
    return [t.messages[-1].content for t in dataset.read(Path(round.made["tasks"].path), Task) if t.split == split]


def faults(monkeypatch: pytest.MonkeyPatch, **seen: list[str]) -> None:
    monkeypatch.setenv("RECORDED_FAULTS", json.dumps(seen))


def asked(engines: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in engines.read_text().splitlines()]


def test_what_was_broken_off_arrives_so_is_never_trained_on_and_is_counted(
    round: Round, engines: Path, monkeypatch: pytest.MonkeyPatch
):
    train = questions(round, "train")
    length, abort, silent = train[:3], train[3:5], train[5:6]
    faults(monkeypatch, length=length, abort=abort, silent=silent)
    round.until_trained()
    groups = dataset.read(Path(round.made["verified"].path), Group)
    ends = {g.task.question: [r.finish_reason for r in g.rollouts] for g in groups}
    for faulty, reason in ((length, "length"), (abort, "abort"), (silent, "unknown"), (train[6:], "stop")):
        assert {tuple(ends[question]) for question in faulty} == {(reason, "stop", "stop", "stop")}
    rollouts = {r.id: r for g in groups for r in g.rollouts}
    assert Counter(r.finish_reason for r in rollouts.values())["stop"] == 4 * len(train) - 6
    examples = dataset.read(Path(round.made["examples"].path), Example)
    assert {rollouts[example.rollout].finish_reason for example in examples} == {"stop"}
    counts = round.made["verify-metrics"].metadata
    assert (counts["truncated"], counts["rollouts"], counts["unanswered"]) == (3, 48, 0)


def test_what_an_engine_leaves_out_is_asked_for_again(round: Round, engines: Path, monkeypatch: pytest.MonkeyPatch):
    train = questions(round, "train")
    faults(monkeypatch, fewer=train[:2], late=train[:1])
    round.sample()
    groups = [g for n in (0, 1) for g in dataset.read(Path(round.made[f"groups-{n}"].path), Group)]
    assert {len(group.rollouts) for group in groups} == {4}
    wanted = Counter((request["question"], request["n"]) for request in asked(engines))
    assert wanted == Counter({(q, 4): 1 for q in train} | {(q, 1): 1 for q in train[:2]})


def test_a_task_that_is_refused_costs_that_task_alone(
    round: Round, engines: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    train, gate = questions(round, "train")[0], questions(round, "gate")[0]
    faults(monkeypatch, refused=[train, gate])
    round.run()
    tasks = {task.question: task.id for task in dataset.read(Path(round.made["tasks"].path), Task)}
    verified = dataset.read(Path(round.made["verified"].path), Group)
    assert len(verified) == 11 and tasks[train] not in {group.id for group in verified}
    assert round.made["verify-metrics"].metadata["unanswered"] == 1
    scores = dataset.read(Path(round.made["gate-scores"].path), TaskScore)
    assert Counter(score.model for score in scores) == {round.job.champion.digest: 27, round.challenger: 27}
    assert tasks[gate] not in {score.task for score in scores}
    assert round.made["gate-metrics"].metadata is not None
    stderr = capfd.readouterr().err
    assert f"no answer to task {tasks[train]} (" in stderr and "maximum context length" in stderr


def test_a_report_set_that_is_refused_costs_no_promotion(
    platform: Platform, round: Round, engines: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The promotion does not wait for it."""
    faults(monkeypatch, refused=questions(round, "report"))
    assert round.run() == "promoted"
    (ended,) = platform.tracker.rounds("line", "campaign")
    assert ended.outcome == "promoted"
    assert "8 of 8 tasks got no answer" in platform.tracker.tags(ended.run)["selftaught.not_measured"]
    assert "evaluate report: a set is left out: 8 of 8" in capfd.readouterr().err
    assert set(page_of(platform, ended.key).last.measured_on) == {"gate", "guard"}


@pytest.mark.parametrize("fault", ["refused", "broken"])
def test_a_round_in_which_many_are_refused_ends_with_the_first_named(
    round: Round,
    engines: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    platform: Platform,
    fault: str,
):
    train = questions(round, "train")
    faults(monkeypatch, **{fault: train[:4]})
    with pytest.raises(SystemExit):
        round.sample()
    first = next(t.id for t in dataset.read(Path(round.made["tasks"].path), Task) if t.split == "train")
    stderr = capfd.readouterr().err
    assert f"sample: 2 of 6 tasks got no answer, more than 10%. The first, {first} (" in stderr
    assert "maximum context length" in stderr and "SELFTAUGHT_ENGINE_CONTEXT" in stderr
    assert [r.outcome for r in platform.tracker.rounds("line", "campaign")] == ["failed"]


def test_the_chat_templates_variables_and_how_tokens_are_drawn_reach_every_request_and_the_trainer(
    platform: Platform, engines: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sampler = {"type": "iid", "k": 2, "max_tokens": 32, "top_p": 0.9}
    asks = recipe(model, sample=sampler) | {"chat_template": {"enable_thinking": False}}
    round, seen = Round(tmp_path / "round", asks), list[Any]()
    monkeypatch.setattr(
        OfflineRequest, "run", lambda work, _, done=OfflineRequest.run: seen.append(work.template) or done(work)
    )
    round.until_trained()
    round.evaluate("gate")
    assert {str(request["chat_template_kwargs"]) for request in asked(engines)} == {"{'enable_thinking': False}"}
    assert {(request["temperature"], request.get("top_p")) for request in asked(engines)} == {(1.0, 0.9), (0, None)}
    assert seen == [{"enable_thinking": False}]


def test_what_changes_answers_enters_the_keys_of_what_is_asked(
    round: Round, platform: Platform, engines: Path, monkeypatch: pytest.MonkeyPatch
):
    def sampled() -> int:
        """How many shards were sampled so far."""
        for shard in (0, 1):
            round.made.pop(f"groups-{shard}", None)
        round.sample()
        return len(list(platform.store.claims("steps/sample")))

    assert [sampled(), sampled()] == [2, 2]
    monkeypatch.setenv("SELFTAUGHT_ENGINE_CONTEXT", "2048")
    assert sampled() == 4
    monkeypatch.setenv("SELFTAUGHT_ENGINE_DTYPE", "float16")
    assert sampled() == 6
    monkeypatch.setenv("SELFTAUGHT_ENGINE_MEMORY_SHARE", "0.5")
    assert sampled() == 6


@pytest.mark.parametrize(("computes", "shards"), [(True, 4), (False, 2)])
def test_what_auto_comes_to_on_this_processor_is_the_key(
    round: Round, platform: Platform, monkeypatch: pytest.MonkeyPatch, computes: bool, shards: int
):
    """Where 16 bits are emulated, auto is float32 and nothing else."""
    monkeypatch.setattr("selftaught.serving.engines.precision.computes_16_bits", lambda: computes)
    round.sample()
    for shard in (0, 1):
        round.made.pop(f"groups-{shard}", None)
    monkeypatch.setenv("SELFTAUGHT_ENGINE_DTYPE", "float32")
    round.sample()
    assert len(list(platform.store.claims("steps/sample"))) == shards
