"""Functions: a seeded generator of little Python functions to write or to repair, checked by test cases.

A function is one to three operations on lists, texts and numbers, one after the other. Two are the same problem when
they do the same on 32 fixed inputs, however they are composed, and that decides which set a problem is in. The guard
set's functions each have an operation that no training task has. Test cases follow from the reference program, and are
chosen so that it alone passes: no constant, no echo of the argument, no part of the operations, and no single mistake.
It does not grade style, speed or wording.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import cycle, product
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from selftaught.blocks import Draw
from selftaught.records import Split, Task, content_id
from selftaught.sandbox.values import decode, encode
from selftaught.tasks.sameness import made_from
from selftaught.tasks.sources.function_operations import HELD_OUT, KINDS, TRAINED
from selftaught.tasks.sources.function_programs import (
    ENTRY,
    PROBES,
    Composition,
    Outputs,
    composed,
    mutants,
    outputs,
    probes,
)
from selftaught.tasks.sources.function_traces import traced
from selftaught.tasks.splits import PromptedSource, pool, seeded, structure, take

MAX_CHARS, MAX_DIGITS = 80, 7
"""Of a value in a test case, and of a number in it."""

Exercise = Literal["write", "repair"]
Depth = Literal[1, 2, 3]


class Functions(PromptedSource, type="functions"):
    """Python functions of `depth` operations, to `write` from a description or to `repair` (they have one mistake).

    Depths and kinds are drawn equally often. There are few different functions of depth 1, so a large set has more of
    the others. A program to repair has its execution on the first case in `texts.trace`, which no block reads unless a
    recipe says so. The verifier `tests` judges answers, and metrics do so on their own.
    """

    resamples_gate: ClassVar[bool] = True
    between: ClassVar[str] = "\n\n"
    depth: Annotated[tuple[Depth, ...], Field(min_length=1, description="operations of a function")] = (1, 2)
    kinds: Annotated[tuple[Exercise, ...], Field(min_length=1, description="what there is to do")] = ("write",)
    visible: Annotated[int, Field(ge=1, le=8, description="test cases that the prompt shows")] = 3
    hidden: Annotated[int, Field(ge=8, le=24, description="test cases that it does not show")] = 12
    instruction: Annotated[str, Field(description="text after every problem")] = "Answer with the function alone."

    def draw(self, draw: Draw) -> list[Task]:
        """Fresh problems for every round; the report set's stay the same for a campaign."""
        sets, sizes = dict[Split, list[Task]](), self.sizes()
        for split, size in sizes.items():  # guard comes last
            reported = set(map(structure, sets["report"])) if split == "guard" else set[str]()
            random = seeded(self.name, split, draw.seed(split))
            sets[split] = take(self._problems(split, random, reported), split, size)
        return [task for split in sizes for task in sets[split]]

    def _problems(self, split: Split, random: Random, without: Collection[str]) -> Iterator[Task]:
        """Candidates for a set, `without` these structures.

        The guard's have a held-out operation, and are from the pool that is neither trained nor gated on: a function
        may be composed in another way, too.
        """
        guard, known = split == "guard", dict[str, Task]()
        operations = (*TRAINED, *HELD_OUT) if guard else TRAINED
        for depth, kind in cycle(product(self.depth, self.kinds)):
            made = composed(random, operations, depth)
            if guard and not any(operation in HELD_OUT for operation, _ in made.operations):
                continue
            key = made_from(self.name, _operands(made))
            if pool(key) != ("report" if guard else split) or key in without:
                continue
            if task := known.get(key) or self._task(made, kind, random):
                known[key] = task
                yield task

    def _task(self, made: Composition, kind: Exercise, random: Random) -> Task | None:
        """The problem, where test cases can tell it from what is nearly right, and a mistake to repair shows."""
        right, echo = _outputs(made), tuple(map(encode, probes(made.takes)))
        cut = [echo, *map(_outputs, made.shorter())]
        if right in cut or not _readable(right):
            return None  # an operation that changes nothing
        broken = _mistakes(made)
        order = random.sample(range(PROBES), PROBES)
        hidden = _telling(right, [*cut, *broken.values()], order, self.hidden)
        if not hidden:
            return None
        shown = [at for at in order if at not in hidden]
        mistake = ""
        if kind == "repair":
            seen = [program for program, each in broken.items() if any(each[at] != right[at] for at in shown)]
            if not seen:
                return None  # no case that is left would show that the program is wrong
            mistake = random.choice(seen)
            shown.sort(key=lambda at: broken[mistake][at] == right[at])  # a case that fails comes first
        visible = shown[: self.visible]
        return Task(
            messages=self.messages(_question(made, mistake, [_case(made, at) for at in visible])),
            source=self.name,
            template=self.name,
            operands=_operands(made),
            level=len(made.operations),
            check={
                "type": "tests",
                "entry": ENTRY,
                "hidden": [_case(made, at) for at in hidden],
                "visible": [_case(made, at) for at in visible],
            },
            texts={"reference": made.program, **_trace(mistake, _case(made, visible[0]))},
        )


# Test cases -----------------------------------------------------------------------------------------------------------


def _outputs(made: Composition) -> Outputs:
    return outputs(made.program, made.takes)


def _operands(made: Composition) -> tuple[str, ...]:
    """What two compositions have in common that are the same function."""
    return made.takes, content_id(list(_outputs(made)))


def _mistakes(made: Composition) -> dict[str, Outputs]:
    """By program what each mistake does that changes anything."""
    found = {program: outputs(program, made.takes) for _, program in mutants(made.program)}
    return {program: each for program, each in found.items() if each != _outputs(made)}


def _readable(right: Outputs) -> bool:
    """Whether its values fit into a prompt."""
    return all(len(text) <= MAX_CHARS and _digits(text) <= MAX_DIGITS for text in map(repr, map(decode, right)))


def _digits(text: str) -> int:
    return max((len(part) for part in "".join(c if c.isdigit() else " " for c in text).split()), default=0)


def _telling(right: Outputs, wrong: Sequence[Outputs], order: Sequence[int], count: int) -> list[int]:
    """`count` probes, the first in `order` that each of `wrong` fails one of, and a constant half; or none at all."""
    chosen = list[int]()
    for each in wrong:
        if all(each[at] == right[at] for at in chosen):
            chosen.append(next(at for at in order if each[at] != right[at]))
    chosen += [at for at in order if at not in chosen][: max(0, count - len(chosen))]
    ((_, most),) = Counter(right[at] for at in chosen).most_common(1)
    return chosen if len(chosen) == count and most <= count // 2 else []


def _case(made: Composition, at: int) -> list[Any]:
    return [[probes(made.takes)[at]], decode(_outputs(made)[at])]


def _trace(mistake: str, case: list[Any]) -> dict[str, str]:
    """A program to repair with what it does on a test case."""
    (argument,), expected = case
    return {"trace": traced(mistake, argument, expected)} if mistake else {}


# Prompts --------------------------------------------------------------------------------------------------------------


def _question(made: Composition, mistake: str, cases: Sequence[list[Any]]) -> str:
    argument, does = f"x is {KINDS[made.takes]}", f"{made.text}, and returns the result"
    examples = "\n".join(f"{ENTRY}({', '.join(map(repr, given))}) == {expected!r}" for given, expected in cases)
    if mistake:
        asked = f"This Python function has one mistake:\n\n{mistake}\nHere {argument}. Without the mistake, it {does}."
        return f"{asked} Correct it, so that:\n\n{examples}"
    return f"Write a Python function {ENTRY}(x), where {argument}. It {does}. For example:\n\n{examples}"
