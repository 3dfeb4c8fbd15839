"""A small OpenAI-compatible server on transformers, for machines where vLLM is not installed.

`python -m selftaught.serving.engines.transformers_server --model FOLDER --served-model-name NAME... --port P`: the
arguments, endpoints and answers of vLLM's server, as far as the platform uses them (chats and token ids continued,
with n, temperature, stop and token ids; log-probabilities of prompts and of named next tokens, not of answers; tokens
of texts; of a model with a value head, values; of a process reward model, the classes of tokens). Requests with equal
settings that wait together are generated as one batch. A request alone decides how its tokens are drawn, as with vLLM
under our flags: nothing of the model's own generation_config counts but where its answers end. A wrong request is
answered with a status, and the next one is served. `transformers serve` is not used because it refuses `n` and
`logprobs`, and its continuous batching samples every request at the temperature of the first. No streaming, and
slower than vLLM.
"""

import argparse
import json
import math
import os
import signal
import threading
import time
from collections import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self, cast

from selftaught.core.loopback import KEY, OPEN, refusal, token
from selftaught.records import for_template
from selftaught.serving.engines.precision import on_cpu
from selftaught.serving.process_reward import classes_of, loader
from selftaught.serving.weight_check import logprobs_of, process_reward, values
from selftaught.state.weights import prove_loaded

Json = dict[str, Any]
MOST_CHOICES = 16_384
"""Choices of one request at most, as with vLLM."""
MOST_STOPS = 4
"""Stop strings of one request at most, as with vLLM."""
TOKENS_AT_ONCE = 8192
"""Tokens of prompts that are valued together at most, padding included: they decide how much memory that takes."""
LONGEST_BODY = 32 * 1024 * 1024
"""Bytes of a request's body at most."""


class RefusedError(Exception):
    """A request that the model cannot answer: a status and these words."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


class Settings(NamedTuple):
    """What requests have to share to be generated together."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int
    stop: tuple[str, ...]
    keep_stop: bool

    @classmethod
    def of(cls, body: Json) -> Self:
        """What a request's body asks for; null is what is not said. Raises RefusedError for what cannot be done."""
        return cls(
            _number(body, "temperature", 1.0, 0, 100),
            _number(body, "top_p", 1.0, 1e-6, 1),
            _integer(body, "top_k", 0, 0, 2**31),
            _number(body, "min_p", 0.0, 0, 1),
            _integer(body, "max_tokens", 256, 1, 2**31),
            _stops(body),
            bool(body.get("include_stop_str_in_output")),
        )


