"""A model whose every answer is a hash of what it was asked: a search over it is the same wherever it runs."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from selftaught.blocks import Completion, Context, Verifier
from selftaught.records import Group, Message, Task, Verdict

TASK = Task(messages=(Message(role="user", content="What is 1 + 1?"),), answer="2", source="test")


def luck(*what: object) -> float:
    """A number in [0, 1) that follows from `what`."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:6], "big") / 2**48


class Right(Verifier):
    """An answer whose last letter is b is right."""

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        return [Verdict.of("right", rollout.text.endswith("b")) for rollout in group.rollouts]


@dataclass
class Scripted:
    """Steps of one letter and a line's end; a byte is a token. `ending` is the share of steps that end the answer.

    A `forgetful` model answers the same when it is asked again, others resume further steps.
    """

    seed: int = 0
    ending: float = 0.3
    letters: str = "abcdef"
    forgetful: bool = True
    digest: str = "d" * 64
    asked: list[str] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter[str])

    async def chat(self, messages: Sequence[Message], **_: object) -> list[Completion]:
        raise AssertionError("a search continues tokens")

    async def complete(
        self,
        prompt: Sequence[Message] | Sequence[int],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
    ) -> list[Completion]:
        text = opened(prompt)
        self.asked.append(text)
        return self.steps(text, n, temperature, bool(stop))

    def steps(self, text: str, n: int, temperature: float, stops: bool) -> list[Completion]:
        first = 0 if self.forgetful else self.given[text]
        self.given[text] += n
        return [self.step(text, i, temperature, stops) for i in range(first, first + n)]

    def step(self, text: str, i: int, temperature: float, stops: bool) -> Completion:
        drawn = luck(self.seed, text, i, temperature)
        letter = self.letters[int(drawn * len(self.letters))]
        ends = not stops or luck(self.seed, text, i, "end") < self.ending
        said = letter if ends else f"{letter}\n"
        return Completion(
            text=said,
            token_ids=tuple(said.encode()),
            logprobs=tuple(-luck(text, said, k) for k in range(len(said))),
            finish_reason="stop",
            prompt_tokens=len(text),
            stop=None if ends else "\n",
            tokens=tuple(said),
            prompt_ids=tuple(text.encode()),
        )

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        return [[luck(self.seed, messages[-2].content, word) for word in words] for messages in chats]

    async def values(self, inputs: Sequence[Sequence[int]]) -> list[float]:
        return [self.value(bytes(ids).decode()) for ids in inputs]

    async def rewards(self, chats: Sequence[Sequence[Message]], tag: str) -> list[list[tuple[float, ...]]]:
        return [[self.classes(chat[-1].content, at) for at in range(chat[-1].content.count(tag))] for chat in chats]

    def classes(self, said: str, at: int) -> tuple[float, ...]:
        right = luck(self.seed, said, at)
        return 1 - right, right

    def value(self, text: str) -> float:
        return luck(self.seed, text, "value")


@dataclass
class Rolling(Scripted):
    """Answers of one to four steps where no stop string cuts them; some break off."""

    def step(self, text: str, i: int, temperature: float, stops: bool) -> Completion:
        drawn = [
            luck(self.seed, text, i, temperature, k) for k in range(1 + int(4 * luck(self.seed, text, i, "steps")))
        ]
        said = "\n".join(self.letters[int(each * len(self.letters))] for each in drawn)
        return Completion(
            text=said,
            token_ids=tuple(said.encode()),
            logprobs=tuple(-luck(text, said, k) for k in range(len(said))),
            finish_reason="length" if luck(self.seed, text, i, "cut") < 0.2 else "stop",
            prompt_tokens=len(text),
            tokens=tuple(said),
            prompt_ids=tuple(text.encode()),
        )


@dataclass
class Answering(Scripted):
    """Whole answers have several lines; what is longer than `room` characters breaks off there."""

    room: int = 9

    def step(self, text: str, i: int, temperature: float, stops: bool) -> Completion:
        if stops:
            return super().step(text, i, temperature, True)
        said, logprobs, ends = "", (), False
        while not ends and len(said) < self.room:
            line = super().step(text + said, i, temperature, True)
            said, logprobs, ends = said + line.text, logprobs + line.logprobs, line.stop is None
        fits = len(said) <= self.room
        return Completion(
            text=said[: self.room],
            token_ids=tuple(said[: self.room].encode()),
            logprobs=logprobs[: self.room],
            finish_reason="stop" if ends and fits else "length",
            prompt_tokens=len(text),
            tokens=tuple(said[: self.room]),
            prompt_ids=tuple(text.encode()),
        )


def opened(prompt: Sequence[Message] | Sequence[int]) -> str:
    """The text that `prompt` stands for; a chat opens with its last message."""
    if isinstance(prompt[0], Message):
        return prompt[-1].content + ">"
    return bytes(prompt).decode()
