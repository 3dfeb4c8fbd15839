"""The model interface that blocks use, and sampling parameters. The client is `selftaught.inference.endpoint`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypedDict, Unpack, cast, runtime_checkable

from pydantic import BaseModel, Field, NonNegativeInt

from selftaught.records import Message

Stops = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=4)]
"""Stop strings: as many as OpenAI's protocol and vLLM take."""


class Drawn(TypedDict, total=False):
    """Sampling parameters besides the temperature; missing ones have no effect."""

    top_p: float
    top_k: int
    min_p: float


class Drawing(BaseModel):
    """Fields of blocks that sample tokens. They have no effect at temperature 0."""

    top_p: Annotated[float, Field(gt=0, le=1, description="draw from the likeliest tokens that hold so much")] = 1.0
    top_k: Annotated[NonNegativeInt, Field(description="draw from so many likeliest tokens; 0 is all")] = 0
    min_p: Annotated[
        float, Field(ge=0, le=1, description="leave out tokens less likely than this share of the best")
    ] = 0.0

    def drawn(self) -> Drawn:
        """The parameters that differ from their defaults."""
        asked = {name: getattr(self, name) for name in Drawing.model_fields}
        return cast(Drawn, {n: drawing for n, drawing in asked.items() if drawing != Drawing.model_fields[n].default})


@runtime_checkable
class ChatModel(Protocol):
    """A role's model behind an endpoint; implemented by `selftaught.inference.endpoint.Endpoint`.

    Every method raises Unavailable, BadInput or WrongModel.
    """

    @property
    def digest(self) -> str: ...

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        **drawn: Unpack[Drawn],
    ) -> "list[Completion]":
        """`n` completions of one prompt, in one request.

        An answer that the last of `messages`, the assistant's, begins is continued; completions are without it.
        """
        ...


class TokenModel(ChatModel, Protocol):
    """A model that continues token ids, scores words and values partial solutions, as a search needs."""

    async def complete(
        self,
        prompt: Sequence[Message] | Sequence[int],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        **drawn: Unpack[Drawn],
    ) -> "list[Completion]":
        """`n` continuations of a chat prompt or of token ids, in one request; texts include the stop string."""
        ...

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        """For each of `chats` the probability of each of `words`, in any case, as its answer's first token."""
        ...

    async def values(self, inputs: Sequence[Sequence[int]]) -> list[float]:
        """A value model's value of each of `inputs` (token ids), in one request: any number, or NaN."""
        ...

    async def rewards(self, chats: Sequence[Sequence[Message]], tag: str) -> list[list[tuple[float, ...]]]:
        """For each of `chats`, the probability of each class of a process reward model at each `tag` in it."""
        ...

    async def text_rewards(self, texts: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
        """For each of `texts`, given in parts, the probability of each class at its last token."""
        ...

    async def text_odds(self, texts: Sequence[str], words: Sequence[str]) -> list[list[float]]:
        """For each of `texts` the probability of each of `words`, a token each, as its next token."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion as returned by the engine: text, its own token ids and their log-probabilities (nats).

    `stop` is the stop string that ended it, `tokens` the text of each token and `prompt_ids` the prompt's tokens, if
    the engine returns them.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    prompt_tokens: int
    stop: str | None = None
    tokens: tuple[str, ...] = ()
    prompt_ids: tuple[int, ...] = ()
