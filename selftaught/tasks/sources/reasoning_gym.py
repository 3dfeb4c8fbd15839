"""Reasoning Gym: tasks from the generators of that library, by name.

Every generator that gives one textual answer a problem can be used. Those that accept many answers and name none
(graph colouring, Rubik's cube …) are refused: they need a verifier of their own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import count
from typing import Any, ClassVar, Protocol, Self, cast

from pydantic import model_validator

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput, did_you_mean
from selftaught.records import Split, Task, content_id
from selftaught.tasks.sources.extras import require
from selftaught.tasks.splits import PromptedSource, seeded, take, words


class Generator(Protocol):
    """What is used of a Reasoning Gym data set: problem `i`, from the generator's seed plus `i`."""

    def __getitem__(self, i: int, /) -> dict[str, Any]: ...


class ReasoningGym(PromptedSource, type="reasoning_gym"):
    """Tasks of the generator `dataset`, configured by `config`; guard tasks of the generator `guard_dataset`.

    Two problems are the same when their texts are, up to case, white space and punctuation.
    """

    resamples_gate: ClassVar[bool] = True
    dataset: str
    """Name of the generator in Reasoning Gym."""
    config: Mapping[str, Any] = {}
    """Fields of the generator's own config, without `seed` and `size`; the others keep its defaults."""
    guard_dataset: str | None = None
    """The generator of the guard tasks; there has to be one where `guard` asks for some."""
    guard_config: Mapping[str, Any] = {}
    """As `config`, for the generator of the guard tasks."""

    @model_validator(mode="after")
    def _guard_has_a_generator(self) -> Self:
        if self.guard and self.guard_dataset is None:
            raise ValueError(
                f"guard: {self.guard} asks for guard tasks of their own: name their generator in guard_dataset, or "
                "leave guard out and set `guard: none` in the gate."
            )
        return self

    def draw(self, draw: Draw) -> list[Task]:
        """Fresh problems for every round; the report set's stay the same for a campaign."""
        return [task for split, size in self.sizes().items() if size for task in self._set(split, size, draw)]

    def _set(self, split: Split, size: int, draw: Draw) -> list[Task]:
        guards = split == "guard" and self.guard_dataset
        name, config = (self.guard_dataset, self.guard_config) if guards else (self.dataset, self.config)
        start = seeded(self.name, split, draw.seed(split)).getrandbits(31)
        return take(self._problems(str(name), config, start), split, size)

    def _problems(self, name: str, config: Mapping[str, Any], seed: int) -> Iterator[Task]:
        generator = _generator(name, config, seed)
        return (self._task(name, generator[i]) for i in count())

    def _task(self, name: str, problem: dict[str, Any]) -> Task:
        question, answer = problem["question"].strip(), problem["answer"]
        if not isinstance(answer, str):
            raise BadInput(
                f"tasks.dataset: generator '{name}' gives no gold answer to compare with (many answers are right). "
                f"Use another generator."
            )
        return Task(
            messages=self.messages(question),
            answer=answer.strip(),
            source=self.name,
            template=name,
            operands=(content_id(words(question)),),
        )


def _generator(name: str, config: Mapping[str, Any], seed: int) -> Generator:
    """The generator `name` with `config`. Raises BadInput on a name, a field or a value that the library refuses."""
    require("reasoning_gym", "tasks.type: reasoning_gym")
    from reasoning_gym.factory import DATASETS, create_dataset  # pyright: ignore[reportUnknownVariableType]

    generators = cast(Mapping[str, tuple[Any, Any]], DATASETS)

    if name not in generators:
        raise BadInput(f"tasks.dataset: unknown Reasoning Gym generator '{name}'.{did_you_mean(name, generators)}")
    known = {field.name for field in fields(generators[name][1])} - {"seed", "size"}
    for key in config.keys() - known:
        raise BadInput(
            f"tasks.config: generator '{name}' has no field '{key}'.{did_you_mean(key, known)} "
            f"Its fields: {', '.join(sorted(known))}"
        )
    try:
        return cast(Any, create_dataset)(name, seed=seed, **config)
    except (AssertionError, TypeError, ValueError) as error:
        raise BadInput(f"tasks.config: generator '{name}' refuses {dict(config)}: {error}") from None
