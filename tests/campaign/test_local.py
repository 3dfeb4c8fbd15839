"""A campaign decides which round is next: after every ending, every kill and every change of mind.

Rounds run for real, but in this process (`tests.rounds.Round`); `test_kill` runs the compiled pipeline.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selftaught.campaign.local import RoundResult
from selftaught.campaign.local_runner import emptied
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runner import RunRef, RunStatus
from selftaught.cli.main import app
from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput, RoundFailed, SelftaughtError
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Example, dataset
from selftaught.report.data import RoundReport
from selftaught.round.step import step
from selftaught.state.round_key import RoundKey
from tests.rounds import Round, Rounds, database, model, owned_engines, platform, recipe, recorded_blocks, requests

__all__ = ["database", "model", "platform", "recorded_blocks", "requests"]


@dataclass
class Desk:
    """Starts campaigns on the line, and knows what became of them."""

    platform: Platform
    model: Path
    events: list[Mapping[str, Any]] = field(default_factory=list)

    def campaign(self, rounds: int = 1, shards: int = 2, step: type[Round] = Round, **changes: Any) -> Rounds:
        parsed = Recipe.parse(canonical(recipe(self.model, **changes)).decode())
        campaign = Rounds(self.platform, CampaignOrder(parsed, "line", "campaign", rounds, shards), self.events.append)
        campaign.step = step
        return campaign

    def run(self, rounds: int = 1, **changes: Any) -> list[tuple[int, int, str]]:
        """Round, attempt and outcome of each round that the order ran."""
        return [_short(ended) for ended in self.campaign(rounds, **changes).run()]

    def rounds(self) -> list[tuple[int, int, str]]:
        """Round, attempt and outcome of each round that MLflow knows."""
        return [(r.key.number, r.key.attempt, r.outcome) for r in self.platform.tracker.rounds("line", "campaign")]


def _short(ended: RoundResult) -> tuple[int, int, str]:
    return ended.key.number, ended.key.attempt, ended.report.last.outcome


@pytest.fixture
def desk(platform: Platform, requests: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("selftaught.round.step.die_with_parent", lambda: None)
    for name in ("SELFTAUGHT_STORE", "SELFTAUGHT_EVENTS", "SELFTAUGHT_ERRORS", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # so that what a round sets is undone
        monkeypatch.delenv(name)
    return Desk(platform, model)


def test_rounds_follow_one_another_from_the_champion(desk: Desk):
    first, second = desk.campaign(rounds=2).run()
    assert [_short(first), _short(second)] == [(1, 0, "promoted"), (2, 0, "refused")]
    assert second.report.last.champion.digest == first.report.last.challenger.digest
    assert [r.round for r in second.report.rounds] == [1, 2]
    assert second.page.exists()
    assert desk.rounds() == [(1, 0, "promoted"), (2, 0, "refused")]


def test_the_same_order_after_it_was_done_adds_its_rounds(desk: Desk):
    assert desk.run() == [(1, 0, "promoted")]
    assert desk.run() == [(2, 0, "refused")]


def test_a_stage_that_replays_trains_on_the_examples_of_all_rounds(desk: Desk):
    first, second = (each.report.last for each in desk.campaign(rounds=2, replay=100).run())
    one, two = (_examples(desk.platform, trained) for trained in (first, second))
    assert first.funnel and second.funnel
    assert (first.funnel.replayed, second.funnel.replayed) == (0, len(one))
    assert len(two) == second.funnel.kept + second.funnel.replayed == len({each.id for each in two})
    assert {each.id for each in one} < {each.id for each in two}


def test_no_more_is_replayed_than_the_stage_says(desk: Desk):
    *_, last = desk.campaign(rounds=2, replay=1).run()
    assert last.report.last.funnel
    assert last.report.last.funnel.replayed == 1


def _examples(platform: Platform, found: RoundReport) -> list[Example]:
    digest = next(each.digest for each in found.datasets if each.kind == "examples")
    return dataset.read(platform.store.local("datasets", digest, platform.settings.home / "cache"), Example)


def test_an_order_that_was_stopped_between_rounds_is_finished_and_not_added_to(desk: Desk):
    stopped = desk.campaign(rounds=2).run()
    assert _short(next(stopped)) == (1, 0, "promoted")
    stopped.close()
    assert desk.run(rounds=2) == [(2, 0, "refused")]
    assert len(desk.rounds()) == 2


def test_an_order_that_was_stopped_when_all_was_done_tells_its_last_round_again(desk: Desk):
    stopped = desk.campaign().run()
    first = next(stopped)
    stopped.close()
    for page in (first.page, first.page.parent.parent.parent / "report.html"):
        page.unlink()
    (again,) = desk.campaign().run()
    assert again == first
    assert again.page.read_text().startswith("<!doctype html>")
    assert (again.page.parent.parent.parent / "report.html").read_bytes() == again.page.read_bytes()
    assert desk.rounds() == [(1, 0, "promoted")]
    assert desk.run() == [(2, 0, "refused")]


def test_an_interrupted_round_goes_on_with_what_it_had_done(desk: Desk, requests: Path, tmp_path: Path):
    interrupted = Round(tmp_path / "interrupted", recipe(desk.model))
    with owned_engines(desk.platform.settings.home):
        interrupted.until_trained()
    asked = len(requests.read_text().splitlines())
    (ended,) = desk.campaign().run()
    assert _short(ended) == (1, 0, "promoted")
    assert ended.report.last.challenger.digest == interrupted.challenger
    assert len(requests.read_text().splitlines()) == asked + 2 * (24 + 4 + 8)
    assert len(desk.platform.tracker.versions("line")) == 2


def test_an_interrupted_round_goes_on_with_its_own_shards(desk: Desk, tmp_path: Path):
    """Whatever the second command says: half of the tasks would be sampled twice, or not at all."""
    Round(tmp_path / "interrupted", recipe(desk.model), shards=3).prepare()
    (ended,) = desk.campaign(shards=2).run()
    assert (ended.report.last.funnel.tasks, ended.report.last.funnel.rollouts) == (12, 24)


def test_an_interrupted_round_of_another_recipe_has_failed(desk: Desk, tmp_path: Path):
    Round(tmp_path / "interrupted", recipe(desk.model)).prepare()
    assert desk.run(train={"type": "nudge", "gain": 0.6}) == [(1, 1, "promoted")]
    assert desk.rounds() == [(1, 0, "failed"), (1, 1, "promoted")]


def test_a_failed_round_is_told_and_redrawn(desk: Desk):
    """The next call does not repeat a draw that cannot end."""
    with pytest.raises(RoundFailed, match="verify: "):
        desk.run(curate={"type": "accepted", "minimum": 1000})
    (failed,) = desk.platform.tracker.rounds("line", "campaign")
    assert failed.outcome == "failed"
    assert "1000" in desk.platform.tracker.tags(failed.run)["selftaught.failure"]
    assert desk.run() == [(1, 1, "promoted")]
    one, other = (desk.platform.tracker.client.get_run(r.run) for r in desk.platform.tracker.rounds("line", "campaign"))
    assert one.data.params["seed"] != other.data.params["seed"]


def test_report_and_status_tell_what_ended_a_round(desk: Desk, tmp_path: Path):
    """Also where nothing has finished yet, and beside the page of an earlier round."""
    with pytest.raises(RoundFailed):
        desk.run(curate={"type": "accepted", "minimum": 1000})
    failed = r"campaign round 1 failed: curate: .*1000"
    none = CliRunner().invoke(app, ["report", "line"])
    assert none.exit_code == 1
    assert re.search(rf"line: has no finished round\..*\n  {failed}", none.stderr)
    assert re.search(r"  campaign round 1: failed: curate: .*1000", CliRunner().invoke(app, ["status", "line"]).stdout)
    desk.run()
    with pytest.raises(RoundFailed):
        desk.run(curate={"type": "accepted", "minimum": 1000})
    done = CliRunner().invoke(app, ["report", "line", "--to", str(tmp_path / "page.html")])
    assert done.exit_code == 0
    assert (tmp_path / "page.html").exists()
    assert re.search(r"not in it: campaign round 2 failed: curate: .*1000", done.stderr)


def test_a_round_of_tries_samples_in_shards_and_trains_on_its_trees(desk: Desk):
    curate = {"type": "tree_traces", "minimum": 1, "per_task": 2}
    (ended,) = desk.campaign(sample={"type": "trie", "k": 4, "max_tokens": 32}, curate=curate).run()
    assert ended.report.last.funnel.tasks == 12
    assert ended.report.last.funnel.kept > 0
    assert ended.report.last.search.figures["search.trees"] == 12


def test_a_failed_round_says_what_it_found(desk: Desk):
    with pytest.raises(RoundFailed) as found:
        desk.run(curate={"type": "accepted", "minimum": 1000})
    said = str(found.value).splitlines()
    run = desk.platform.tracker.rounds("line", "campaign")[0].run
    funnel = desk.platform.tracker.metrics(run)
    assert said[0].startswith("verify: curate: 'accepted' gave ")
    assert said[1] == "  24 rollouts of 12 tasks; cut off 0; not judged 0"
    passed = int(funnel["funnel.passed"])
    assert (
        said[2] == f"  passed: answer_match {passed}; by all verifiers {passed}, of {funnel['funnel.solved']:.0f} tasks"
    )
    assert [line.startswith("  answer_match: ") for line in said[3:-2]] == [True] * 3
    (verified,) = (desk.platform.store.claimed(key) for key in desk.platform.store.claims("steps/verify"))
    assert verified
    assert said[-2] == f"  all of them: {desk.platform.store.uri('datasets', verified.decode())}"
    assert said[-1] == f"  log: {desk.campaign().folder / 'round-1-0' / 'log.txt'}"


class Undecided(Round):
    """The gate finds something that the user has to fix."""

    def gate(self) -> str:
        with step("gate"):
            raise BadInput("mend it")
        raise AssertionError


def test_a_round_that_an_error_stops_has_an_outcome_and_shows_its_scores(desk: Desk):
    """And the same command resumes it: the runs are open again."""
    tracker = desk.platform.tracker
    campaign = desk.campaign(step=Undecided)
    with pytest.raises(BadInput, match=r"^gate: mend it\n  gate\.accuracy\.challenger: [01]\.\d+\n") as found:
        list(campaign.run())
    (stopped,) = tracker.rounds("line", "campaign")
    measured = tracker.metrics(stopped.run)
    assert len([line for line in str(found.value).splitlines() if line.strip().partition(":")[0] in measured]) == 4
    parent = tracker.campaign_run("line", "campaign")
    status = [tracker.client.get_run(run).info.status for run in (stopped.run, parent)]
    assert (stopped.outcome, status) == ("stopped", ["FAILED", "FAILED"])
    (ended,) = desk.campaign().run()
    assert (ended.key.number, ended.key.attempt) == (1, 0)
    assert [r.run for r in tracker.rounds("line", "campaign")] == [stopped.run]
    status = [tracker.client.get_run(run).info.status for run in (stopped.run, parent)]
    assert status == ["FINISHED", "FINISHED"]


class Interrupted(Round):
    """Somebody presses Ctrl-C."""

    def gate(self) -> str:
        raise KeyboardInterrupt


def test_nothing_seems_to_go_on_after_ctrl_c_and_while_it_goes_on_it_does(desk: Desk):
    client, seen = desk.platform.tracker.client, list[str]()
    parent = desk.platform.tracker.campaign_run("line", "campaign")
    desk.platform.tracker.finish(parent, "done")

    class Watched(Interrupted):
        def gate(self) -> str:
            seen.append(client.get_run(parent).info.status)
            return super().gate()

    with pytest.raises(KeyboardInterrupt):
        list(desk.campaign(step=Watched).run())
    (stopped,) = desk.platform.tracker.rounds("line", "campaign")
    assert seen == ["RUNNING"]
    assert [client.get_run(run).info.status for run in (stopped.run, parent)] == ["FAILED", "FAILED"]
    assert desk.run() == [(1, 0, "promoted")]
    assert client.get_run(parent).info.status == "FINISHED"


def test_a_draw_that_overlaps_is_redrawn_too(desk: Desk):
    """It fails before anything else is fixed."""
    for attempt in (0, 1):
        with pytest.raises(RoundFailed, match="prepare: The sets of tasks overlap"):
            desk.run(tasks={"type": "overlapping"})
        assert desk.rounds()[-1] == (1, attempt, "failed")
    assert len(desk.platform.tracker.versions("line")) == 1


class RolledBack(Round):
    """Somebody points the champion elsewhere while the round runs."""

    def promote(self) -> None:
        tracker = Platform.open().tracker
        tracker.point("champion", tracker.register("line", "e" * 64, "file:///e", "", {}))
        super().promote()


def test_a_champion_that_moved_meanwhile_is_not_replaced(desk: Desk):
    with pytest.raises(RoundFailed, match="promote: line: the champion is now eeeeeeee"):
        list(desk.campaign(step=RolledBack).run())
    champion = desk.platform.tracker.resolve("line", "champion")
    assert champion is not None
    assert champion.digest == "e" * 64
    assert desk.rounds() == [(1, 0, "failed")]


def test_the_identical_model_is_refused(desk: Desk):
    before = desk.platform.tracker.aliases("line")
    assert desk.run(train={"type": "nudge", "gain": 0.0}) == [(1, 0, "refused")]
    assert desk.platform.tracker.aliases("line") == before | {"challenger": before["champion"]}


def test_models_are_sampled_and_trained_where_the_recipe_says(desk: Desk):
    """STaR's way: sample from the head, refused or not, and train from the base."""
    stage = {"sample_from": "head", "train_from": "base", "train": {"type": "nudge", "gain": 0.05}}
    first, second, third = (ended.report.last for ended in desk.campaign(rounds=3, **stage).run())
    base = first.champion.digest
    assert [r.outcome for r in (first, second, third)] == ["refused"] * 3
    assert [r.trained_from for r in (first, second, third)] == [base] * 3
    assert [r.sampled_from for r in (first, second, third)] == [base, first.challenger.digest, second.challenger.digest]


