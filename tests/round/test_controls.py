"""The state of controls over rounds: read by the next round, made once, and by no round that did not end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks import Observed
from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Group, Task, dataset
from selftaught.round.controls import CampaignState, chosen, state_before
from selftaught.round.history import give_up, page_of
from selftaught.round.inputs import of_sampling
from selftaught.state.ledger import RecordEntry, StateEntry
from selftaught.state.round_key import RoundKey
from selftaught.tasks.past import TaskDraw
from selftaught.testing import sums
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

KEY = RoundKey("line", "campaign")
CURRICULUM = {"type": "curriculum", "tasks": 6}


def trained_on(round: Round) -> set[str]:
    return {task.id for task in dataset.rows(Path(round.made["tasks"].path), Task) if task.split == "train"}


def controlled(model: Path, *controls: Mapping[str, Any]) -> dict[str, Any]:
    return recipe(model, control=list(controls))


def test_a_round_attempts_the_chosen_tasks_and_leaves_a_state_for_the_next(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    first = Round(tmp_path / "first", controlled(model, CURRICULUM))
    first.run()
    assert len(trained_on(first)) == 6
    (control,) = first.job.blocks.control
    groups = dataset.read(Path(first.made["verified"].path), Group)
    assert {group.id for group in groups} == trained_on(first)
    expected = CampaignState(controls={"main/curriculum": control.observe({}, Observed(groups))})
    assert platform.ledger.read(StateEntry(KEY), CampaignState) == expected
    assert state_before(platform, KEY.next()) == expected
    assert state_before(platform, KEY) == CampaignState()


def test_the_page_shows_what_controls_chose_and_what_they_choose_next(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    given = controlled(model, {"type": "adapt", "temperatures": [0.6, 0.9], "share": 1.0}, CURRICULUM)
    rounds = [Round(tmp_path / str(number), given, number=number) for number in (1, 2)]
    for each in rounds:
        each.run()
    (adapted, drawn), (again, _) = (page_of(platform, each.job.key).last.controls for each in rounds)
    assert (adapted.control, adapted.chosen, drawn.chosen) == ("adapt", None, None)
    assert adapted.next and set(adapted.next.rows) == {"temperature 0.6", "temperature 0.9"}
    assert again.chosen == adapted.next
    assert drawn.next and drawn.next.columns == ("value", "chance of a draw")
    assert adapted.next.text in Path(rounds[1].made["page"].path).read_text()


def test_a_report_that_was_killed_before_its_record_leaves_the_same_state_when_it_is_repeated(
    platform: Platform, engines: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = Round(tmp_path / "first", controlled(model, CURRICULUM))
    with monkeypatch.context() as patch:
        patch.setattr("selftaught.round.steps.report.keep", _killed)
        with pytest.raises(KeyboardInterrupt):
            first.run()
    state = platform.ledger.value(StateEntry(KEY))
    assert state and platform.ledger.value(RecordEntry(KEY)) is None
    assert state_before(platform, KEY.next()) == CampaignState()  # the round has not ended
    first.report()
    assert platform.ledger.value(StateEntry(KEY)) == state
    assert state_before(platform, KEY.next()) == CampaignState.model_validate_json(state)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_attempt_after_a_round_that_failed_reads_the_state_that_it_had_read(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    given = controlled(model, CURRICULUM)
    Round(tmp_path / "first", given).run()
    before = state_before(platform, KEY.next())
    second = Round(tmp_path / "second", given, number=2)
    second.prepare()
    give_up(platform, KEY.next(), second.job.run, "failed")
    platform.ledger.write(StateEntry(KEY.next()), CampaignState(controls={"main/curriculum": {"values": {"9": 1.0}}}))
    assert state_before(platform, KEY.next().retry()) == before
    assert state_before(platform, KEY.next().next()) == before


def test_what_a_control_sets_is_the_rounds_stage_in_its_job_and_in_every_key(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    """`warmer` raises the temperature by a tenth each round."""
    given = controlled(model, {"type": "warmer"})
    first, second = (Round(tmp_path / str(number), given, number=number) for number in (1, 2))
    first.run()
    second.until_trained()
    assert [round.job.blocks.sample.model_dump()["temperature"] for round in (first, second)] == [1.0, 1.1]
    groups = dataset.read(Path(second.made["verified"].path), Group)
    assert {rollout.temperature for group in groups for rollout in group.rollouts} == {1.1}
    keys = [
        of_sampling(each).key(platform) for each in (second.job, second.job.model_copy(update={"controlled": None}))
    ]
    assert keys[0]["sample"] != keys[1]["sample"]


def test_a_round_probes_temperatures_and_the_next_one_samples_at_the_one_that_was_chosen(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    given = controlled(model, {"type": "adapt", "temperatures": [0.6, 0.9], "share": 1.0})
    first, second = (Round(tmp_path / str(number), given, number=number) for number in (1, 2))
    first.run()
    groups = dataset.read(Path(first.made["verified"].path), Group)
    assert [[rollout.temperature for rollout in group.rollouts] for group in groups] == [
        [1, 1, 0.6, 0.6, 0.9, 0.9]
    ] * 12
    chosen = state_before(platform, KEY.next()).controls["main/adapt"]["temperature"]
    second.prepare()
    assert second.job.blocks.sample.model_dump()["sampler"]["temperature"] == chosen in (0.6, 0.9)


def test_a_control_that_chooses_a_task_twice_is_named(model: Path, recorded_blocks: None):
    (stage,) = Recipe.model_validate(controlled(model, {"type": "warmer", "twice": True})).stages
    with pytest.raises(BadInput, match=r"control: 'warmer' chose 4 tasks \(2 different\) of 2"):
        chosen(stage, TaskDraw(sums(2)), CampaignState(), seed=0)


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ({"control": [CURRICULUM, CURRICULUM]}, "control lists curriculum twice"),
        ({"train": [], "curate": [], "gate": None, "control": CURRICULUM}, "a stage that trains nothing has no rounds"),
        ({"control": {"type": "curiculum"}}, "curiculum"),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(model: Path, recorded_blocks: None, stage: dict[str, Any], text: str):
    given = recipe(model)
    with pytest.raises(ValueError, match=text):
        Recipe.model_validate(given | {"stages": [given["stages"][0] | stage]})


def test_a_stage_without_controls_has_the_digest_that_it_had(model: Path, recorded_blocks: None):
    assert "control" not in Recipe.model_validate(recipe(model)).stages[0].model_dump()
