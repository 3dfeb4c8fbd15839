"""A small OpenAI-compatible server on transformers, for machines where vLLM is not installed.

`python -m selftaught.serving.transformers_serve --model FOLDER --served-model-name NAME... --port P`: the arguments,
endpoints and answers of vLLM's server, as far as the platform uses them (chats and token ids gone on with, with n,
temperature, stop and token ids; log-probabilities of prompts, not of answers; of a model with a value head, values).
Requests with equal settings that wait together are generated as one batch. `transformers serve` is not used because it
refuses `n` and `logprobs`, and its continuous batching samples every request at the temperature of the first. No
streaming, and slower than vLLM.
"""

import argparse
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from selftaught.serving.freshness import logprobs_of, values

Json = dict[str, Any]
FAILURES = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What torch and transformers raise on a request that they cannot do: it is answered, and the server goes on."""


class RefusedError(Exception):
    """A request that the model cannot answer: status 400 and these words."""


class Settings(NamedTuple):
    """What requests have to share to be generated together."""

    temperature: float
    max_tokens: int
    stop: tuple[str, ...]
    keep_stop: bool

    @classmethod
    def of(cls, body: Json) -> Self:
        """What a request's body asks for; null is what is not said. Raises RefusedError for what cannot be done."""
        stop = body.get("stop") or ()
        return cls(
            _number(body, "temperature", 1.0, least=0),
            int(_number(body, "max_tokens", 256, least=1)),
            (stop,) if isinstance(stop, str) else tuple(stop),
            bool(body.get("include_stop_str_in_output")),
        )


def _number(body: Json, name: str, default: float, least: float) -> float:
    told = default if body.get(name) is None else body[name]
    if not isinstance(told, int | float) or told < least:
        raise RefusedError(f"{name}: {told!r} is not a number of at least {least}")
    return told


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, asked for `n` times."""

    prompt: list[int]
    n: int
    settings: Settings
    answer: Future[list[Json]] = field(default_factory=Future[list[Json]])


class Generator:
    """The model, and a thread that generates what is asked of it, batch after batch (at most `batch` sequences)."""

    def __init__(self, folder: Path, context: int, batch: int, seed: int) -> None:
        import transformers

        auto = cast(Any, transformers)
        auto.set_seed(seed)
        self.context, self._batch = context, batch
        self.tokenizer = auto.AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.tokenizer.pad_token_id = self.tokenizer.pad_token_id or self.tokenizer.eos_token_id
        self.model = auto.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        self._waiting: list[Request] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, request: Request) -> list[Json]:
        """The choices that answer `request`, once its batch is done."""
        if len(request.prompt) + request.settings.max_tokens > self.context:
            raise RefusedError(
                f"the prompt's {len(request.prompt)} tokens and {request.settings.max_tokens} new ones are more than "
                f"the maximum context length of {self.context}"
            )
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()
        return request.answer.result()

    def _work(self) -> None:
        while True:
            batch = self._take()
            try:
                for request, choices in zip(batch, self._generate(batch), strict=True):
                    request.answer.set_result(choices)
            except FAILURES as error:  # out of memory and the like: this batch's, not the server's
                for request in batch:
                    request.answer.set_exception(error)

    def _take(self) -> list[Request]:
        """The oldest request and those that wait with equal settings, up to the batch size."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            time.sleep(0.02)  # requests that were sent together arrive within this
            first, taken, sequences = self._waiting[0], list[Request](), 0
            for request in [r for r in self._waiting if r.settings == first.settings]:
                if taken and sequences + request.n > self._batch:
                    break
                taken.append(request)
                sequences += request.n
            self._waiting = [r for r in self._waiting if r not in taken]
            return taken

    def _generate(self, batch: Sequence[Request]) -> list[list[Json]]:
        import torch
        from transformers import GenerationConfig

        settings = batch[0].settings
        prompts = [{"input_ids": request.prompt} for request in batch for _ in range(request.n)]
        inputs = self.tokenizer.pad(prompts, return_tensors="pt")
        config = GenerationConfig(
            do_sample=settings.temperature > 0,
            temperature=settings.temperature or None,
            top_k=0,
            max_new_tokens=settings.max_tokens,
            stop_strings=list(settings.stop) or None,
            eos_token_id=self.model.generation_config.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            output = self.model.generate(**inputs, generation_config=config, tokenizer=self.tokenizer)
        answers = iter(output[:, inputs["input_ids"].shape[1] :].tolist())
        return [[self._choice(i, next(answers), settings) for i in range(request.n)] for request in batch]

    def _choice(self, index: int, tokens: list[int], settings: Settings) -> Json:
        """One answer, cut after its end-of-text token, and at the first stop string (after it with `keep_stop`)."""
        ends = self.model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends)
        length = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
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
            "finish_reason": "stop" if found or tokens[length - 1] in ends else "length",
            "stop_reason": found,
        }

    def _reaching(self, tokens: list[int], characters: int) -> int:
        """How many of `tokens` it takes to say so many characters."""
        said = (len(self.tokenizer.decode(tokens[:n], skip_special_tokens=True)) for n in range(1, len(tokens) + 1))
        return next((n for n, length in enumerate(said, 1) if length >= characters), len(tokens))


