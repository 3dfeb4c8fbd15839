"""An online training as data: the processes that do it each open the round's platform, and bring a share of the
experience.

They share a machine and its scratch folder. What is kept of the training is the train step's business.
"""

from functools import partial
from pathlib import Path
from typing import Literal

from selftaught.blocks import OnlinePlan, TrainResult
from selftaught.blocks.boundary import called
from selftaught.platform import Platform
from selftaught.records import Task, dataset
from selftaught.round.distributed.request import TrainRequest
from selftaught.round.experience import Gathering, Gatherings
from selftaught.round.job import Job
from selftaught.serving.engines.colocated import Colocated
from selftaught.serving.engines.engine import EngineOptions, uses_vllm
from selftaught.serving.engines.live import InProcess, LiveGenerator, OnTransformers
from selftaught.serving.weight_check import PROMPTS
from selftaught.settings import Settings


class OnlineRequest(TrainRequest):
    """A training of the round in the file `job` on what the policy does with `tasks`."""

    kind: Literal["online"] = "online"
    job: Path
    tasks: Path

    def train(self) -> TrainResult:
        """See `TrainRequest`."""
        from selftaught.training.loops.processes import Processes

        number = Processes.joined().number
        kept = self.gathered(Platform.open(), Job.read(str(self.job)))
        with self._gathering(kept, number) as gathering:
            plan = OnlinePlan(kept.online.steps, kept.online.updates, gathering)
            train = partial(self.objective.train_online, self.model, plan, self.out, self.context)
            return called(self.objective, "train_online", TrainResult, train)

    def gathered(self, platform: Platform, job: Job) -> Gatherings:
        """What the training of `job` has gathered so far."""
        assert job.blocks.online, job.stage
        return Gatherings(platform, job, job.blocks.online, self.scratch / "gathered")

    def _gathering(self, kept: Gatherings, number: int) -> Gathering:
        given = [task for task in dataset.read(self.tasks, Task) if task.split == "train"]
        seed = self.seed + number  # two processes that ask the same do not want the same answer
        generator = _generator(kept.platform.settings, self.model)
        engine = InProcess(generator, kept.job.trainee.digest, seed, self.template)
        return Gathering(kept, given, engine, engine.tokens(PROMPTS[0]))


def _generator(settings: Settings, model: Path) -> LiveGenerator:
    if settings.live_engine == "vllm" or (settings.live_engine == "auto" and uses_vllm()):
        return Colocated(model, EngineOptions.from_settings(settings))
    return OnTransformers(model, settings.engine_context)
