"""Abandoned rounds: by hand and on a schedule, what is refused, what comes after, and that their data may go."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selftaught.campaign import runs
from selftaught.campaign.kfp.client import TOKEN, TOKEN_FILE
from selftaught.campaign.kfp.runner import KfpRunner
from selftaught.campaign.local import locked_line
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runs import Submitted, abandon
from selftaught.cli.main import app
from selftaught.core.errors import BadInput, RoundFailed
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.retention.inventory import NoDeployments
from selftaught.retention.survey import Memory, survey
from selftaught.round.abandon import abandon_old, require_kept
from selftaught.round.history import due, give_up, next_round
from selftaught.round.step import step
from selftaught.state.ledger import RecordEntry
from selftaught.state.round_key import RoundKey
from tests.kfp_api import Kfp, serving
from tests.rounds import REPOSITORY, Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]  # fixtures

HOUR = 3600.0


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kfp]:
    for name in (TOKEN_FILE, TOKEN):
        monkeypatch.delenv(name, raising=False)
    with serving(Kfp()) as api:
        monkeypatch.setenv("SELFTAUGHT_KFP", api.url)
        yield api


@pytest.fixture
def begun(platform: Platform, model: Path, tmp_path: Path) -> Round:
    """A round that was prepared, and nobody resumes."""
    round = Round(tmp_path / "round", recipe(model))
    round.prepare()
    return round


def outcomes(platform: Platform) -> list[tuple[int, int, str]]:
    return [(run.key.number, run.key.attempt, run.outcome) for run in platform.tracker.rounds("line", "campaign")]


def submit(platform: Platform, order: CampaignOrder, abandon_after: float = 0.0) -> Submitted:
    return runs.submit(platform, KfpRunner(platform), order, abandon_after)


def order(model: Path) -> CampaignOrder:
    parsed = Recipe.parse(json.dumps(recipe(model)))
    return CampaignOrder(parsed, "line", "campaign", pipelines=REPOSITORY / "pipelines" / "compiled")


def test_the_next_round_is_redrawn_and_status_says_so(platform: Platform, begun: Round):
    done = CliRunner().invoke(app, ["rounds", "abandon", "line", "campaign", "--json"])
    assert json.loads(done.stdout) == {"line": "line", "campaign": "campaign", "round": 1, "attempt": 0}
    assert due(platform, "line", "campaign") == RoundKey("line", "campaign", 1, 1)
    data = json.loads(CliRunner().invoke(app, ["status", "line", "--json"]).stdout)
    assert [(each["round"], each["outcome"]) for each in data["rounds"]] == [(1, "abandoned")]
    begun.attempt = 1
    begun.made.clear()
    begun.folder = begun.folder.with_name("again")
    first = platform.store.claims("plans/line/campaign")
    begun.prepare()
    assert len(platform.store.claims("plans/line/campaign")) == len(first) + 1


def test_a_round_that_failed_makes_no_champion(platform: Platform, begun: Round):
    """KFP's page offers to retry a run, whatever became of its round since."""
    give_up(platform, begun.job.key, begun.job.run, "it was begun with another recipe")
    with pytest.raises(BadInput, match=r"has ended: failed \(it was begun with another recipe\)"):
        require_kept(platform, begun.job)


def test_a_round_that_has_made_the_champion_is_ended_by_its_own_recipe(platform: Platform, begun: Round, model: Path):
    """Given up, its model would be champion with no record of how."""
    other = Recipe.parse(json.dumps(recipe(model, train={"type": "nudge", "gain": 0.3})))
    platform.tracker.point("champion", platform.tracker.register("line", "c" * 64, "file:///m", begun.job.run, {}))
    assert next_round(platform, other, "line", "campaign") == begun.job.key
    assert outcomes(platform) == [(1, 0, "")]


def test_retention_needs_nothing_of_it_any_more(platform: Platform, begun: Round):
    def ended() -> list[bool]:
        return [round.ended for round in survey(platform, NoDeployments(), Memory(platform.store), time.time()).rounds]

    assert ended() == [False]
    abandon(platform, "line", "campaign")
    assert ended() == [True]


