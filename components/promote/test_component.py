"""promote: the champion alias moves once, and only away from the champion that the challenger was measured against."""

from dataclasses import replace
from pathlib import Path

import pytest
from kfp import dsl

from selftaught.blocks import Check, Decision
from selftaught.evaluation.decision import decision_to_json
from selftaught.lines.versions import rollback
from selftaught.platform import Platform
from selftaught.state.tracking import Version
from tests.rounds import Round, recipe

DECISION = Decision("promoted", "accuracy", 0.25, 0.1, 0.4, 0.001, 0.025, (Check("gain", True, "it gained"),))


@pytest.fixture
def decided(platform: Platform, model: Path, tmp_path: Path) -> Round:
    """A round whose challenger is registered and was found better."""
    round = Round(tmp_path / "round", recipe(model), challenger="c" * 64)
    round.prepare()
    platform.tracker.register("line", round.challenger, "file:///m", round.job.run, {})
    Path(round.artifact("decision", dsl.Artifact).path).write_text(decision_to_json(DECISION))
    return round


def _aliases(platform: Platform) -> dict[str, str]:
    return {alias: version.version for alias, version in platform.tracker.aliases("line").items()}


def test_the_challenger_becomes_the_champion_and_the_old_one_the_previous(decided: Round, platform: Platform):
    decided.promote()
    assert _aliases(platform) == {"champion": "2", "previous": "1", "base": "1", "head": "1"}
    new = platform.tracker.resolve("line", "champion")
    assert isinstance(new, Version)
    assert platform.tracker.version_tags(new)["selftaught.gain_that_decided"] == "+0.2500 [0.1000, 0.4000]"


def test_a_second_promotion_changes_nothing(decided: Round, platform: Platform):
    decided.promote()
    before = _aliases(platform)
    decided.promote()
    assert _aliases(platform) == before


@pytest.mark.parametrize("outcome", ["refused", "trained"])
def test_a_challenger_that_was_not_promoted_changes_nothing(outcome: str, decided: Round, platform: Platform):
    before = _aliases(platform)
    decision = replace(DECISION, outcome=outcome)
    Path(decided.made["decision"].path).write_text(decision_to_json(decision))
    decided.promote()
    assert _aliases(platform) == before


def test_a_round_that_is_resumed_does_not_undo_a_roll_back(decided: Round, platform: Platform):
    """It was killed between its promotion and its report; nobody expects the model that was rolled back again."""
    decided.promote()
    rollback(platform.tracker, platform.serving(), "line", "previous")
    before = _aliases(platform)
    assert before["champion"] == "1"
    decided.promote()
    assert _aliases(platform) == before


def test_a_model_that_an_earlier_round_made_is_promoted_again(decided: Round, platform: Platform):
    """The same digest comes of the same training: this round has decided for it anew."""
    decided.promote()
    rollback(platform.tracker, platform.serving(), "line", "previous")
    later = Round(decided.folder.parent / "later", decided.recipe, number=2, challenger=decided.challenger)
    later.prepare()
    Path(later.artifact("decision", dsl.Artifact).path).write_text(decision_to_json(DECISION))
    later.promote()
    assert _aliases(platform)["champion"] == "2"


def test_another_champion_than_the_measured_one_is_not_replaced(
    decided: Round, platform: Platform, capfd: pytest.CaptureFixture[str]
):
    platform.tracker.point("champion", platform.tracker.register("line", "e" * 64, "file:///e", "", {}))
    before = _aliases(platform)
    with pytest.raises(SystemExit):
        decided.promote()
    assert _aliases(platform) == before
    assert "the champion is now eeeeeeee" in capfd.readouterr().err
