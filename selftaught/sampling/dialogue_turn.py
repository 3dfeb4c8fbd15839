"""One turn of a dialogue, as a recipe has it: who speaks, what is asked, when, and how it is sampled.

Its texts are templates with slots in braces. It does not run anything: `selftaught.sampling.dialogue` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import ConfigDict, Field, PositiveInt, model_validator

from selftaught.blocks import Drawing, Stops
from selftaught.blocks.loading import OneOrMore
from selftaught.core.templates import USUAL, filled, mistaken, slots
from selftaught.records import Task, TurnKind
from selftaught.sampling.dialogue_error import ErrorKind

GIVEN = ("task", "answer", "feedback")
"""Slots that are no turn's name; `text.NAME` is a text of the task."""
TELLING = ("answer", "text.reference", "text.program")
"""Slots that give the right answer away."""
MISTAKEN = USUAL | frozenset(get_args(TurnKind))
"""What is taken for a slot in prompts, whether there is a turn of that name or not."""

Template = Annotated[str, Field(min_length=1)]
When = Literal["always", "failed", "passed", "all_failed"]
TOOL = "tool"
"""Who says what a tool answers."""


Feedback = Mapping[str, str]
"""Why the verifiers failed an answer, by the slots that say it."""


def is_feedback(slot: str) -> bool:
    """Whether `slot` stands for what verifiers say."""
    return slot.partition(".")[0] == "feedback"


