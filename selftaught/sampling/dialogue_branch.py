"""A conversation of a dialogue so far, and the prompt of the next turn in it. It asks nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from selftaught.core.errors import BadRecipe
from selftaught.records import Message, Rollout, Task, Turn, Verdict, conversation, opening
from selftaught.sampling.dialogue_error import with_error
from selftaught.sampling.dialogue_turn import DialogueTurn, Feedback, fill, is_feedback

Prompt = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """A conversation so far; `said` is what each turn said, by name, and `left_out` are those that were not said.

    `telling` are the turns in which the recipe itself gives the right answer away.
    """

    turns: tuple[Turn, ...] = ()
    path: tuple[int, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict[str, str])
    agents: Mapping[str, str] = field(default_factory=dict[str, str])
    prompt_tokens: int = 0
    tokens: int = 0
    temperature: float = 1.0
    hinted: bool = False
    ended: bool = False
    left_out: frozenset[str] = frozenset()
    telling: frozenset[str] = frozenset()

    def rollout(self, task: Task, policy: str, index: int) -> Rollout:
        """The branch as an attempt at `task`."""
        return Rollout(
            task=task.id,
            index=index,
            model=policy,
            turns=self.turns,
            temperature=self.temperature,
            finish_reason="length" if self.ended else self.turns[-1].finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.tokens,
            hinted=self.hinted,
            path=self.path,
            agents=self.agents,
        )

    def then(self, *turns: Turn, branch: int = 0) -> "Branch":
        """The conversation with `turns` after it, of which the last is by a speaker."""
        said = {**self.said, turns[-1].name: turns[-1].content}
        return replace(self, turns=(*self.turns, *turns), path=(*self.path, branch), said=said)

    def continues_with(self, turn: DialogueTurn) -> bool:
        """Whether `turn` may be said next: it needs, and quotes, nothing that was left out."""
        return not self.ended and turn.follows(self.said) and turn.slots().isdisjoint(self.left_out)

    def without(self, name: str) -> "Branch":
        """The conversation in which the turn `name` was left out."""
        return replace(self, left_out=self.left_out | {name})


def feedback_of(turn: DialogueTurn, verdicts: Sequence[Verdict]) -> Feedback:
    """Why an answer is wrong: the reasons of the required verifiers that failed it, together and of each.

    Raises BadRecipe where `turn` quotes a verifier that the stage does not have.
    """
    each = {f"feedback.{one.verifier}": one.reason if one.fails else "" for one in verdicts}
    found = {"feedback": "\n".join(one.reason for one in verdicts if one.fails), **each}
    for slot in sorted(turn.slots()):
        if is_feedback(slot) and slot not in found:
            verifiers = ", ".join(one.verifier for one in verdicts)
            raise BadRecipe(f"sample: turn '{turn.name}': {{{slot}}} is of no verifier of the stage ({verifiers}).")
    return found


def text_of(turn: DialogueTurn, branch: Branch, task: Task, feedback: Feedback) -> str | None:
    """What is said in a `turn` that no model is asked for; None where no error can be written into it."""
    text = fill(turn.say or "", branch.said, task, feedback)
    if not turn.inject_error:
        return text
    return with_error(text, turn.inject_error, task, (turn.name, *branch.path), cut=turn.end_at_error)


def prompt_of(turn: DialogueTurn, branch: Branch, task: Task, feedback: Feedback) -> Prompt:
    """What the speaker of `turn` is shown, ending with a user's message, or with what its answer begins with."""

    def text(template: str) -> str:
        return fill(template, branch.said, task, feedback)

    own = [message for message in task.messages if message.role == "system"]
    system = own if turn.system is None else [Message(role="system", content=text(turn.system))]
    asked = [] if turn.ask is None else [Message(role="user", content=text(turn.ask))]
    begun = [] if turn.prefill is None else [Message(role="assistant", content=text(turn.prefill))]
    if turn.view == "fresh":
        return (*system, *asked, *begun)
    thread = [message for message in opening(task.messages, branch.turns, turn.by) if message.role != "system"]
    if not branch.turns:
        return (*system, *(thread[:-1] if asked else thread), *asked, *begun)
    question = [Turn(role="user", content=message.content) for message in asked]
    return (*system, *(message for message, _ in conversation(thread, [*branch.turns, *question], turn.by)), *begun)