def _number(body: Json, name: str, default: float, least: float, most: float) -> float:
    value = default if body.get(name) is None else body[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise RefusedError(f"{name}: {str(value)[:100]} is not a number from {least:g} to {most:g}")
    return value


def _integer(body: Json, name: str, default: int, least: int, most: int) -> int:
    value = _number(body, name, default, least, most)
    if value != int(value):
        raise RefusedError(f"{name}: {value} is not an integer")
    return int(value)


def _stops(body: Json) -> tuple[str, ...]:
    given = body.get("stop") or ()
    stops = (given,) if isinstance(given, str) else given
    if not isinstance(stops, list | tuple) or not all(isinstance(s, str) and s for s in cast(list[Any], stops)):
        raise RefusedError("stop: it has to be a text or a list of texts, none of them empty")
    if len(cast(list[Any], stops)) > MOST_STOPS:
        raise RefusedError(f"stop: {len(cast(list[Any], stops))} texts, at most {MOST_STOPS} are taken")
    return tuple(cast(list[str], stops))


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, asked for `n` times."""

    prompt: list[int]
    n: int
    settings: Settings
    answer: Future[list[Json]] = field(default_factory=Future[list[Json]])


class Generator:
    """The model, and what it generates: a batch of requests with equal settings, `batch` sequences at once."""

    def __init__(self, folder: Path, context: int, batch: int, seed: int, dtype: str = "auto") -> None:
        import transformers

        auto = cast(Any, transformers)
        auto.set_seed(seed)
        self.context, self.batch = context, batch
        self.tokenizer = auto.AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = auto.AutoModelForCausalLM.from_pretrained(folder, dtype=on_cpu(dtype)).eval()
        self._ends = _ends(self.tokenizer.eos_token_id) | _ends(self.model.generation_config.eos_token_id)
        if self.tokenizer.pad_token_id is None:  # what pads is masked, so any token will do
            self.tokenizer.pad_token_id = min(self._ends, default=0)
        # transformers takes from here whatever a request leaves open.
        self.model.generation_config = auto.GenerationConfig()

    def check(self, request: Request) -> None:
        """Raise RefusedError for a request that the model cannot answer."""
        check_request(request, _tokens_of(self.model), self.context)

    def taken(self, waiting: Sequence[Request]) -> list[Request]:
        """The oldest of `waiting` and those with equal settings, up to the batch size."""
        first, taken, sequences = waiting[0], list[Request](), 0
        for request in [r for r in waiting if r.settings == first.settings]:
            if taken and sequences + request.n > self.batch:
                break
            taken.append(request)
            sequences += request.n
        return taken

    def generate(self, batch: Sequence[Request]) -> list[list[Json]]:
        """The choices that answer each request of `batch`, whose settings are equal."""
        import torch
        from transformers import GenerationConfig

        settings = batch[0].settings
        config = GenerationConfig(
            **self._drawing(settings),
            max_new_tokens=settings.max_tokens,
            stop_strings=list(settings.stop) or None,
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        prompts = [request.prompt for request in batch for _ in range(request.n)]
        answers: list[list[int]] = []
        for begin in range(0, len(prompts), self.batch):
            some = [{"input_ids": prompt} for prompt in prompts[begin : begin + self.batch]]
            inputs = self.tokenizer.pad(some, return_tensors="pt").to(self.model.device)
            with torch.inference_mode():
                output = self.model.generate(**inputs, generation_config=config, tokenizer=self.tokenizer)
            answers += output[:, inputs["input_ids"].shape[1] :].tolist()
        left = iter(answers)
        return [[self._choice(i, next(left), settings) for i in range(request.n)] for request in batch]

    def _drawing(self, settings: Settings) -> Json:
        """How tokens are drawn: greedily at temperature 0, else as the request says."""
        if settings.temperature == 0:
            return {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
        chosen = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
        return {"do_sample": True, "min_p": settings.min_p or None, **chosen}

    def _choice(self, index: int, tokens: list[int], settings: Settings) -> Json:
        """One answer, cut after its end-of-text token, and at the first stop string (after it with `keep_stop`)."""
        length = next((i + 1 for i, token in enumerate(tokens) if token in self._ends), len(tokens))
        text = self.tokenizer.decode(tokens[:length], skip_special_tokens=True)
        begin, found = min(
            ((text.find(stop), stop) for stop in settings.stop if stop in text), default=(len(text), None)
        )
        text = text[: begin + (len(found) if found and settings.keep_stop else 0)]
        length = self._reaching(tokens[:length], begin + len(found)) if found else length
        return {
            "index": index,
            "message": {"role": "assistant", "content": text},
            "text": text,
            "token_ids": tokens[:length],
            "logprobs": {"tokens": [self.tokenizer.decode([token]) for token in tokens[:length]]},
            "finish_reason": "stop" if found or tokens[length - 1] in self._ends else "length",
            "stop_reason": found,
        }

    def _reaching(self, tokens: list[int], characters: int) -> int:
        """How many of `tokens` it takes to say so many characters."""
        said = (len(self.tokenizer.decode(tokens[:n], skip_special_tokens=True)) for n in range(1, len(tokens) + 1))
        return next((n for n, length in enumerate(said, 1) if length >= characters), len(tokens))


class Queue(Generator):
    """A generator with a thread that answers what is asked of it, batch after batch."""

    def __init__(self, folder: Path, context: int, batch: int, seed: int, dtype: str = "auto") -> None:
        super().__init__(folder, context, batch, seed, dtype)
        self._waiting: list[Request] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, request: Request) -> list[Json]:
        """The choices that answer `request`, once its batch is done."""
        self.check(request)
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()
        return request.answer.result()

    def _work(self) -> None:
        while True:
            batch = self._take()
            try:
                for request, choices in zip(batch, self.generate(batch), strict=True):
                    request.answer.set_result(choices)
            # Whatever it is (out of memory and the like), it is this batch's: nobody else would answer the next.
            except Exception as error:  # noqa: BLE001
                for request in batch:
                    request.answer.set_exception(error)

    def _take(self) -> list[Request]:
        """What is generated next, once there is something."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            time.sleep(0.02)  # requests that were sent together arrive within this
            taken = self.taken(self._waiting)
            self._waiting = [r for r in self._waiting if r not in taken]
            return taken


def _ends(tokens: int | Sequence[int] | None) -> set[int]:
    return set() if tokens is None else {tokens} if isinstance(tokens, int) else set(tokens)


def _one_of(prompt: object) -> object:
    """The prompt of a batch of one, as some clients send it."""
    match prompt:
        case [str() | list()]:
            return cast(list[object], prompt)[0]
        case _:
            return prompt


def _several(prompt: object) -> list[object]:
    """The prompts of a request for several; token ids of one are a prompt."""
    several = cast(list[object], prompt) if isinstance(prompt, list) else []
    return several if several and isinstance(several[0], str | list) else [prompt]


def next_logprobs(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
    """The log-probability (nats) of each token of the vocabulary after each of `prompts`."""
    import torch

    with torch.inference_mode():
        logits = [model(torch.tensor([ids], device=model.device), logits_to_keep=1).logits[0, -1] for ids in prompts]
        return [each.float().log_softmax(-1).tolist() for each in logits]


def check_request(request: Request, known: range, context: int) -> None:
    """Raise RefusedError for a request that a model with the tokens `known` and that context cannot answer."""
    _check_tokens(request.prompt, known)
    if request.settings.temperature == 0 and request.n > 1:
        raise RefusedError(f"n must be 1 when using greedy sampling, got {request.n}")  # vLLM's words
    if len(request.prompt) + request.settings.max_tokens > context:
        raise RefusedError(
            f"the prompt's {len(request.prompt)} tokens and {request.settings.max_tokens} new ones are more than "
            f"the maximum context length of {context}"
        )


def _tokens_of(model: Any) -> range:
    """The token ids that `model` knows."""
    return range(model.get_input_embeddings().num_embeddings)


def _check_tokens(ids: object, known: range) -> None:
    """Raise RefusedError for what are no token ids of those `known`, or none at all."""
    if not isinstance(ids, list) or not ids or not all(type(i) is int and i in known for i in cast(list[Any], ids)):
        raise RefusedError(f"prompt: it has to be a text or token ids from 0 to {known[-1]}, and not empty")


class Texts:
    """What a model that writes answers; `name` is the one that answers carry."""

    def __init__(self, name: str, generator: Queue) -> None:
        self._name, self._generator = name, generator
        self.answers = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completions,
            "/tokenize": self._tokenize,
        }

    def _tokenize(self, body: Json) -> Json:
        return _tokenized(self._generator.tokenizer, self._generator.context, body)

    def _chat(self, body: Json) -> Json:
        return self._generated(rendered(self._generator.tokenizer, body, answering=True), body)

    def _completions(self, body: Json) -> Json:
        """How a text or token ids continue, or where it is asked for, how likely they or named next tokens are."""
        if body.get("logprob_token_ids") is not None:
            return self._next(body)
        ids = self._ids(_one_of(body.get("prompt")))
        if body.get("prompt_logprobs") is None:
            return self._generated(ids, body)
        given = logprobs_of(self._generator.model, ids)
        rows = [{str(token): {"logprob": logprob}} for token, logprob in zip(ids[1:], given, strict=True)]
        return self._answer([{"index": 0, "text": "", "prompt_logprobs": [None, *rows]}], len(ids), 0)

    def _next(self, body: Json) -> Json:
        """How likely each token of `logprob_token_ids` is after each prompt of `prompt`; none is drawn."""
        model, named = self._generator.model, cast(list[int], body["logprob_token_ids"])
        _check_tokens(named, _tokens_of(model))
        prompts = [self._ids(prompt) for prompt in _several(body.get("prompt"))]
        _check_lengths(prompts, self._generator.context)
        given = [{f"token_id:{token}": row[token] for token in named} for row in next_logprobs(model, prompts)]
        choices: list[Json] = [
            {"index": index, "text": "", "finish_reason": "length", "logprobs": {"top_logprobs": [each]}}
            for index, each in enumerate(given)
        ]
        return self._answer(choices, sum(map(len, prompts)), 0)

    def _ids(self, prompt: object) -> list[int]:
        ids = self._generator.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        _check_tokens(ids, _tokens_of(self._generator.model))
        return cast(list[int], ids)

    def _generated(self, prompt: list[int], body: Json) -> Json:
        n = _integer(body, "n", 1, 1, MOST_CHOICES)
        choices = self._generator.ask(Request(prompt, n, Settings.of(body)))
        new = sum(len(choice["token_ids"]) for choice in choices)
        return self._answer(choices, len(prompt), new) | {"prompt_token_ids": prompt}

    def _answer(self, choices: list[Json], prompt: int, completion: int) -> Json:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return {"model": self._name, "choices": choices, "usage": usage}


def rendered(tokenizer: Any, body: Json, answering: bool) -> list[int]:
    """The tokens of a body's messages by the model's chat template, and where it is `answering`, of an answer begun."""
    from jinja2 import TemplateError

    messages, more = body.get("messages"), cast(Json, body.get("chat_template_kwargs") or {})
    if not messages or not isinstance(messages, list) or not all(map(_is_message, cast(list[Any], messages))):
        raise RefusedError("messages: it has to be a list of messages with a role and a text, and not empty")
    if not isinstance(cast(object, more), dict) or more.keys() & {"chat_template", "tokenize", "return_dict"}:
        raise RefusedError("chat_template_kwargs: it has to be a mapping of the template's own variables")
    asked = {"add_generation_prompt": answering, **more, "return_dict": True}
    try:
        rows = [for_template(each) for each in cast(list[Json], messages)]
        return tokenizer.apply_chat_template(rows, **asked)["input_ids"]
    except (LookupError, TemplateError, TypeError, ValueError) as error:
        raise RefusedError(f"messages: the chat template cannot render them ({str(error)[:200]})") from None


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(cast(Json, value).get(key), str) for key in ("role", "content"))