class Texts:
    """What a model that writes answers; `name` is the one that answers carry."""

    def __init__(self, name: str, generator: Generator) -> None:
        self._name, self._generator = name, generator
        self.answers = {"/v1/chat/completions": self._chat, "/v1/completions": self._completions}

    def _chat(self, body: Json) -> Json:
        if not body.get("messages"):
            raise RefusedError("messages: there are none")
        encoded = self._generator.tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_dict=True
        )
        return self._generated(encoded["input_ids"], body)

    def _completions(self, body: Json) -> Json:
        """How a text or token ids go on, or where it is asked for, how likely they are."""
        ids = self._ids(body.get("prompt"))
        if body.get("prompt_logprobs") is None:
            return self._generated(ids, body)
        given = logprobs_of(self._generator.model, ids)
        rows = [{str(token): {"logprob": logprob}} for token, logprob in zip(ids[1:], given, strict=True)]
        return self._answer([{"index": 0, "text": "", "prompt_logprobs": [None, *rows]}], len(ids), 0)

    def _ids(self, prompt: object) -> list[int]:
        ids = self._generator.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        if not isinstance(ids, list) or not ids or not all(isinstance(token, int) for token in cast(list[Any], ids)):
            raise RefusedError("prompt: it has to be a text or a list of token ids, and not empty")
        return cast(list[int], ids)

    def _generated(self, prompt: list[int], body: Json) -> Json:
        choices = self._generator.ask(Request(prompt, int(_number(body, "n", 1, least=1)), Settings.of(body)))
        new = sum(len(choice["token_ids"]) for choice in choices)
        return self._answer(choices, len(prompt), new) | {"prompt_token_ids": prompt}

    def _answer(self, choices: list[Json], prompt: int, completion: int) -> Json:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return {"model": self._name, "choices": choices, "usage": usage}


class Values:
    """What a model with a value head answers: the value of each prompt, read at its last token. Batch after batch."""

    def __init__(self, name: str, folder: Path, context: int) -> None:
        import transformers

        kind = cast(Any, transformers).AutoModelForSequenceClassification
        self._name, self._context = name, context
        self._model = kind.from_pretrained(folder, dtype="auto").eval()
        self._one_at_a_time = threading.Lock()
        self.answers = {"/classify": self._classify}

    def _classify(self, body: Json) -> Json:
        inputs: list[list[int]] = body["input"]
        if longest := [ids for ids in inputs if len(ids) > self._context]:
            raise RefusedError(f"{len(longest[0])} tokens are more than the maximum context length of {self._context}")
        with self._one_at_a_time:
            given = self._values(inputs)
        if not all(map(math.isfinite, given)):
            raise RefusedError("Out of range float values are not JSON compliant")  # vLLM's words
        data = [{"index": index, "probs": [value], "num_classes": 1} for index, value in enumerate(given)]
        tokens = sum(map(len, inputs))
        return {"model": self._name, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

    def _values(self, inputs: list[list[int]]) -> list[float]:
        import torch

        longest = max(map(len, inputs))
        ids = torch.tensor([[*each, *[0] * (longest - len(each))] for each in inputs])
        mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in inputs])
        last = torch.tensor([len(each) - 1 for each in inputs])
        with torch.inference_mode():
            backbone = getattr(self._model, self._model.base_model_prefix)
            hidden = backbone(ids, attention_mask=mask).last_hidden_state
            return self._model.score(hidden[torch.arange(len(inputs)), last])[:, 0].float().tolist()


class Server(ThreadingHTTPServer):
    """The HTTP side: `names` are the model's names, `answers` what its paths answer."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], names: Sequence[str], answers: Mapping[str, Callable[[Json], Json]]
    ) -> None:
        self.names, self.answers = names, answers
        super().__init__(address, Handler)

    def models(self) -> Json:
        """What /v1/models answers."""
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.names]}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """/v1/models and /health."""
        if self.path in ("/v1/models", "/health"):
            self._reply(200, self.server.models())
        else:
            self._error(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        """What the model answers, for the served names only."""
        try:
            body: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        except ValueError as error:
            return self._error(400, f"the body is no JSON: {error}")
        answers = self.server.answers
        if self.path not in answers or body.get("model") not in self.server.names:
            return self._error(404, f"no {body.get('model')!r} at {self.path}; served: {', '.join(self.server.names)}")
        try:
            self._reply(200, answers[self.path](body))
        except RefusedError as error:
            self._error(400, str(error))
        except FAILURES as error:
            self._error(500, str(error))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def _error(self, status: int, message: str) -> None:
        self._reply(status, {"error": {"message": message, "code": status}})

    def _reply(self, status: int, answer: Mapping[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--served-model-name", nargs="+", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=int, default=1024)
    parser.add_argument("--max-num-seqs", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    name = options.served_model_name[0]
    if values(options.model):
        answers = Values(name, options.model, options.max_model_len).answers
    else:
        seeded = (options.max_model_len, options.max_num_seqs, options.seed)
        answers = Texts(name, Generator(options.model, *seeded)).answers
    Server((options.host, options.port), options.served_model_name, answers).serve_forever()


if __name__ == "__main__":
    main()