def test_one_process_at_a_time_runs_a_line(desk: Desk):
    running = desk.campaign(rounds=2).run()
    next(running)
    with pytest.raises(BadInput, match="line: another process is running this line"):
        desk.run()
    running.close()
    assert desk.run(rounds=2) == [(2, 0, "refused")]


class Silent(Rounds):
    """A campaign whose pipeline ends for `reason`, after its steps recorded what is in `errors`."""

    reason, errors = "", ""

    def _pipeline(self, key: RoundKey, folder: Path) -> RunStatus:
        run = emptied(folder)
        (folder / "log.txt").write_text("".join(f"line {number}\n\n" for number in range(40)) + "my: not found\n")
        (run / "errors.jsonl").write_text(self.errors)
        return RunStatus(RunRef("", key.name, "", ""), "FAILED", "", self.reason)


@pytest.mark.parametrize(
    ("reason", "errors", "says"),
    [
        ("", "", "round 1 ended early, and no step reported why"),
        ("", '{"step": "tra', "round 1 ended early, and no step reported why"),
        ("was killed (signal 9)", "", r"round 1 was killed \(signal 9\)"),
        (
            "",
            '{"step"\n{"step": "train", "kind": "StoreError", "message": "full"}\n',
            r"^train: full\n  log: .*log\.txt$",
        ),
    ],
)
def test_a_pipeline_that_fails_without_a_word_is_told_by_its_log(desk: Desk, reason: str, errors: str, says: str):
    campaign = desk.campaign()
    silent = Silent(campaign.platform, campaign.order, desk.events.append)
    silent.reason, silent.errors = reason, errors
    with pytest.raises(SelftaughtError, match=says) as found:
        list(silent.run())
    if "round 1" in says:
        assert str(found.value).endswith("  line 39\n  my: not found")
        assert "line 20" not in str(found.value)


def test_without_a_compiled_pipeline_nothing_starts(desk: Desk, tmp_path: Path):
    order = CampaignOrder(Recipe.parse(canonical(recipe(desk.model)).decode()), "line", "c", pipelines=tmp_path)
    with pytest.raises(BadInput, match=r"round\.yaml: no compiled pipeline"):
        next(Rounds(desk.platform, order, desk.events.append).run())
    assert desk.events == []