class Values:
    """What a model with a value head answers: the value of each prompt, read at its last token. Batch after batch.

    In one thread of its own: in those of the connections, the memory that one has used is kept from all others.
    """

    def __init__(self, name: str, folder: Path, context: int, batch: int, dtype: str) -> None:
        import transformers

        kind = cast(Any, transformers).AutoModelForSequenceClassification
        self._name, self._context, self._batch = name, context, batch
        self._model = kind.from_pretrained(folder, dtype=on_cpu(dtype)).eval()
        self._one_thread = ThreadPoolExecutor(1)
        self.answers = {"/classify": self._classify}

    def _classify(self, body: Json) -> Json:
        inputs = _inputs(body, self._model, self._context)
        given = self._one_thread.submit(self._all, inputs).result()
        _check_numbers(given)
        data = [{"index": index, "probs": [value], "num_classes": 1} for index, value in enumerate(given)]
        return {"model": self._name, "data": data, "usage": _read_only(inputs)}

    def _all(self, inputs: list[list[int]]) -> list[float]:
        at_once = max(1, min(self._batch, TOKENS_AT_ONCE // max(map(len, inputs))))
        return [value for i in range(0, len(inputs), at_once) for value in self._values(inputs[i : i + at_once])]

    def _values(self, inputs: list[list[int]]) -> list[float]:
        import torch

        longest = max(map(len, inputs))
        ids = torch.tensor([[*each, *[0] * (longest - len(each))] for each in inputs])
        mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in inputs])
        last = torch.tensor([len(each) - 1 for each in inputs])
        with torch.inference_mode():
            backbone = getattr(self._model, self._model.base_model_prefix)
            hidden = backbone(ids, attention_mask=mask, use_cache=False).last_hidden_state
            return self._model.score(hidden[torch.arange(len(inputs)), last])[:, 0].float().tolist()