def test_what_is_left_of_it_changes_nothing_any_more(platform: Platform, begun: Round):
    """A task that a person retries on KFP's page, or that was asleep."""
    job = begun.job
    require_kept(platform, job)
    abandon(platform, "line", "campaign")
    with pytest.raises(BadInput, match=r"line/campaign/1-0: has ended: abandoned \(given up by hand\)"):
        require_kept(platform, job)
    for each in (begun.prepare, lambda: begun.artifact("decision") and begun.promote()):
        with pytest.raises(SystemExit):
            each()
    assert outcomes(platform) == [(1, 0, "abandoned")]


def test_there_has_to_be_one(platform: Platform, begun: Round):
    with pytest.raises(BadInput, match=r"campaign .other. has no round that is not finished\.\n  campaigns: campaign"):
        abandon(platform, "line", "other")
    abandon(platform, "line", "campaign")
    with pytest.raises(BadInput, match="has no round that is not finished"):
        abandon(platform, "line", "campaign")


def test_one_that_only_has_to_be_ended_is_not_given_up(platform: Platform, begun: Round):
    platform.store.claim(RecordEntry(RoundKey("line", "campaign")).key, b"{}")
    with pytest.raises(BadInput, match=r"has its report already\. Submit it again"):
        abandon(platform, "line", "campaign")
    assert abandon_old(platform, "line", time.time() + HOUR) == ()


def test_one_that_made_the_champion_is_not_given_up(platform: Platform, begun: Round):
    made = platform.tracker.register("line", "1" * 64, "file:///made", begun.job.run, {})
    platform.tracker.point("champion", made)
    with pytest.raises(BadInput, match=r"has made the champion\. Submit it again"):
        abandon(platform, "line", "campaign")


def test_what_fails_beside_the_promotion_does_not_fail_the_round(platform: Platform, begun: Round):
    made = platform.tracker.register("line", "1" * 64, "file:///made", begun.job.run, {})
    platform.tracker.point("champion", made)
    with pytest.raises(SystemExit), step("evaluate report", begun.made["job"].path):
        raise RoundFailed("no answers")
    assert outcomes(platform) == [(1, 0, "")]
    assert due(platform, "line", "campaign") == begun.job.key


def test_one_that_runs_is_not_given_up(platform: Platform, begun: Round, api: Kfp, model: Path):
    there = Platform.open()
    run = submit(there, order(model)).run
    with pytest.raises(BadInput, match=f"run {run.id} is pending"):
        abandon(there, "line", "campaign")
    api.end(run.id, "FAILED")
    lock = platform.settings.home / "campaigns" / "line" / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with locked_line(lock, "line"), pytest.raises(BadInput, match="another process is running this line"):
        abandon(there, "line", "campaign")
    abandon(there, "line", "campaign")


def test_the_next_submission_gives_up_what_is_older_than_it_says(
    platform: Platform, begun: Round, api: Kfp, model: Path
):
    """Of every campaign of the line: nobody may ever submit to that one again."""
    there = Platform.open()
    other = there.tracker.round_run(RoundKey("line", "other"), "main")
    young = submit(there, order(model), abandon_after=HOUR)
    assert (young.run.name, young.abandoned) == ("line campaign round 1", ())
    api.end(young.run.id, "FAILED")
    time.sleep(0.01)
    old = submit(there, order(model), abandon_after=0.001)
    assert (old.run.name, set(old.abandoned)) == (
        "line campaign round 1 attempt 1",
        {"line/campaign/1-0", "line/other/1-0"},
    )
    assert there.tracker.outcome(other) == "abandoned"


def test_a_submission_gives_nothing_up_unless_it_says_so(platform: Platform, begun: Round, api: Kfp, model: Path):
    submit(Platform.open(), replace(order(model), campaign="second"))
    assert outcomes(platform) == [(1, 0, "")]
