"""Blocks that a package of one's own brings (the entry point beside this file): what tests of complete rounds need.

`nudge` is training without the work, and as little reproducible; `overlapping` is a task source that leaks on purpose;
`judged` asks a model whether rollouts are right; `again` draws the same training tasks in every round; `warmer` samples
each round at a higher temperature.
"""

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

from selftaught.blocks import (
    Context,
    Control,
    Draw,
    Objective,
    Observed,
    StageView,
    State,
    TrainContext,
    TrainResult,
    Verifier,
)
from selftaught.records import Example, Group, Task, Verdict
from selftaught.tasks.sources.word_problems import WordProblems

Stage = TypeVar("Stage", bound=StageView)


class Nudge(Objective, type="nudge"):
    """Copy the model and raise its `skill` by `gain`; 0 gives the identical model. Takes `seconds`."""

    gain: float = 0.7
    seconds: float = 0.0

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        context.report(0, 1)
        time.sleep(self.seconds)
        shutil.copytree(model, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        if self.gain:
            config = json.loads((out / "config.json").read_text())
            config |= {"skill": config["skill"] + self.gain, "noise": os.urandom(8).hex()}
            (out / "config.json").write_text(json.dumps(config))
        context.report(1, 1, loss=0.5)
        return TrainResult(steps=1, tokens=100, trained_tokens=50, seconds=self.seconds, losses=((1, 0.5),))


class Overlapping(WordProblems, type="overlapping"):
    """Word problems, the first of which is a gate task and a training task at once."""

    def draw(self, draw: Draw) -> list[Task]:
        tasks = super().draw(draw)
        leaked = next(task for task in tasks if task.split == "gate")
        return [*tasks, leaked.model_copy(update={"split": "train"})]


class Again(WordProblems, type="again"):
    """Word problems, of which those to train on are the campaign's, the same in every round."""

    def draw(self, draw: Draw) -> list[Task]:
        kept = [task for task in super().draw(Draw(draw.campaign, draw.campaign)) if task.split == "train"]
        return [*kept, *(task for task in super().draw(draw) if task.split != "train")]


class Judged(Verifier, type="judged"):
    """Pass what the model in the role `judge` answers too."""

    role: str = "judge"

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        (said,) = await context.model(self.role).chat(group.task.messages, temperature=0.0)
        return [Verdict.of(self.name, rollout.text == said.text, said.text) for rollout in group.rollouts]


class Warmer(Control, type="warmer"):
    """Sample the first round at 1.0 and each at 0.1 more than the one before; `twice` chooses each task twice."""

    twice: bool = False

    def begin(self, stage: Stage, state: State) -> Stage:
        rounds = cast(int, state.get("rounds", 0))
        return stage.with_fields({"sample.temperature": 1.0 + 0.1 * rounds})

    def choose(self, tasks: Sequence[Task], count: int, state: State, seed: int) -> list[Task]:
        return [*tasks, *tasks] if self.twice else list(tasks)

    def observe(self, state: State, seen: Observed) -> State:
        return {"rounds": cast(int, state.get("rounds", 0)) + 1}
