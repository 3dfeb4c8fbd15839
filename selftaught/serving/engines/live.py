"""Live engines: they answer with a policy that is being trained, whose weights are pushed to them before every step.

`LiveEngine` is what an online stage asks of an engine beside answers: to take weights, and to say what it computes with
them. `InProcess` is one in the trainer's process, which batches what is asked of it, on a generator that has a copy of
the weights in the precision that the model is stored in: transformers' own here, vLLM's in
`selftaught.serving.engines.colocated`. How requests are read and checked is the server's on transformers.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack, cast

from pydantic import JsonValue

from selftaught.blocks import ChatModel, Completion, Drawn
from selftaught.core.errors import NoAnswer, WrongModel
from selftaught.records import Message
from selftaught.serving.engines.transformers_server import (
    Generator,
    Json,
    RefusedError,
    Request,
    Settings,
    next_logprobs,
    rendered,
)
from selftaught.serving.weight_check import TOLERANCE, logprobs_of

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 64
"""Sequences that transformers generates at once."""
IDLE = 100
"""Turns of the event loop without another request after which all have come that are not waiting for an answer."""


class LiveEngine(ChatModel, Protocol):
    """An engine whose weights can be replaced."""

    def push(self, weights: "Iterable[tuple[str, Tensor]]", step: int) -> None:
        """Take `weights`, by transformers' names for them; answers from here on are those of `step`."""
        ...

    def logprobs(self, token_ids: Sequence[int]) -> Sequence[float]:
        """Of each of `token_ids` but the first, in nats, with the weights that it has."""
        ...

    def close(self) -> None:
        """Give back what it holds; it answers no more."""
        ...


def require_pushed(engine: LiveEngine, token_ids: Sequence[int], expected: Sequence[float]) -> None:
    """Raise WrongModel unless `engine` gives `token_ids` the `expected` log-probabilities, to rounding."""
    differences = [abs(one - other) for one, other in zip(engine.logprobs(token_ids), expected, strict=True)]
    drift = sum(differences) / len(differences)
    if not drift <= TOLERANCE:
        raise WrongModel(
            f"{engine.digest}: the engine's log-probabilities differ from the trainer's by {drift:.3f} nats, more than "
            f"{TOLERANCE}, so it does not sample from the weights that are trained. Take `lora: null`, or report this."
        )


class LiveGenerator(Protocol):
    """What answers in the trainer's process, and whose weights can be replaced."""

    tokenizer: Any

    def check(self, request: Request) -> None:
        """Raise RefusedError for a request that the model cannot answer."""
        ...

    def taken(self, waiting: Sequence[Request]) -> list[Request]:
        """Those of `waiting`, the oldest among them, that are generated together."""
        ...

    def drawn(self, batch: Sequence[Request], seed: int) -> list[list[Json]]:
        """The choices that answer each request of `batch`: equal ones for an equal batch and `seed`."""
        ...

    def load(self, weights: "Iterable[tuple[str, Tensor]]") -> None:
        """Replace the weights by those, which have transformers' names."""
        ...

    def logprobs(self, token_ids: Sequence[int]) -> Sequence[float]:
        """See `LiveEngine`."""
        ...

    def next_logprobs(self, prompts: Sequence[list[int]], tokens: Sequence[int]) -> list[list[float]]:
        """The log-probability (nats) of each of `tokens` after each of `prompts`."""
        ...

    def close(self) -> None:
        """Give back what it holds; it answers no more."""
        ...


class OnTransformers(Generator):
    """transformers' generation, at most `BATCH` sequences at once: for machines without vLLM, and tiny models."""

    def __init__(self, folder: Path, context: int) -> None:
        super().__init__(folder, context, BATCH, 0)

    def drawn(self, batch: Sequence[Request], seed: int) -> list[list[Json]]:
        """See `LiveGenerator`."""
        import torch

        cast(Any, torch).manual_seed(seed)
        return self.generate(batch)

    def load(self, weights: "Iterable[tuple[str, Tensor]]") -> None:
        """See `LiveGenerator`."""
        import torch

        own = self.model.state_dict()
        with torch.no_grad():
            for name, weight in weights:
                own[name].copy_(weight)

    def logprobs(self, token_ids: Sequence[int]) -> Sequence[float]:
        """See `LiveGenerator`."""
        return logprobs_of(self.model, token_ids)

    def next_logprobs(self, prompts: Sequence[list[int]], tokens: Sequence[int]) -> list[list[float]]:
        """See `LiveGenerator`."""
        return [[row[token] for token in tokens] for row in next_logprobs(self.model, prompts)]

    def close(self) -> None:
        """See `LiveGenerator`."""
        del self.model  # of a generator that is kept by a closed engine


