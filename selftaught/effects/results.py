"""The results of an effect: what each arm with each seed came to, task by task, in a file small enough for git.

A run is a line of JSON, so that one more run is one more line. The figures of an effect are made of the runs whenever
they are shown (`comparison`), so they cannot disagree with them.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from selftaught.core.errors import BadInput
from selftaught.core.files import write_atomically
from selftaught.effects.effect import BASE, Effect


class Run(BaseModel):
    """One arm with one seed: the model at its end, measured on the report set.

    `scores` are the metric's values by task id. `recipe` and `model` are digests. `round` names the last round
    (`<line>/<campaign>/<number>-<attempt>`) and is empty where nothing was trained; `outcome` is the round's, or
    `measured`. `minutes` are those of all steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    seed: int
    recipe: str
    metric: str
    model: str
    round: str = ""
    outcome: str
    date: date
    minutes: float
    versions: Mapping[str, str]
    scores: Mapping[str, float]


class Results(BaseModel):
    """An effect with the runs that there are of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    effect: Effect
    runs: tuple[Run, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The results in `path`. Raises BadInput where it holds none."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            first = str(error).splitlines()[0]
            raise BadInput(f"{path}: no results of an effect ({first}). Restore the file, or remove it.") from None

    def write(self, path: Path) -> None:
        """Write them to `path`, a run a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        runs = ",\n".join(run.model_dump_json() for run in self.runs)
        write_atomically(path, f'{{"effect": {self.effect.model_dump_json()},\n"runs": [\n{runs}\n]}}\n')

    def current(self, effect: Effect) -> "Results":
        """What holds for `effect` as it is now: runs of recipes and metrics that it no longer has are left out."""
        arms = {arm.name: (effect.recipes[arm.name].digest, effect.metric_of(arm)) for arm in effect.arms}
        bases = [(BASE, (recipe, metric)) for recipe, metric in arms.values() if effect.control == BASE]
        wanted = {*arms.items(), *bases}
        return Results(
            effect=effect, runs=tuple(run for run in self.runs if (run.arm, (run.recipe, run.metric)) in wanted)
        )

    def having(self, runs: Iterable[Run]) -> "Results":
        """These and `runs`."""
        return self.model_copy(update={"runs": (*self.runs, *runs)})

    def has(self, arm: str, seed: int) -> bool:
        """Whether there is a run of `arm` with `seed`."""
        return any((run.arm, run.seed) == (arm, seed) for run in self.runs)

    def of(self, arm: str) -> Mapping[int, Run]:
        """The runs of `arm` by seed."""
        return {run.seed: run for run in self.runs if run.arm == arm}
