"""What every control has to hold to: a state that is JSON, and choices that follow from it alone.

A round that is repeated after a kill makes the same choices by a state that was read again, so a control that draws
without the seed, that keeps something to itself or that remembers what JSON cannot hold is found here.
"""

import json
from collections.abc import Iterator, Sequence
from typing import cast

from selftaught.blocks import Control, Measured, Observed, State
from selftaught.blocks.boundary import blamed, called, chosen_by, state_after
from selftaught.recipe import Stage
from selftaught.records import Task
from selftaught.testing.rows import verified

ROUNDS = 3
"""Rounds that it observes, one after the other."""
SEED = 7


def check_control(control: Control, tasks: Sequence[Task]) -> Iterator[str]:
    """What `control` does that none may, a sentence each."""
    seen = _observed(control, tasks)
    state: State = {}
    for _ in range(ROUNDS):
        yield from _choices(control, tasks, state)
        before = json.dumps(state)
        new = state_after(control, state, seen)
        if json.dumps(state) != before:
            yield "observe changes the state that it is given, instead of returning another"
        if (kept := _as_kept(new)) != new:
            yield f"the state {new!r} is not what JSON keeps of it ({kept!r}): its keys are strings, its rows lists"
            return
        if state_after(control, cast(State, json.loads(before)), seen) != new:
            yield "one state and one round that was observed gave two different states"
        state = new


def _as_kept(state: State) -> object:
    """`state` as it is read again; its error where it cannot be written."""
    try:
        return json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        return error


def _choices(control: Control, tasks: Sequence[Task], state: State) -> Iterator[str]:
    """What is wrong with what `control` makes of `state`."""
    picked = chosen_by(control, tasks, len(tasks), state, SEED)
    ids = [task.id for task in picked]
    if not ids or len(set(ids)) < len(ids) or not set(ids) <= {task.id for task in tasks}:
        yield f"choose gives {len(ids)} tasks of {len(tasks)}: one or more of those given, each once"
    if len(control.choose(tasks, 1, state, SEED)) > 1:
        yield "choose gives more tasks than it is asked for"
    if picked != chosen_by(control, tasks, len(tasks), state, SEED):
        yield "equal tasks, state and seed were chosen from differently"
    with blamed(control, "ended or explain"):
        made = [(_begun(control, state), control.ended(state), control.explain(state)) for _ in range(2)]
    if made[0] != made[1]:
        yield "begin, ended or explain say two things of one state"


def _begun(control: Control, state: State) -> Stage:
    return called(control, "begin", Stage, lambda: control.begin(_stage(), state))


def _stage() -> Stage:
    """A stage that a control may set."""
    return Stage.model_validate(
        {
            "sample": {"type": "iid", "k": 4},
            "verify": {"type": "answer_match"},
            "curate": {"type": "accepted"},
            "train": {"type": "sft"},
            "evaluate": {"type": "accuracy"},
            "gate": {"type": "paired_gain", "metric": "accuracy", "guard": "none"},
        }
    )


def _observed(control: Control, tasks: Sequence[Task]) -> Observed:
    """A round whose answers were right half of the time, as was the metric that `control` goes by."""
    metric = str(getattr(control, "metric", "accuracy"))
    return Observed([verified(task, tasks) for task in tasks], {metric: Measured(0.5, 0.4, 0.6, len(tasks))})