class InProcess:
    """The model of `digest` that `generator` has, answering in this process until other weights are pushed.

    Requests that wait together are generated together, so equal requests at one step and `seed` get equal answers.
    `template` are variables of the chat template.
    """

    def __init__(
        self, generator: LiveGenerator, digest: str, seed: int, template: Mapping[str, JsonValue] = {}
    ) -> None:
        self._generator = generator
        self._start, self._seed, self._template = digest, seed, template
        self._step = self._batches = 0
        self._waiting: list[Request] = []
        self._answering: asyncio.Task[None] | None = None

    @property
    def digest(self) -> str:
        """The model that training started from, and the step: no folder has these weights."""
        return f"{self._start}+{self._step}"

    def push(self, weights: "Iterable[tuple[str, Tensor]]", step: int) -> None:
        """See `LiveEngine`."""
        self._generator.load(weights)
        self._step, self._batches = step, 0

    def logprobs(self, token_ids: Sequence[int]) -> Sequence[float]:
        """See `LiveEngine`."""
        return self._generator.logprobs(token_ids)

    def close(self) -> None:
        """See `LiveEngine`."""
        self._generator.close()

    def tokens(self, text: str) -> list[int]:
        """`text`, tokenized."""
        return self._generator.tokenizer(text)["input_ids"]

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
        """`n` completions of one prompt, without log-probabilities. Raises NoAnswer for one that is too long."""
        body = {"temperature": temperature, "max_tokens": max_tokens, "stop": list(stop), **drawn}
        return await self._ask(self._opening(messages), n, body)

    async def complete(
        self,
        prompt: Sequence[Message] | Sequence[int],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        **drawn: Unpack[Drawn],
    ) -> list[Completion]:
        """`n` continuations of a chat's opening, or of token ids as they are; texts end with the stop string."""
        kept = {"include_stop_str_in_output": True}
        body = {"temperature": temperature, "max_tokens": max_tokens, "stop": list(stop), **drawn, **kept}
        if all(isinstance(each, Message) for each in prompt):
            return await self._ask(self._opening(cast(Sequence[Message], prompt)), n, body)
        return await self._ask(list(cast(Sequence[int], prompt)), n, body)

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        """For each of `chats` the probability of each of `words`, in any case, as its answer's first token."""
        import math

        spelt = [(token, text.strip().casefold()) for token, text in enumerate(self._vocabulary())]
        tokens = [[token for token, text in spelt if text == word.casefold()] for word in words]
        asked = sorted({token for each in tokens for token in each})
        rows = self._generator.next_logprobs([self._opening(messages) for messages in chats], asked)
        likely = [{token: math.exp(p) for token, p in zip(asked, row, strict=True)} for row in rows]
        return [[sum(each[token] for token in spelling) for spelling in tokens] for each in likely]

    def _vocabulary(self) -> list[str]:
        tokenizer = self._generator.tokenizer
        return tokenizer.batch_decode([[token] for token in range(len(tokenizer))])

    def _opening(self, messages: Sequence[Message]) -> list[int]:
        """What the model goes on from; an answer that is begun is tokenized by itself, as the trainer does."""
        if messages[-1].role == "assistant":
            *before, begun = messages
            prefill = self._generator.tokenizer(begun.content, add_special_tokens=False)["input_ids"]
            return [*self._opening(before), *prefill]
        body = {"messages": [each.to_row() for each in messages], "chat_template_kwargs": dict(self._template)}
        try:
            return rendered(self._generator.tokenizer, body, answering=True)
        except RefusedError as refused:
            raise NoAnswer(str(refused)) from None

    async def _ask(self, prompt: list[int], n: int, body: Json) -> list[Completion]:
        request = Request(prompt, n, Settings.of(body))
        try:
            self._generator.check(request)
        except RefusedError as refused:
            raise NoAnswer(str(refused)) from None
        self._waiting.append(request)
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._answer())
        return [_completion(prompt, choice) for choice in await asyncio.wrap_future(request.answer)]

    async def _answer(self) -> None:
        """Answer what waits, batch after batch, each begun when nobody asks any more."""
        while self._waiting:
            await _settled(lambda: len(self._waiting))
            batch = self._generator.taken(self._waiting)
            self._waiting = [request for request in self._waiting if request not in batch]
            try:
                answers = await asyncio.to_thread(self._generate, batch)
            # Whatever it is, whoever waits for this batch has to hear of it.
            except Exception as error:  # noqa: BLE001
                for request in batch:
                    request.answer.set_exception(error)
                continue
            for request, choices in zip(batch, answers, strict=True):
                request.answer.set_result(choices)

    def _generate(self, batch: Sequence[Request]) -> list[list[Json]]:
        drawn = random.Random(f"{self._seed}/{self._step}/{self._batches}")
        self._batches += 1
        return self._generator.drawn(batch, drawn.getrandbits(63))


async def _settled(count: Callable[[], int]) -> None:
    """Return when `count` has not changed for a while, counted in turns of the loop: a clock would see other loads."""
    last, idle = count(), 0
    while idle < IDLE:
        await asyncio.sleep(0)
        idle = idle + 1 if count() == last else 0
        last = count()


def _completion(prompt: Sequence[int], choice: Json) -> Completion:
    return Completion(
        text=choice["text"],
        token_ids=tuple(choice["token_ids"]),
        logprobs=(),
        finish_reason=choice["finish_reason"],
        prompt_tokens=len(prompt),
        stop=choice["stop_reason"],
        tokens=tuple(choice["logprobs"]["tokens"]),
        prompt_ids=tuple(prompt),
    )
