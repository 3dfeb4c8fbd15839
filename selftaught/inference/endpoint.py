"""The async client of the platform's models: one `Endpoint` for each model that plays a role.

Talks to any OpenAI-compatible server: several completions in one request, as many sequences at a time as the server
has room for beside its users, retries for what may heal, token accounting, and a refusal to work with any model but the
expected one. What comes back is data: counts, sizes and numbers are checked here, once, and what one request got wrong
is an error of that request (`NoAnswer`). It starts no server (`selftaught.serving` does) and decides nothing about
prompts (samplers do).
"""

import asyncio
import math
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Unpack, cast

import stamina
from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError

from selftaught.blocks import Completion, Drawn
from selftaught.core.errors import Away, BadInput, NoAnswer, Unavailable, WrongModel
from selftaught.core.loopback import bearer
from selftaught.core.trust import distrusted
from selftaught.inference.limiter import CLIENT, PRIORITY, ROUNDS, USERS, Limiter
from selftaught.inference.pulse import Pulse, StalledError
from selftaught.inference.transport import AddressError, Answer, LostError, PackingError, Transport
from selftaught.records import Message

HEALS = frozenset({429, 502, 503, 504})
"""HTTP statuses that say "not now" rather than "not this"."""

BESIDE = frozenset({"/classify", "/health", "/pooling", "/tokenize"})

NO_NUMBER = "Out of range float values"
"""What vLLM's server says when a value is NaN or infinite."""

MOST_LOGPROBS = 20
"""How many tokens' log-probabilities a server tells at most, by OpenAI's protocol and vLLM's default."""

UNKNOWN = "unknown"
"""The finish reason of an answer whose server gives none: it is not known to have been finished."""

Count = Annotated[int, Field(ge=0, lt=2**31)]
"""A number of tokens, or a token's id: data sets hold ids as 32 bits."""

BACK_OFF: dict[str, Any] = {"attempts": None, "timeout": None, "wait_initial": 0.2, "wait_max": 5.0, "wait_jitter": 0.1}
"""Seconds between tries: 0.2 doubled up to 5; `RetryPolicy.patience` says when to stop."""


def served_name(line: str, digest: str) -> str:
    """`<line>-<digest8>`: the name under which exactly one version of a line is served."""
    return f"{line}-{digest[:8]}"


class _Counts(BaseModel):
    prompt_tokens: Count
    completion_tokens: Count = 0


class _Token(BaseModel):
    logprob: float
    token: str = ""


class _First(_Token):
    top_logprobs: list[_Token] = []


