"""A rehearsal: one task goes through a stage's sampler, verifiers and curators, with a model that says what it is to.

It shows what a recipe asks a model, and what of its answers is learnt, before an engine has run. It trains and measures
nothing, and a curator's `minimum` does not count.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from anyio.from_thread import start_blocking_portal

from selftaught.blocks import Context, silent
from selftaught.blocks.boundary import awaited, examples_of
from selftaught.core.errors import BadInput
from selftaught.recipe import Stage
from selftaught.records import Example, Group, Message, Segment, Task
from selftaught.testing.models import Answer, ScriptedModel
from selftaught.testing.tasks import sums
from selftaught.verification.runner import verify


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of the task: `asked` are the prompts in order, `examples` what is learnt. Printed, it is for people."""

    asked: tuple[tuple[Message, ...], ...]
    group: Group
    examples: tuple[Example, ...]

    def __str__(self) -> str:
        return "\n".join([*self._prompts(), *self._verdicts(), *self._learnt()])

    def _prompts(self) -> Iterator[str]:
        for number, prompt in enumerate(self.asked, 1):
            yield f"prompt {number}"
            yield from _lines(prompt)

    def _verdicts(self) -> Iterator[str]:
        for rollout, verdicts in zip(self.group.rollouts, self.group.verdicts, strict=True):
            yield f"rollout {rollout.index}: {rollout.text!r}"
            for each in verdicts:
                found = f"error ({each.error})" if each.is_missing else "passed" if each.passed else "failed"
                yield f"  {each.turn or 'answer'}, {each.verifier}: {found}"

    def _learnt(self) -> Iterator[str]:
        yield f"{len(self.examples)} example{'s' * (len(self.examples) != 1)}"
        for example in self.examples:
            yield f"  {example.target.type}, weight {example.weight:g}"
            for side, sequence in zip(_sides(example), example.sequences, strict=False):
                for segment in sequence:
                    yield from _lines(segment.messages, side if _is_learnt(segment) else "read")


def rehearse(stage: Stage, *answers: Answer, task: Task | None = None) -> Rehearsal:
    """Take `task` (a sum unless given) through `stage`: every role says the next of `answers`, again from the first.

    Raises BadInput for a sampler that reads tokens, such as a search, else what the stage's blocks raise.
    """
    if stage.sample.needs_tokens:
        raise BadInput(f"sample: '{stage.sample.name}' reads a model's tokens, and a scripted model has none to read.")
    model, chosen = ScriptedModel(*answers), task or sums(1)[0]
    context = Context(models={"policy": model}, verifiers=stage.verify)
    with start_blocking_portal() as portal:  # a notebook's event loop runs already
        group = portal.call(_judged, stage, chosen, context)
    examples = tuple(example for curator in stage.curate for example in examples_of(curator, [group], 0))
    return Rehearsal(tuple(model.asked), group, examples)


async def _judged(stage: Stage, task: Task, context: Context) -> Group:
    group = await awaited(stage.sample, "sample", Group, lambda: stage.sample.sample(task, context))
    (judged,) = await verify([group], stage.verify, context, silent)
    return judged


def _sides(example: Example) -> Sequence[str]:
    """What is done with what each sequence says."""
    return ("better", "worse") if example.target.type == "prefer" else ("learnt",)


def _is_learnt(segment: Segment) -> bool:
    return any(segment.weights) or any(segment.advantages)


def _lines(messages: Iterable[Message], how: str = "") -> Iterator[str]:
    for message in messages:
        yield f"  {how:<{7 if how else 0}}{message.role}: {message.content!r}"
