"""A model that says what a test wants it to say."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Unpack

from selftaught.blocks import Completion, Drawn
from selftaught.core.errors import NoAnswer
from selftaught.records import Message

Answer = str | Callable[[Sequence[Message]], str]


class ScriptedModel:
    """A `ChatModel` that gives `answers` in turn, and begins again after the last; `asked` is what it was asked.

    Without any it says yes. An answer may be a function of the conversation. A byte is a token here, and all tokens are
    equally likely.
    """

    def __init__(self, *answers: Answer, digest: str = "scripted") -> None:
        self._answers: Iterator[Answer] = cycle(answers or ("Yes.",))
        self._digest = digest
        self.asked: list[tuple[Message, ...]] = []

    @property
    def digest(self) -> str:
        """What rollouts name the model by."""
        return self._digest

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        **drawn: Unpack[Drawn],
    ) -> list[Completion]:
        """The next `n` answers, cut at `max_tokens` bytes.

        Raises NoAnswer for several at temperature 0, which vLLM refuses.
        """
        if temperature == 0 and n > 1:
            raise NoAnswer(f"n must be 1 when using greedy sampling, got {n}")
        self.asked.append(tuple(messages))
        return [_completion(self._next(messages), max_tokens) for _ in range(n)]

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        """For each of `chats` 1 for the word that the next answer begins with, in any case, and 0 for the others."""
        self.asked += map(tuple, chats)
        said = [self._next(chat).casefold() for chat in chats]
        return [[float(answer.startswith(word.casefold())) for word in words] for answer in said]

    def _next(self, messages: Sequence[Message]) -> str:
        answer = next(self._answers)
        return answer if isinstance(answer, str) else answer(messages)


def _completion(text: str, max_tokens: int) -> Completion:
    ids = tuple(text.encode())[:max_tokens]
    ended = len(ids) == len(text.encode())
    return Completion(
        text=bytes(ids).decode(errors="ignore"),
        token_ids=ids,
        logprobs=(-5.5,) * len(ids),
        finish_reason="stop" if ended else "length",
        prompt_tokens=0,
    )