class Rewards:
    """What a process reward model answers: tokens of a chat or a text, and the classes at each token. One by one."""

    def __init__(self, name: str, folder: Path, context: int, dtype: str) -> None:
        import transformers

        self._name, self._context = name, context
        self._tokenizer = cast(Any, transformers).AutoTokenizer.from_pretrained(folder)
        self._model = loader(folder).from_pretrained(folder, dtype=on_cpu(dtype)).eval()
        self._one_thread = ThreadPoolExecutor(1)
        self.answers = {
            "/tokenize": self._tokenize,
            "/pooling": self._pool,
        }

    def _tokenize(self, body: Json) -> Json:
        return _tokenized(self._tokenizer, self._context, body)

    def _pool(self, body: Json) -> Json:
        inputs = _inputs(body, self._model, self._context)
        given = self._one_thread.submit(lambda: [classes_of(self._model, ids) for ids in inputs]).result()
        _check_numbers(number for rows in given for row in rows for number in row)
        data = [{"index": index, "object": "pooling", "data": rows} for index, rows in enumerate(given)]
        return {"model": self._name, "data": data, "usage": _read_only(inputs)}


def _tokenized(tokenizer: Any, context: int, body: Json) -> Json:
    """The tokens of a body's text or chat."""
    if isinstance(text := body.get("prompt"), str):
        tokens = tokenizer(text, add_special_tokens=body.get("add_special_tokens", True))["input_ids"]
    else:
        tokens = rendered(tokenizer, body, answering=body.get("add_generation_prompt", True))
    return {"count": len(tokens), "max_model_len": context, "tokens": tokens}