class _Logprobs(BaseModel):
    """Of a chat's answer (`content`) or of a completion (the lists)."""

    content: list[_First] | None = None
    tokens: tuple[str, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    top_logprobs: list[dict[str, float] | None] | None = None

    def texts(self) -> tuple[str, ...]:
        return self.tokens or tuple(token.token for token in self.content or ())

    def values(self) -> tuple[float, ...]:
        return self.token_logprobs or tuple(token.logprob for token in self.content or ())


class _Said(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    index: int = 0
    message: _Said = _Said()
    text: str | None = None
    finish_reason: Annotated[str, Field(max_length=100)] | None = None
    stop_reason: int | str | None = None
    token_ids: tuple[Count, ...] | None = None
    prompt_token_ids: tuple[Count, ...] | None = None
    logprobs: _Logprobs | None = None
    prompt_logprobs: list[dict[int, _Token] | None] | None = None


class _Reply(BaseModel):
    """What every answer of a server holds."""

    model: str
    usage: _Counts


class _Answer(_Reply):
    """What is used of a server's answer to a chat or completion request."""

    choices: list[_Choice]
    prompt_token_ids: tuple[Count, ...] | None = None


class _Row(BaseModel):
    index: int
    probs: tuple[float, ...]


class _Values(_Reply):
    """What is used of a server's answer to a classification request."""

    data: list[_Row]


class _Rows(BaseModel):
    index: int
    data: list[tuple[float, ...]]


class _Classes(_Reply):
    """What is used of a server's answer to a pooling request: numbers for each token."""

    data: list[_Rows]


class _Tokens(BaseModel):
    """What is used of a server's answer to a request for a text's tokens."""

    tokens: tuple[Count, ...]


class _Listed(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Listed]


A = TypeVar("A", bound=BaseModel)
R = TypeVar("R", bound=_Reply)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a client has used so far. `seconds` adds up the waiting of all requests, which overlap."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a client treats its server.

    `concurrency` bounds the sequences in flight at a server that does not say how many it has room for; `priority` is
    that of the requests (`limiter.ROUNDS`, or `limiter.USERS` where a person waits); `timeout` is the longest wait for
    one answer (s); `patience` is how long failures that may heal are tried again, from the first of them (s). `pulse`
    is how often a server that is waited for is asked for a sign of life (s); without one for four times as long it
    counts as stalled.
    """

    concurrency: int = 64
    priority: int = ROUNDS
    timeout: float = 600.0
    patience: float = 30.0
    pulse: float = 30.0


class Endpoint:
    """A model behind an OpenAI-compatible URL (`http://host:port/v1`): implements `selftaught.blocks.TokenModel`.

    Use it as `async with Endpoint(url, line, digest) as model`: entering proves that the server lists
    `<line>-<digest8>`, and every answer has to come from it. `key` is the server's, if it wants one; `api_key_env`
    names an environment variable that holds it. `template` are variables of the model's chat template
    (`enable_thinking`).
    """

    DETAILS: ClassVar[Mapping[str, bool]] = {"logprobs": True, "return_token_ids": True}
    """What a server is asked to tell beside the text; vLLM tells it."""

    def __init__(
        self,
        url: str,
        line: str,
        digest: str,
        *,
        policy: RetryPolicy = RetryPolicy(),
        key: str = "",
        api_key_env: str | None = None,
        template: Mapping[str, JsonValue] = {},
    ) -> None:
        self.url = url.rstrip("/")
        self.digest = digest
        self.name = served_name(line, digest)
        self.usage = Usage()
        self._template = template
        self._policy = policy
        self._limiter = Limiter(policy.concurrency)
        self._batches = True
        headers = (bearer(key) if key else _authorization(api_key_env)) | _standing(policy.priority)
        self._pulse = Pulse(self.url, headers, policy.pulse)
        self._transport = Transport(headers, policy.timeout)

    async def __aenter__(self) -> Self:
        try:
            await self.verify_served()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pulse.aclose()
        await self._transport.aclose()

    @property
    def room(self) -> int:
        """Sequences that the engines have room for beside others': as they said last, or the policy's concurrency."""
        return self._limiter.limit

    async def verify_served(self) -> None:
        """Raise WrongModel unless the server lists `<line>-<digest8>`; Unavailable when it does not answer."""
        names = [model.id for model in (await self._send(_Models, "GET", "/models")).data]
        if self.name not in names:
            raise WrongModel(f"{self.url} serves {', '.join(names) or 'nothing'}, not {self.name}. Deploy it first.")

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
        """`n` completions of one prompt, in one request; what a server leaves out is asked for again.

        Token ids and log-probabilities are empty where a server does not give them. Raises Unavailable when the
        server stays away longer than the policy's patience, NoAnswer with the server's words when it refuses the
        request or answers with what cannot be used, WrongModel when another model answered.
        """
        body = self._sampling(temperature, max_tokens, stop) | drawn
        if messages[-1].role == "assistant":
            answer = await self._choices("/completions", body | await self._begun(messages), n)
        else:
            answer = await self._choices("/chat/completions", body | self._chat(messages), n)
        return self._completions(answer, max_tokens)

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
        """`n` continuations of a chat's opening, or of token ids as they are, in one request.

        Texts end with the stop string that was found. Raises what `chat` raises, and BadInput with a server that does
        not tell token ids.
        """
        details = {
            **Endpoint.DETAILS,
            "include_stop_str_in_output": True,
        }  # without tokens there is nothing to go on with
        body = self._sampling(temperature, max_tokens, stop) | drawn | details
        if all(isinstance(each, Message) for each in prompt):
            opening = self._chat(cast(Sequence[Message], prompt))
            answer = await self._choices("/chat/completions", body | opening, n)
        else:
            answer = await self._choices("/completions", body | {"prompt": list(prompt), "logprobs": 0}, n)
        if any(choice.token_ids is None for choice in answer.choices):
            raise BadInput(f"{self.url} does not tell token ids, which a search needs. Serve {self.name} with vLLM.")
        return self._completions(answer, max_tokens)

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        """For each of `chats` the probability of each of `words` as its answer's first token, any case, spaces apart.

        Of the 20 likeliest tokens, the most that a server tells; a word that is none of them counts 0. One request
        for all of them where the server takes it (vLLM's `/chat/completions/batch`), else one each. Raises what
        `chat` raises, and BadInput with a server that gives no log-probabilities.
        """
        return [self._odds(choice, words) for choice in await self._first_tokens(chats)]

    async def _first_tokens(self, chats: Sequence[Sequence[Message]]) -> list[_Choice]:
        asked = self._sampling(0.0, 1, ()) | {"logprobs": True, "top_logprobs": MOST_LOGPROBS}
        if self._batches and len(chats) > 1:
            try:
                return await self._batch([self._chat(messages) for messages in chats], asked)
            except WrongModel:  # nothing is there: it is not vLLM, or the model is gone, which the others will notice
                self._batches = False
        each = (self._choices("/chat/completions", self._chat(messages) | asked, 1) for messages in chats)
        return [answer.choices[0] for answer in await asyncio.gather(*each)]

    async def _batch(self, chats: Sequence[dict[str, Any]], asked: dict[str, Any]) -> list[_Choice]:
        """The choice of each of `chats`, of one request."""
        standing = {"priority": self._policy.priority}  # here vLLM reads no header: who names none is a user
        body = chats[0] | {"messages": [chat["messages"] for chat in chats]} | asked | standing
        choices = (await self._ask(_Answer, "/chat/completions/batch", body, len(chats))).choices
        if sorted(choice.index for choice in choices) != list(range(len(chats))):
            raise self._unusable(f"{len(choices)} answers to {len(chats)} chats")
        return sorted(choices, key=lambda choice: choice.index)

    def _odds(self, choice: _Choice, words: Sequence[str]) -> list[float]:
        logprobs = choice.logprobs
        if logprobs is None or not logprobs.content:
            raise BadInput(f"{self.url} gives no log-probabilities of answers. Serve {self.name} with vLLM instead.")
        said = [(token.token.strip().casefold(), token.logprob) for token in logprobs.content[0].top_logprobs]
        if impossible := [logprob for _, logprob in said if not logprob < 1]:
            raise self._unusable(f"a log-probability of {impossible[0]}")
        return [sum(math.exp(logprob) for text, logprob in said if text == word.casefold()) for word in words]

    async def values(self, inputs: Sequence[Sequence[int]]) -> list[float]:
        """The first class's score of each of `inputs` (token ids), in one request, without an activation.

        vLLM's `/classify`. What is not a number is NaN: vLLM refuses the entire request then, because JSON has no word
        for it. Raises what `chat` raises; another number of values is not an answer either.
        """
        body = {"input": [list(ids) for ids in inputs], "use_activation": False}
        try:
            data = (await self._ask(_Values, "/classify", body, len(inputs))).data
        except BadInput as refused:
            if NO_NUMBER not in str(refused):
                raise
            return [math.nan for _ in inputs]
        if sorted(row.index for row in data) != list(range(len(inputs))) or not all(row.probs for row in data):
            raise NoAnswer(f"{self.url}: {self.name} gave {len(data)} values for {len(inputs)} partial solutions.")
        return [row.probs[0] for row in sorted(data, key=lambda row: row.index)]

    async def rewards(self, chats: Sequence[Sequence[Message]], tag: str) -> list[list[tuple[float, ...]]]:
        """For each of `chats` the probability of each class of a process reward model's at each `tag` in it.

        The server renders the chats as the model's own tokenizer has it, without opening another answer. Raises what
        `chat` raises, BadInput for a tag that is not a token of the model's.
        """
        mark = await self._mark(tag)
        asked = [self._tokens(self._chat(chat) | {"add_generation_prompt": False}) for chat in chats]
        inputs = await asyncio.gather(*asked)
        given = zip(inputs, await self.classes(inputs), strict=True)
        return [[softmax(row) for token, row in zip(ids, rows, strict=True) if token == mark] for ids, rows in given]

    async def text_rewards(self, texts: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
        """For each of `texts` the probability of each class of a process reward model's at its last token.

        A text is a sequence of parts; each is tokenized separately, the first with what the tokenizer begins texts
        with. Raises what `chat` raises.
        """
        parts = {(part, not at) for text in texts for at, part in enumerate(text)}
        asked = {each: self._tokens({"prompt": each[0], "add_special_tokens": each[1]}) for each in parts}
        ids = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        inputs = [[token for at, part in enumerate(text) for token in ids[part, not at]] for text in texts]
        return [softmax(rows[-1]) for rows in await self.classes(inputs)]

    async def text_odds(self, texts: Sequence[str], words: Sequence[str]) -> list[list[float]]:
        """For each of `texts` the probability of each of `words`, a token each, as its next token; in one request.

        By vLLM's `logprob_token_ids`, so that a word need not be among the likeliest. Raises what `chat` raises, and
        BadInput for a word that is not one token of the model's and with a server that does not know the field.
        """
        marks = await asyncio.gather(*(self._mark(word) for word in words))
        named = {"logprobs": 0, "logprob_token_ids": list(marks), "return_tokens_as_token_ids": True}
        body = self._sampling(0.0, 1, ()) | named | {"prompt": list(texts), "n": 1}
        choices = (await self._ask(_Answer, "/completions", body, len(texts))).choices
        if sorted(choice.index for choice in choices) != list(range(len(texts))):
            raise self._unusable(f"{len(choices)} answers to {len(texts)} texts")
        return [self._named(choice, marks) for choice in sorted(choices, key=lambda choice: choice.index)]

    def _named(self, choice: _Choice, tokens: Sequence[int]) -> list[float]:
        """The probability of each of `tokens` as the first of an answer that names tokens by their ids."""
        given = (choice.logprobs and choice.logprobs.top_logprobs) or [None]
        first, names = given[0] or {}, [f"token_id:{token}" for token in tokens]
        if not first.keys() >= set(names):
            raise BadInput(f"{self.url} gives no probabilities of named tokens. Serve {self.name} with vLLM.")
        logprobs = [first[name] for name in names]
        if impossible := [logprob for logprob in logprobs if not logprob < 1]:
            raise self._unusable(f"a log-probability of {impossible[0]}")
        return [math.exp(logprob) for logprob in logprobs]

    async def classes(self, inputs: Sequence[Sequence[int]]) -> list[list[tuple[float, ...]]]:
        """The logit of each class at each token of each of `inputs` (the model's own token ids), in one request.

        vLLM's `/pooling`. Raises what `chat` raises.
        """
        body = {"input": [list(ids) for ids in inputs], "task": "token_classify", "use_activation": False}
        data = (await self._ask(_Classes, "/pooling", body, len(inputs))).data
        if sorted(each.index for each in data) != list(range(len(inputs))):
            raise self._unusable(f"{len(data)} answers to {len(inputs)} solutions")
        rows = [each.data for each in sorted(data, key=lambda each: each.index)]
        if any(len(row) != len(ids) for row, ids in zip(rows, inputs, strict=True)):
            raise self._unusable(f"{sum(map(len, rows))} scores of {sum(map(len, inputs))} tokens")
        return rows

    async def _mark(self, tag: str) -> int:
        """The token that `tag`, or a reply, is to the model."""
        tokens = await self._tokens({"prompt": tag, "add_special_tokens": False})
        if len(tokens) != 1:
            raise BadInput(
                f"{tag!r}: is {len(tokens)} tokens to {self.name}, and scores are read at one. Name the tag that the "
                "model was trained with, or its reply."
            )
        return tokens[0]

    async def _tokens(self, body: dict[str, Any]) -> tuple[int, ...]:
        return (await self._send(_Tokens, "POST", "/tokenize", {"model": self.name, **body})).tokens

    async def prompt_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """The log-probability (nats) of each token of a prompt but the first, given those before it.

        vLLM's `prompt_logprobs`; raises BadInput with a server that has no such thing.
        """
        body = {"prompt": list(token_ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        given = (await self._choices("/completions", body, 1)).choices[0].prompt_logprobs
        if given is None:
            raise BadInput(f"{self.url} gives no log-probabilities of prompts. Serve {self.name} with vLLM instead.")
        logprobs = [row[token].logprob for token, row in zip(token_ids, given, strict=False) if row and token in row]
        if len(logprobs) < len(token_ids) - 1:
            raise self._unusable(f"log-probabilities of {len(logprobs)} of a prompt's {len(token_ids)} tokens")
        return logprobs[1 - len(token_ids) :]

    def _chat(self, messages: Sequence[Message]) -> dict[str, Any]:
        body = {"messages": [message.to_row() for message in messages]}
        return body | ({"chat_template_kwargs": dict(self._template)} if self._template else {})

    async def _begun(self, messages: Sequence[Message]) -> dict[str, Any]:
        """What is asked to continue the answer that the last of `messages` begins.

        The beginning is tokenized by itself and put behind the chat's opening, as the trainer does: its tokens do not
        depend on what follows.
        """
        *before, begun = messages
        opening = await self._tokens(self._chat(before))
        prefill = await self._tokens({"prompt": begun.content, "add_special_tokens": False}) if begun.content else ()
        return {**Endpoint.DETAILS, "logprobs": 0, "prompt": [*opening, *prefill]}

    async def _choices(self, path: str, body: dict[str, Any], n: int) -> _Answer:
        """The answer to `body` with `n` choices: asked again for those that are missing, as long as some come."""
        choices: list[_Choice] = []
        while True:
            missing = n - len(choices)
            answer = await self._ask(_Answer, path, body | {"n": missing}, missing)
            choices += answer.choices
            if len(choices) >= n:
                return answer.model_copy(update={"choices": choices[:n]})
            if not answer.choices:
                raise self._unusable(f"{len(choices)} of the {n} completions that were asked for")

    def _completions(self, answer: _Answer, longest: int) -> list[Completion]:
        """The choices of `answer`, of at most `longest` tokens each; NoAnswer where one cannot be what it says."""
        completions = [_completion(choice, answer) for choice in answer.choices]
        for one in completions:
            if len(one.token_ids) > longest:
                raise self._unusable(f"{len(one.token_ids)} tokens where at most {longest} were asked for")
            if one.token_ids and one.logprobs and len(one.token_ids) != len(one.logprobs):
                raise self._unusable(f"{len(one.logprobs)} log-probabilities of {len(one.token_ids)} tokens")
            if impossible := [p for p in one.logprobs if not -math.inf < p < 1]:
                raise self._unusable(f"a log-probability of {impossible[0]}")
        return completions

    def _unusable(self, what: str) -> NoAnswer:
        return NoAnswer(f"{self.url}: {self.name} gave {what}. See its log.")

    async def _ask(self, shape: type[R], path: str, body: dict[str, Any], sequences: int) -> R:
        """The answer of the expected model to `body`, which is so many sequences to it; counted in `usage`."""
        async with self._limiter.turn(sequences):
            begin = time.monotonic()
            answer = await self._send(shape, "POST", path, {"model": self.name, **body})
        self._require_own(answer.model)
        seconds = time.monotonic() - begin
        self.usage = self.usage.plus(Usage(1, answer.usage.prompt_tokens, answer.usage.completion_tokens, seconds))
        return answer

    def _require_own(self, answered: str) -> None:
        if answered != self.name:
            raise WrongModel(f"{self.url} answered as {answered}, not {self.name}. Its answer was not used.")

    def _sampling(self, temperature: float, max_tokens: int, stop: Sequence[str]) -> dict[str, Any]:
        settings = {"temperature": temperature, "max_tokens": max_tokens, **self.DETAILS}
        return settings | ({"stop": list(stop)} if stop else {})

    async def _send(
        self, shape: type[A], method: Literal["GET", "POST"], path: str, body: dict[str, Any] | None = None
    ) -> A:
        """One request and its answer, tried again while the failure may heal."""
        try:
            async for attempt in stamina.retry_context(on=_Healing(self._policy.patience), **BACK_OFF):
                with attempt:
                    answer = await self._pulse.watch(self._transport.ask(method, self._address(path), body))
                    self._limiter.update(answer.headers)
                    if not answer.well:
                        raise _RefusedError(answer)
                    return self._read(shape, answer)
        except _RefusedError as refused:
            if refused.answer.status >= 500 and not await self._lives():
                words = _server_message(refused.answer)
                raise Away(f"{self.url}: {self.name} is dying ({refused.answer.status}: {words}).") from None
            raise self._refused(refused.answer) from None
        except StalledError as stalled:
            raise Away(
                f"{self.url}: {self.name} has stalled: it has not answered /v1/models for {stalled}. Is it "
                "stopped, or the machine out of memory? End it and run again: what was answered is kept."
            ) from None
        except (LostError, AddressError) as error:
            raise (Away if _may_heal(error) else Unavailable)(self._silent(error)) from None
        except PackingError as error:
            raise NoAnswer(f"{self.url}: {self.name} gave what cannot be unpacked ({error}). See its log.") from None
        raise AssertionError("unreachable: a retry context returns or raises")

    async def _lives(self) -> bool:
        """Whether the server still says that it is well: one whose engine has died answers a last 500 to everybody."""
        try:
            return (await self._transport.ask("GET", self._address("/health"))).status < 500
        except LostError:
            return False

    def _read(self, shape: type[A], answer: Answer) -> A:
        """What `answer` says; a server may also say with status 200 that it cannot answer."""
        try:
            return shape.model_validate_json(answer.content)
        except ValidationError as error:
            location = ".".join(map(str, error.errors()[0]["loc"]))
            raise NoAnswer(
                f"{answer.url}: not an OpenAI-compatible response ({location or 'JSON'}: {error.errors()[0]['msg']}): "
                f"{_server_message(answer)[:200]}"
            ) from None

    def _address(self, path: str) -> str:
        """Where `path` is: vLLM's own endpoints stand beside OpenAI's, not below `/v1`."""
        return (self.url.removesuffix("/v1") if path in BESIDE else self.url) + path

    def _refused(self, answer: Answer) -> Exception:
        words = _server_message(answer)
        if answer.status in HEALS:
            return Away(f"{self.url}: {self.name} answered {answer.status}: {words}. See its log.")
        if answer.status == 404:
            return WrongModel(f"{self.url}: {self.name} is not served here: {words}")
        if answer.status in (401, 403):
            return BadInput(f"{self.url}: {self.name} takes no request of ours ({answer.status}): {words}")
        if answer.status >= 500:
            return NoAnswer(f"{self.url}: {self.name} answered {answer.status}: {words}. See its log.")
        return NoAnswer(f"{self.url}: {self.name} refused the request ({answer.status}): {words}")

    def _silent(self, error: Exception) -> str:
        return f"{self.url}: {self.name} did not answer ({error}). Is the server running? Deploy it again, or wait."


class _RefusedError(Exception):
    """The server answered that it does not do what was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class _Healing:
    """Whether to try again after an error: one that may heal, until `patience` seconds after the first."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._first: float | None = None

    def __call__(self, error: Exception) -> bool:
        now = time.monotonic()
        self._first = self._first or now
        return _may_heal(error) and now - self._first < self._patience


def _may_heal(error: Exception) -> bool:
    if isinstance(error, _RefusedError):
        return error.answer.status in HEALS
    return isinstance(error, LostError) and not distrusted(error)


def _server_message(answer: Answer) -> str:
    """The server's own words: OpenAI's `error.message`, FastAPI's `detail`, or the start of the body."""
    try:
        words = TypeAdapter[JsonValue](JsonValue).validate_json(answer.content)
    except ValidationError:
        return answer.content.decode(errors="replace")[:500]
    for key in ("error", "detail", "message"):
        if isinstance(words, dict):
            words = words.get(key, words)
    return str(words)[:500]


def softmax(logits: Sequence[float]) -> tuple[float, ...]:
    """The probability of each class."""
    most = max(logits)
    odds = [math.exp(each - most) for each in logits]
    return tuple(each / sum(odds) for each in odds)


def _completion(choice: _Choice, answer: _Answer) -> Completion:
    return Completion(
        text=choice.message.content or choice.text or "",
        token_ids=choice.token_ids or (),
        logprobs=choice.logprobs.values() if choice.logprobs else (),
        finish_reason=choice.finish_reason or UNKNOWN,
        prompt_tokens=answer.usage.prompt_tokens,
        stop=choice.stop_reason if isinstance(choice.stop_reason, str) else None,
        tokens=choice.logprobs.texts() if choice.logprobs else (),
        prompt_ids=choice.prompt_token_ids or answer.prompt_token_ids or (),
    )


def _standing(priority: int) -> dict[str, str]:
    """What says that a round asks, and which client of it; a user says nothing."""
    return {} if priority == USERS else {PRIORITY: str(priority), CLIENT: secrets.token_hex(8)}


def _authorization(variable: str | None) -> dict[str, str]:
    if variable is None:
        return {}
    if variable not in os.environ:
        raise BadInput(f"{variable}: not set. Export the key of the model server in it, or leave api_key_env out.")
    return bearer(os.environ[variable])
