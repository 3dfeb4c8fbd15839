"""report: a page, the round's run closed with its outcome, and a record that the next rounds read."""

import shlex
from pathlib import Path

from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import dataset
from selftaught.round.history import newest, page_of
from selftaught.state.ledger import DetailEntry
from selftaught.state.round_key import RoundKey
from tests.rounds import Round, recipe

TAKEN_ALONG = ("scores.csv", "rollouts.jsonl")


def test_a_promoted_round_is_told_and_closed(round: Round, platform: Platform):
    assert round.run() == "promoted"
    found = page_of(platform, RoundKey("line", "campaign"))
    assert found.last.outcome == "promoted"
    assert (found.last.funnel.tasks, found.last.funnel.rollouts) == (12, 24)
    assert Path(round.made["page"].path).read_text().startswith("<!doctype html>")
    run = platform.tracker.client.get_run(round.job.run)
    assert (run.info.status, run.data.tags["selftaught.outcome"]) == ("FINISHED", "promoted")
    metrics = run.data.metrics
    assert metrics["gate.accuracy.challenger"] == metrics["guard.accuracy.challenger"] == 1.0
    assert metrics["gate.accuracy.champion"] == 1.0 - metrics["gate.accuracy.gain"] < 0.5
    shown = round.made["page-metrics"].metadata
    assert shown == {
        "outcome": "promoted",
        **{name: metrics[f"report.accuracy.{name}"] for name in ("champion", "challenger", "gain")},
    }
    champion = platform.tracker.resolve("line", "champion")
    assert champion is not None
    assert champion == platform.tracker.resolve("line", "head")
    tags = platform.tracker.version_tags(champion)
    assert tags["selftaught.report.accuracy"].startswith("1.0000")
    assert tags["selftaught.gain"].startswith(f"{metrics['report.accuracy.gain']:+.4f} [")
    assert tags["selftaught.gain_that_decided"].startswith(f"{metrics['gate.accuracy.gain']:+.4f} [")


def test_the_run_has_the_scores_and_rollouts_to_take_along(round: Round, platform: Platform, tmp_path: Path):
    round.run()
    files = [platform.tracker.client.download_artifacts(round.job.run, name, str(tmp_path)) for name in TAKEN_ALONG]
    scores, rollouts = (Path(file).read_text() for file in files)
    found = page_of(platform, RoundKey("line", "campaign"))
    assert len(scores.splitlines()) == len(found.scores) + 1
    assert "gate,accuracy,challenger" in scores
    assert len(rollouts.splitlines()) == found.last.funnel.rollouts == 24


def test_the_record_has_what_its_page_tells(round: Round, platform: Platform):
    round.run()
    found = page_of(platform, RoundKey("line", "campaign"))
    last = found.last
    assert [(v.verifier, v.passed + v.failed + v.errors) for v in found.sampled.verifiers] == [("answer_match", 24)]
    assert sum(lengths.rollouts for lengths in found.sampled.lengths) == 24
    assert (last.settings["sample.type"], last.settings["train.nudge.gain"]) == ("iid", "0.7")
    assert set(last.measured_on) == {"gate", "guard", "report"}
    assert {score.task for score in found.scores} == set(found.levels)
    assert not any(turn.token_ids for group in found.groups for r in group.rollouts for turn in r.turns)
    assert all(kept.uri.endswith(kept.digest) for kept in last.datasets)


def test_told_again_it_is_the_same_page(round: Round):
    round.run()
    first = Path(round.made["page"].path).read_bytes()
    round.report()
    assert Path(round.made["page"].path).read_bytes() == first


def test_the_identical_model_is_refused_and_the_champion_keeps_its_own_story(
    round: Round, platform: Platform, model: Path, tmp_path: Path
):
    round.run()
    champion = platform.tracker.resolve("line", "champion")
    assert champion is not None
    tags = platform.tracker.version_tags(champion)
    idle = Round(tmp_path / "idle", recipe(model, train={"type": "nudge", "gain": 0.0}), number=2)
    assert idle.run() == "refused"
    assert idle.challenger == champion.digest
    assert platform.tracker.resolve("line", "champion") == champion
    assert platform.tracker.version_tags(champion) == tags
    assert len(platform.tracker.versions("line")) == 2


def test_rounds_follow_one_another_in_the_record(round: Round, platform: Platform, model: Path, tmp_path: Path):
    """A refused iterate is the head, and the champion stays."""
    round.recipe = recipe(model, train={"type": "nudge", "gain": 0.01})
    assert round.run() == "refused"
    _forget_all_but_the_record(platform, round)
    stage = {"train": {"type": "nudge", "gain": 0.9}, "sample_from": "head", "train_from": "base"}
    second = Round(tmp_path / "second", recipe(model, **stage), number=2)
    assert second.run() == "promoted"
    assert second.job.sampler.digest == round.challenger
    assert second.job.trainee.digest == second.job.champion.digest == round.job.champion.digest
    report = page_of(platform, newest(platform, "line", "campaign"))
    assert [(r.round, r.outcome) for r in report.rounds] == [(1, "refused"), (2, "promoted")]
    sizes = {each.name: each.bytes for each in platform.store.stored_claims("rounds/line/campaign")}
    assert max(sizes.values()) < 1.1 * min(sizes.values())


def _forget_all_but_the_record(platform: Platform, round: Round) -> None:
    """Of an ended round its scores, rollouts and examples, in the store and for its page, are nothing to the next."""
    platform.store.release(DetailEntry(round.job.key).key)
    for name in ("verified", "examples", "gate-scores", "report-scores"):
        platform.store.remove("datasets", dataset.manifest(Path(round.made[name].path)).digest)


def test_the_page_says_how_to_run_the_same_rounds_on_the_recipe_that_it_shows(round: Round, platform: Platform):
    """With whatever line, campaign and overrides they were run."""
    round.recipe = round.recipe | {"description": "overridden: yes"}
    round.run()
    report = page_of(platform, newest(platform, "line", "campaign"))
    home, *words = shlex.split(report.command)
    assert home.startswith("SELFTAUGHT_HOME=")
    assert words == "selftaught run recorded.yaml --line line --campaign campaign --rounds 1 --shards 2".split()
    assert Recipe.parse(report.recipe_yaml).digest == round.job.recipe.digest