def _inputs(body: Json, model: Any, context: int) -> list[list[int]]:
    """The prompts of a body, as token ids. Raises RefusedError for what are none, and for too long ones."""
    inputs = cast(list[list[int]], body.get("input"))
    if not isinstance(cast(object, inputs), list) or not 0 < len(inputs) <= MOST_CHOICES:
        raise RefusedError(f"input: it has to be a list of 1 to {MOST_CHOICES} prompts")
    for ids in inputs:
        _check_tokens(ids, _tokens_of(model))
    _check_lengths(inputs, context)
    return inputs


def _check_lengths(inputs: Sequence[Sequence[int]], context: int) -> None:
    if longest := [ids for ids in inputs if len(ids) > context]:
        raise RefusedError(f"{len(longest[0])} tokens are more than the maximum context length of {context}")


def _check_numbers(given: Iterable[float]) -> None:
    if not all(map(math.isfinite, given)):
        raise RefusedError("Out of range float values are not JSON compliant")  # vLLM's words


def _read_only(inputs: Sequence[Sequence[int]]) -> Json:
    """The usage of a request that generates nothing."""
    tokens = sum(map(len, inputs))
    return {"prompt_tokens": tokens, "total_tokens": tokens}


class Server(ThreadingHTTPServer):
    """The HTTP side: `names` are the model's names, `answers` what its paths answer."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], names: Sequence[str], answers: Mapping[str, Callable[[Json], Json]]
    ) -> None:
        self.names, self.answers, self.key = names, answers, os.environ.get(KEY, "")
        self._asked, self._changed = 0, threading.Condition()
        super().__init__(address, Handler)

    @contextmanager
    def answering(self) -> abc.Generator[None]:
        """A request is being answered."""
        with self._changed:
            self._asked += 1
        try:
            yield
        finally:
            with self._changed:
                self._asked -= 1
                self._changed.notify_all()

    def serve_until_ended(self) -> None:
        """Serve until SIGTERM, and end when all that was asked is answered.

        The first process of a container ends on no signal that it does not handle.
        """

        def end(number: int, frame: FrameType | None) -> None:
            threading.Thread(target=self.shutdown).start()  # it waits for the loop that this interrupts

        signal.signal(signal.SIGTERM, end)
        self.serve_forever()
        self.socket.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._asked)

    def models(self) -> Json:
        """What /v1/models answers."""
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.names]}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = 60
    """Seconds that a client may be silent in mid-request before its thread is given up."""

    def do_GET(self) -> None:
        """/v1/models and /health."""
        if self.path != OPEN and self._refused():
            return
        if self.path in ("/v1/models", "/health"):
            self._reply(200, self.server.models())
        else:
            self._error(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        """What the model answers, for the served names only."""
        with self.server.answering():
            self._post()

    def _post(self) -> None:
        if self._refused():
            return
        try:
            self._reply(200, self._answer(self._body()))
        except RefusedError as refused:
            self._error(refused.status, str(refused))
        except OSError:  # whoever asked is gone, or fell silent
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 (what torch and transformers raise is this request's, not the server's)
            self._error(500, f"{type(error).__name__}: {str(error)[:500]}")

    def _body(self) -> Json:
        """The request's body. Raises RefusedError for what is not a JSON object, or says that it is none."""
        length = self.headers["Content-Length"] or ""
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            self.close_connection = True  # where the next request begins is not known
            raise RefusedError(f"Content-Length: {length[:20]!r} is not a length from 0 to {LONGEST_BODY}", 413)
        content = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/json":  # what any web page may send without being asked
            raise RefusedError(f"Content-Type: {self.headers.get_content_type()[:50]} is not application/json", 415)
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"the body is not JSON: {str(error)[:200]}") from None
        if not isinstance(body, dict):
            raise RefusedError("the body is not a JSON object")
        return cast(Json, body)

    def _answer(self, body: Json) -> Json:
        answers, model = self.server.answers, body.get("model")
        if self.path not in answers or model not in self.server.names:
            named = ", ".join(self.server.names)
            raise RefusedError(f"no {str(model)[:100]!r} at {self.path[:100]}; served: {named}", 404)
        return answers[self.path](body)

    def _refused(self) -> bool:
        """Whether the request has been refused; then the connection ends, its body unread."""
        shown = token(self.headers.get("Authorization", ""))
        refused = refusal(self.headers.get("Host", ""), shown, self.server.key) if self.server.key else None
        if refused is not None:
            self.close_connection = True
            self._error(*refused)
        return refused is not None

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def _error(self, status: int, message: str) -> None:
        self._reply(status, {"error": {"message": message, "code": status}})

    def _reply(self, status: int, answer: Mapping[str, Any]) -> None:
        content = json.dumps(answer, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:  # or a client sends its next request into an end
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--served-model-name", nargs="+", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=int, default=1024)
    parser.add_argument("--max-num-seqs", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    prove_loaded(options.model)
    name, sizes = options.served_model_name[0], (options.max_model_len, options.max_num_seqs)
    if process_reward(options.model):
        answers = Rewards(name, options.model, options.max_model_len, options.dtype).answers
    elif values(options.model):
        answers = Values(name, options.model, *sizes, options.dtype).answers
    else:
        answers = Texts(name, Queue(options.model, *sizes, options.seed, options.dtype)).answers
    Server((options.host, options.port), options.served_model_name, answers).serve_until_ended()


if __name__ == "__main__":
    main()
