"""A stage's controls over the rounds of a campaign: what they remember is in the ledger, and a round is run by it.

`prepare` reads the state after the round before, by which controls set the stage and choose among the training tasks;
both are in the round's job, so a temperature that was chosen is in every step's key. `report` has the controls observe
the round and writes the state after it, just before the round's record. A state without a record does not count: a
round that was killed or failed is not observed, and the one that repeats it reads what it had read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from pydantic import BaseModel, ConfigDict, JsonValue

from selftaught.blocks import Control, Observed, State
from selftaught.blocks.boundary import called, chosen_by, state_after
from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.records import Task
from selftaught.report.data import ControlReport
from selftaught.round.history import newest
from selftaught.round.intake import stage_of
from selftaught.round.job import Job, begun
from selftaught.state.claims import parse_claim
from selftaught.state.ledger import RecordEntry, StateEntry
from selftaught.state.round_key import RoundKey
from selftaught.tasks.past import TaskDraw


class CampaignState(BaseModel):
    """What the controls of a campaign's stages remember, by stage and the control's type (`main/curriculum`)."""

    model_config = ConfigDict(frozen=True)

    controls: Mapping[str, Mapping[str, JsonValue]] = {}

    def of(self, stage: Stage, control: Control) -> State:
        """What `control` of `stage` remembers; empty before it has observed a round."""
        return self.controls.get(f"{stage.name}/{control.name}", {})

    def after(self, stage: Stage, seen: Observed) -> "CampaignState":
        """The state once the controls of `stage` have observed a round."""
        new = {
            f"{stage.name}/{control.name}": state_after(control, self.of(stage, control), seen)
            for control in stage.control
        }
        return CampaignState(controls={**self.controls, **new})


def state_before(platform: Platform, key: RoundKey) -> CampaignState:
    """What the controls remember of the rounds of the campaign that ended before `key`."""
    recorded = set(platform.ledger.rounds(RecordEntry, key.line, key.campaign))
    kept = platform.ledger.rounds(StateEntry, key.line, key.campaign)
    last = max((each for each in kept if each < key and each in recorded), default=None)
    state = platform.ledger.read(StateEntry(last), CampaignState) if last else None
    return state or CampaignState()


def controlled(stage: Stage, state: CampaignState) -> Stage:
    """`stage` as its controls set it, one after the other."""
    given = stage
    for control in given.control:
        stage = called(control, "begin", Stage, partial(control.begin, stage, state.of(given, control)))
    return stage


def chosen(stage: Stage, drawn: TaskDraw, state: CampaignState, seed: int) -> TaskDraw:
    """`drawn` with those of its training tasks that the stage's controls choose, in the order drawn.

    Raises BadInput when a control chooses none, one twice, or one that it was not given.
    """
    training = left = [task for task in drawn.tasks if task.split == "train"]
    for control in stage.control:
        left = _require_some_of(left, chosen_by(control, left, len(left), state.of(stage, control), seed), control)
    if len(left) == len(training):
        return drawn
    out = {task.id for task in training} - {task.id for task in left}
    tasks = [task for task in drawn.tasks if task.id not in out]
    return replace(drawn, tasks=tasks, counts={**drawn.counts, "not chosen": len(out)})


def _require_some_of(given: Sequence[Task], picked: Sequence[Task], control: Control) -> list[Task]:
    ids = [task.id for task in picked]
    if not ids or len(set(ids)) < len(ids) or not set(ids) <= {task.id for task in given}:
        raise BadInput(
            f"control: '{control.name}' chose {len(ids)} tasks ({len(set(ids))} different) of {len(given)}. `choose` "
            "returns one or more of the tasks that it is given, each once."
        )
    return list(picked)


def stopped_early(platform: Platform, recipe: Recipe, key: RoundKey) -> str:
    """Why a control has ended the campaign before round `key`; empty where none has."""
    stage = stage_of(recipe, key.number)
    state = state_before(platform, key) if stage.control else CampaignState()
    return next((why for control in stage.control if (why := control.ended(state.of(stage, control)))), "")


def stopped(platform: Platform, line: str, campaign: str) -> str:
    """Why a control has ended the campaign, by the recipe of its last round; empty where none has."""
    last = newest(platform, line, campaign)
    plan = begun(platform, last) if last else None
    return stopped_early(platform, plan.recipe, last.next()) if last and plan else ""


def observe(platform: Platform, job: Job, seen: Observed) -> tuple[ControlReport, ...]:
    """Write what the controls of the job's stage remember after the round, and say what they chose and choose next.

    The first to observe a round is heard.
    """
    if not job.blocks.control:
        return ()
    before = state_before(platform, job.key)
    written = platform.ledger.write(StateEntry(job.key), before.after(job.blocks, seen))
    after = parse_claim(platform.store, StateEntry(job.key).key, written, CampaignState)
    return tuple(_told(job.blocks, control, before, after) for control in job.blocks.control)


def _told(stage: Stage, control: Control, before: CampaignState, after: CampaignState) -> ControlReport:
    return ControlReport(
        control=control.name,
        chosen=control.explain(before.of(stage, control)),
        next=control.explain(after.of(stage, control)),
        ended=control.ended(after.of(stage, control)),
    )
