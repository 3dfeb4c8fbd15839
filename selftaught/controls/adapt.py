"""Adapt: sample each round at the temperature that balances exploration and exploitation best.

B-STaR, Zeng et al. 2024 (arXiv 2412.17256), section 4: a task's balance score is min(n' / n*, 1) n' / n for n distinct
answers of which n' are right. It rises with the number of right answers (exploration) up to n*, and with their share
(exploitation). The paper scores a grid of sampling temperatures and reward thresholds by its mean over some tasks, and
takes the best configuration for the next round.

What differs: the temperature alone is adapted, since answers are verified as right or wrong and not rewarded. The paper
probes the model that is to sample, before each round; here a share of the round's own tasks is sampled at every
temperature, for the choice of the next round. So a choice was made for the model of one round before, the first round
is sampled as the recipe says, and what the probes find is trained on too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Annotated, TypeVar, cast

from pydantic import Field, PositiveInt

from selftaught.blocks import Control, Explanation, Observed, StageView, State
from selftaught.records import Group

S = TypeVar("S", bound=StageView)


class Adapt(Control, type="adapt"):
    """Choose `sample.temperature` by the balance score of the round before (B-STaR)."""

    temperatures: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, description="those to choose from")
    ]
    target: Annotated[PositiveInt, Field(description="distinct right answers of a task that are enough (n*)")] = 4
    share: Annotated[float, Field(gt=0, le=1, description="share of the tasks sampled at every temperature")] = 0.2

    def begin(self, stage: S, state: State) -> S:
        """The stage with the temperature that was chosen, and with probes of the others."""
        chosen = cast(float | None, state.get("temperature"))
        sampler = stage.sample.model_dump(mode="json")
        sampler |= {} if chosen is None else {"temperature": chosen}
        others = [each for each in self.temperatures if each != sampler["temperature"]]
        probing = {"type": "probes", "sampler": sampler, "temperatures": others, "share": self.share}
        return stage.with_fields({"sample": probing})

    def observe(self, state: State, seen: Observed) -> State:
        """The mean balance score of each temperature over the probed tasks, and the best temperature; a tie is kept.

        Where no task was probed at all of them, nothing changes.
        """
        scores = self.scores(seen.groups)
        if not scores:
            return state
        present = state.get("temperature", _present(seen.groups))
        best = max(scores, key=lambda each: (scores[each], each == present))
        return {"temperature": best, "scores": {f"{each:g}": score for each, score in scores.items()}}

    def explain(self, state: State) -> Explanation | None:
        """The temperature, and the balance score of each that was probed; nothing before one was chosen."""
        if not state:
            return None
        scores = cast(Mapping[str, float], state["scores"])
        return Explanation(
            f"Temperature {state['temperature']}, whose balance score was best.",
            ("balance score",),
            {f"temperature {each}": (score,) for each, score in scores.items()},
        )

    def check(self, stage: StageView) -> None:
        """Raise ValueError where the stage's sampler has no temperature, or cannot sample at one of these."""
        sampler = stage.sample
        if "temperature" not in type(sampler).model_fields:
            raise ValueError(f"it sets sample.temperature, which '{sampler.name}' does not have. Sample with iid.")
        if sampler.mints:
            raise ValueError(f"'{sampler.name}' writes tasks, whose answers have no balance score. Sample with iid.")
        for each in self.temperatures:
            stage.with_fields({"sample.temperature": each})

    def scores(self, groups: Sequence[Group]) -> Mapping[float, float]:
        """The mean balance score of each temperature over the tasks that were sampled at all of them."""
        each = [found for group in groups if (found := dict(by_temperature(group))).keys() >= set(self.temperatures)]
        return {t: fmean(balance(found[t], self.target) for found in each) for t in self.temperatures if each}


def _present(groups: Sequence[Group]) -> float:
    """The temperature of the sampler itself: all tasks were sampled at it, and a share of them at others."""
    return Counter(rollout.temperature for group in groups for rollout in group.rollouts).most_common(1)[0][0]


def by_temperature(group: Group) -> Iterator[tuple[float, list[bool]]]:
    """Of each temperature, whether its distinct answers to the group's own task are right; one not judged is wrong.

    Answers that were given away say nothing of a temperature.
    """
    found = defaultdict[float, dict[str, bool]](dict)
    for index, rollout in enumerate(group.rollouts):
        if rollout.task == group.id and not rollout.hinted:
            found[rollout.temperature].setdefault(" ".join(rollout.text.split()), group.passed(index))
    for temperature, answers in found.items():
        yield temperature, list(answers.values())


def balance(right: Sequence[bool], target: int) -> float:
    """min(n' / target, 1) n' / n of n distinct answers, of which n' are right; 0 of none. In [0, 1]."""
    return min(sum(right) / target, 1) * fmean(right) if right else 0.0
