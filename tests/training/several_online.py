"""Started by torchrun: train online with each objective in the file that is named, as one of its processes.

Each process brings its share of a step's examples, and has the weights that it is shown pushed to an engine of its own.
"""

import os
import sys
from pathlib import Path

from pydantic import BaseModel

from selftaught.blocks import Gathered, LivePolicy, OnlinePlan, TrainContext
from selftaught.records import Example
from selftaught.serving.engines.live import InProcess, OnTransformers, require_pushed
from selftaught.training.policy_gradient import PolicyGradient

PROBE = list(range(60, 90))


class Work(BaseModel):
    """What is trained with which objective, on the examples of each step; losses and weights go to `out`."""

    objective: PolicyGradient
    model: Path
    reference: Path
    steps: tuple[tuple[Example, ...], ...]
    out: Path

    def run(self) -> None:
        """Train, and write the losses; the first process does."""
        engine = InProcess(OnTransformers(self.model, 256), "digest", 0)

        def experience(step: int, policy: LivePolicy) -> Gathered:
            engine.push(policy.weights(), step)
            require_pushed(engine, PROBE, policy.logprobs(PROBE))
            return Gathered(policy.peers.collected(policy.peers.share(self.steps[step])), {})

        context = TrainContext(self.out / "scratch", 3, lambda done, total, /, **_: None, {}, self.reference)
        self.out.mkdir(parents=True, exist_ok=True)
        context.scratch.mkdir(exist_ok=True)
        plan = OnlinePlan(len(self.steps), 1, experience)
        result = self.objective.train_online(self.model, plan, self.out / "model", context)
        if os.environ.get("RANK", "0") == "0":
            (self.out / "losses.json").write_text(str([loss for _, loss in result.losses]))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        Work.model_validate_json(Path(path).read_text()).run()