class DialogueTurn(Drawing):
    """One turn: what is asked, and what the model says to it, `n` times.

    Slots of its texts: {task} is the question, {answer} the gold answer, {feedback} why the verifiers failed the last
    answer and {feedback.VERIFIER} why that one did, {text.NAME} a text of the task, {NAME} what the turn of that name
    said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """What slots, curators and metrics call it."""
    by: str = "policy"
    """The role that speaks."""
    kind: TurnKind = "attempt"
    """What it is: `attempt` and `refinement` answer the task, and are verified."""
    ask: Template | None = None
    """The user's message before it; the first turn's is said instead of the task's question."""
    say: Template | None = None
    """What is said, instead of asking a model: an error to recover from, a reference, the verifiers' reasons."""
    inject_error: Annotated[tuple[ErrorKind, ...], OneOrMore()] = ()
    """Into one step of what is said, drawn by task and branch: another `number`, `operator` or `unit`, for one kind of
    those given that can be swapped; the turn is left out where none can."""
    end_at_error: bool = False
    """Whether what is said ends with the step that the error is in."""
    run: str | None = None
    """The earlier turn whose code a sandbox runs, instead of asking a model: what it prints is said."""
    system: Template | None = None
    """The system message instead of the task's own."""
    prefill: Template | None = None
    """What the answer begins with: the model continues it. It is not learnt, unless a curator says so."""
    view: Literal["thread", "fresh"] = "thread"
    """`thread`: it sees what was said before it. `fresh`: it sees `ask` alone, and later turns do not see it but where
    they quote it."""
    when: When | Annotated[dict[str, Template], Field(min_length=1)] = "always"
    """`failed` or `passed`: if the verifiers say so of the last answer; `all_failed`: if no branch is right;
    `{check: retry}`: if the turn `check` said so, in whatever case."""
    n: PositiveInt = 1
    """Answers to each conversation so far; the dialogue branches."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """0 is greedy decoding."""
    max_tokens: PositiveInt = 256
    """New tokens of each at most."""
    stop: Stops = ()
    """Strings that end it."""

    @property
    def asks_verifiers(self) -> bool:
        """Whether it depends on what verifiers say."""
        return (isinstance(self.when, str) and self.when != "always") or any(map(is_feedback, self.slots()))

    @property
    def asks_model(self) -> bool:
        """Whether a model speaks, and not the recipe or a tool."""
        return self.say is None and self.run is None

    @property
    def speaker(self) -> str:
        """Who speaks: a role, or the tool."""
        return self.by if self.run is None else TOOL

    @property
    def heard(self) -> Mapping[str, str]:
        """What earlier turns have to have said for it to be said, by name."""
        return self.when if isinstance(self.when, dict) else {}

    @property
    def needs(self) -> frozenset[str]:
        """The earlier turns without which it is not said."""
        return frozenset(self.heard) | ({self.run} if self.run is not None else frozenset[str]())

    def follows(self, said: Mapping[str, str]) -> bool:
        """Whether what it needs of earlier turns was `said`; what verifiers say is not looked at."""
        return self.needs <= said.keys() and all(
            text.casefold() in said[turn].casefold() for turn, text in self.heard.items()
        )

    @property
    def tells(self) -> bool:
        """Whether its prompt gives the right answer away; what is said is no prompt."""
        return not self.shown().isdisjoint(TELLING)

    def shown(self) -> frozenset[str]:
        """The slots of its prompt."""
        return slots(self.ask, self.system, self.prefill)

    def slots(self) -> frozenset[str]:
        """The slots of its texts."""
        return slots(self.ask, self.say, self.system, self.prefill)

    @model_validator(mode="before")
    @classmethod
    def _says_as_a_tool(cls, fields: Any) -> Any:
        """What a tool says is no attempt, unless the recipe says that it is."""
        return {"kind": "tool", **fields} if _runs(fields) else fields

    @model_validator(mode="after")
    def _can_be_sampled(self) -> Self:
        if self.name in GIVEN:
            raise ValueError(f"name: {self.name} is a slot of its own. Call the turn something else.")
        if self.temperature == 0 and self.n > 1 and self.say is None:
            raise ValueError(f"n: {self.n} with temperature: 0 gives the same answer {self.n} times; set n: 1")
        if self.run is not None and any(
            (self.ask, self.say, self.system, self.prefill, self.n > 1, self.by != "policy")
        ):
            raise ValueError("run is what a tool says: leave out by, ask, say, system, prefill and n")
        if self.view == "fresh" and self.ask is None and self.say is None:
            raise ValueError("view: fresh sees `ask` alone, which is missing")
        return self

    @model_validator(mode="after")
    def _can_be_said(self) -> Self:
        if self.say is not None and (self.n > 1 or self.prefill is not None):
            raise ValueError("say is one text, and all of it: leave out n and prefill, or use ask")
        if self.say is None and self.inject_error:
            raise ValueError("inject_error: it goes into what is said, and `say` is missing")
        if self.end_at_error and not self.inject_error:
            raise ValueError("end_at_error: nothing goes wrong without inject_error")
        return self


def _runs(fields: Any) -> bool:
    """Whether `fields`, as a recipe has them, are of a turn that a tool answers."""
    return isinstance(fields, Mapping) and cast(Mapping[str, Any], fields).get("run") is not None


def fill(template: str, said: Mapping[str, str], task: Task, feedback: Feedback) -> str:
    """`template` with its slots filled in."""
    values = {"task": task.question, "answer": task.answer or "", **feedback, **said}
    values |= {f"text.{name}": text for name, text in task.texts.items()}
    return filled(template, values)


def problems(turns: Sequence[DialogueTurn]) -> Iterator[str]:
    """What is wrong with `turns` in this order, a sentence each."""
    names = [turn.name for turn in turns]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        yield f"two turns are called {twice}. Give each a name of its own."
    for at, turn in enumerate(turns):
        yield from (f"{turn.name}: {problem}" for problem in _of_slots(turn, names[:at], names[at:]))
        for needed in sorted(turn.needs.difference(names[:at])):
            yield f"{turn.name}: '{needed}' is not the name of a turn before it, which run and when look at."
    if turns[0].when != "always":
        yield f"{names[0]}.when: {turns[0].when}: there is no answer before the first turn."
    in_thread = [turn for turn in turns if turn.view == "thread"]
    optional = _left_out(turns)
    for before, turn in pairwise(in_thread):
        if turn.run is None and turn.ask is None and (before.speaker == turn.by or before.name in optional):
            yield f"{turn.name}.ask is missing: {turn.by} would speak twice in a row."


def _left_out(turns: Sequence[DialogueTurn]) -> set[str]:
    """The turns that may be left out: by a condition, for want of an error to make, or with one that they quote."""
    optional = set[str]()
    for turn in turns:
        if turn.when != "always" or turn.inject_error or not optional.isdisjoint(turn.slots() | turn.needs):
            optional.add(turn.name)
    return optional


def _of_slots(turn: DialogueTurn, earlier: Sequence[str], later: Sequence[str]) -> Iterator[str]:
    """What is wrong with the slots of `turn`; the names of texts and verifiers are looked at where those are known."""
    for slot in sorted(turn.slots().intersection(later)):
        yield f"{{{slot}}} is not said before it. Only earlier turns can be quoted."
    named = {slot for slot in turn.slots() if slot.partition(".")[0] in ("text", "feedback")}
    yield from mistaken(turn.slots().difference(named, later), (*GIVEN, "text.NAME", *earlier), MISTAKEN)
