"""A simulated engine: answers as vLLM does, over real HTTP, what a model of a known skill would say of a word problem.

`skill` in the model's config.json is the part of the problems that it gets right. What is said follows from the
question, the number of the sample and the skill alone, so two runs hear the same. Log-probabilities of prompts are the
ones that the trainer put into the store beside the model. Asked whether something is right or wrong, it says either.
RECORDED_REQUESTS names a file that every chat request is
noted in, one JSON object a line; RECORDED_SECONDS is how long an answer takes, one after the other. With
RECORDED_CALCULATIONS its answers show one.

It is polite unless RECORDED_FAULTS says otherwise: a JSON object with the questions that meet each fault, or the share
of them, and which these are then follows from the question. `length` and `abort` break the first sample off and say so,
`silent` gives it no finish reason at all, `fewer` leaves one sample out, `late` takes a second longer, `refused` is
status 400, `broken` 500.

RECORDED_DEATH names a file that need not be there, of a word a line: an engine that has answered two questions takes a
line away and dies of what it says. `kill` is a SIGKILL before the answer, `stream` one in the middle of it, `cut` the
same of an answer whose length was not given, `session` takes its launcher too, `error` is status 500 for everything and
everybody, and the end a little later, as vLLM dies whose engine's process was killed for its memory.
"""

import argparse
import hashlib
import json
import math
import os
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from selftaught.tasks.sources.word_templates import HELD_OUT, TRAINED, Template

DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
"""What vLLM answers everybody whose engine has died."""
PROGRAM = "Python program"
"""Who asks for one gets a program that prints the answer."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", nargs="+", required=True)
    given, _ = parser.parse_known_args()
    Server((given.host, given.port), given.model, given.served_model_name).serve_forever()


def question(messages: list) -> str:
    """The last message of a chat, or of the last of several."""
    last = messages[-1]
    return question(last) if isinstance(last, list) else last["content"]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2048  # uvicorn's; of more than socketserver's 5 at once, clients try again seconds later

    def __init__(self, address: tuple[str, int], model: Path, names: list[str]) -> None:
        super().__init__(address, Handler)
        self.names = names
        self.skill = float(json.loads((model / "config.json").read_text())["skill"])
        reference = model.parent.parent / "claims" / "references" / model.name
        if reference.exists():
            prompts = json.loads(reference.read_text())["prompts"]
        else:  # the store is not a folder here: computed as the platform does
            from selftaught.serving.weight_check import reference_logprobs

            prompts = json.loads(reference_logprobs(model).model_dump_json())["prompts"]
        self.reference = {tuple(p["token_ids"]): p["logprobs"] for p in prompts}
        self.turn = threading.Lock()
        self.asked, self.dying = 0, False


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.dying:
            self.send({"error": {"message": DEAD}}, 500)
        else:
            self.send({"data": [{"id": name} for name in self.server.names]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = question(body["messages"]) if "messages" in body else ""
        if asked:
            with self.server.turn:
                self.server.asked += 1
                if self.server.asked > 2 and not self.server.dying and (manner := death()):
                    self.die(manner)
        if self.server.dying:
            self.send({"error": {"message": DEAD}}, 500)
        elif asked and (status := refusal(asked)):
            note({"model": body["model"], "question": asked, "status": status})
            self.send({"error": {"message": f"maximum context length, said of {asked}"}}, status)
        else:
            self.send({"model": body["model"], **self.answer(body)})

    def die(self, manner: str) -> None:
        """End as `manner` says, at once or soon; several requests may be waiting."""
        if manner == "error":
            self.server.dying = True
            threading.Timer(0.5, os._exit, (0,)).start()
            return
        if manner in ("stream", "cut"):
            self.send_response(200)
            self.send_header(*(("Content-Length", "1000") if manner == "stream" else ("Connection", "close")))
            self.end_headers()
            self.wfile.write(b'{"model": "half an ans')
        if manner == "session":
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def answer(self, body: dict) -> dict:
        if self.path in ("/classify", "/tokenize"):
            return self.valued(body) if self.path == "/classify" else tokens_of(body)
        if self.path == "/v1/completions":
            return self.scored(body) if "prompt_logprobs" in body else self.completed(body)
        if self.path == "/v1/chat/completions/batch":
            return self.batch(body)
        if "top_logprobs" in body:
            return self.weighed(body)
        if "include_stop_str_in_output" in body:
            return self.went_on(body, body["messages"][-1]["content"] + "\0")
        return self.said(body)

    def completed(self, body: dict) -> dict:
        text = bytes(body["prompt"]).decode()
        if "include_stop_str_in_output" in body:
            return self.went_on(body, text)
        answer = self.said(body | {"messages": [{"content": text.partition("\0")[0]}]})
        logprobs = [{"token_logprobs": [-0.25] * len(each["token_ids"])} for each in answer["choices"]]
        texts = [each["message"]["content"] for each in answer["choices"]]
        choices = zip(answer["choices"], texts, logprobs, strict=True)
        return answer | {"choices": [each | {"text": text, "logprobs": own} for each, text, own in choices]}

    def went_on(self, body: dict, text: str) -> dict:
        """The next step, or the answer after the first; a prompt's tokens end with a zero byte."""
        question, _, path = text.partition("\0")
        with self.server.turn:
            note({"model": body["model"], "question": question, "path": path, "n": body["n"]})
            time.sleep(float(os.environ.get("RECORDED_SECONDS", "0")))
        chosen = [step(question, path, i, self.server.skill, bool(body.get("stop"))) for i in range(body["n"])]
        chosen = [cut(each, body["max_tokens"]) for each in chosen]
        used = {"prompt_tokens": len(text), "completion_tokens": sum(len(each["text"]) for each in chosen)}
        return {"choices": chosen, "usage": used, "prompt_token_ids": list(text.encode())}

    def weighed(self, body: dict) -> dict:
        """True and False as first tokens, by what the solution says."""
        p = luck(body["messages"][-2]["content"])
        tops = [{"token": word, "logprob": math.log(max(q, 1e-9))} for word, q in (("True", p), ("False", 1 - p))]
        content = [{"token": "True", "logprob": tops[0]["logprob"], "top_logprobs": tops}]
        return {"choices": [{"logprobs": {"content": content}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    def batch(self, body: dict) -> dict:
        each = [self.weighed({"messages": messages})["choices"][0] for messages in body["messages"]]
        choices = [one | {"index": index} for index, one in enumerate(each)]
        return {"choices": choices, "usage": {"prompt_tokens": len(each), "completion_tokens": len(each)}}

    def valued(self, body: dict) -> dict:
        data = [{"index": i, "probs": [luck(bytes(ids).decode())]} for i, ids in enumerate(body["input"])]
        return {"data": data, "usage": {"prompt_tokens": 1}}

    def said(self, body: dict) -> dict:
        (question, later), greedy = problem(body["messages"]), body["temperature"] == 0
        samples = ("greedy" if greedy else str(index) for index in range(body["n"]))
        asked_last = body["messages"][-1]["content"]
        say = judges if "right or wrong" in asked_last else says
        texts = [say(question, sample + later, self.server.skill) for sample in samples]
        if PROGRAM in asked_last:
            texts = [f"print({text.split()[-1].removesuffix('.')})" for text in texts]
        choices = faulty(question, [choice(text, body["max_tokens"]) for text in texts])
        ends = [each["finish_reason"] for each in choices]
        with self.server.turn:
            asked = {"model": body["model"], "question": question, "n": body["n"], "temperature": body["temperature"]}
            more = {name: body[name] for name in ("chat_template_kwargs", "top_p", "top_k", "min_p") if name in body}
            note({**asked, "ends": ends, **more})
            time.sleep(float(os.environ.get("RECORDED_SECONDS", "0")) + meets("late", question))
        tokens = sum(len(each["token_ids"]) for each in choices)
        return {"choices": choices, "usage": {"prompt_tokens": len(question), "completion_tokens": tokens}}

    def scored(self, body: dict) -> dict:
        tokens = tuple(body["prompt"])
        rows = [{str(t): {"logprob": p}} for t, p in zip(tokens[1:], self.server.reference[tokens], strict=True)]
        return {"choices": [{"prompt_logprobs": [None, *rows]}], "usage": {"prompt_tokens": len(tokens)}}

    def send(self, answer: dict, status: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


def tokens_of(body: dict) -> dict:
    text = problem(body["messages"])[0] + "\0" if "messages" in body else body["prompt"]
    return {"tokens": list(text.encode())}


def note(request: dict) -> None:
    if path := os.environ.get("RECORDED_REQUESTS"):
        with open(path, "a") as file:  # noqa: PTH123 (one write a line, appended: complete even when killed)
            file.write(json.dumps(request) + "\n")


def death() -> str:
    """What this engine dies of; empty: it lives. Engines are asked one after the other in tests that kill them."""
    path = Path(os.environ.get("RECORDED_DEATH", "nothing"))
    if not path.exists():
        return ""
    manner, _, others = path.read_text().partition("\n")
    path.write_text(others)
    return manner


def meets(fault: str, question: str) -> bool:
    """Whether a request that asks `question` meets `fault`."""
    data = json.loads(os.environ.get("RECORDED_FAULTS", "{}")).get(fault, 0)
    return question in data if isinstance(data, list) else luck(f"{fault}|{question}") < data


def refusal(question: str) -> int:
    """The status of a request that is not answered; 0 for one that is."""
    return 400 if meets("refused", question) else 500 if meets("broken", question) else 0


def faulty(question: str, choices: list[dict]) -> list[dict]:
    """`choices` with what goes wrong with them; an answer that is broken off has its number and lacks its full stop."""
    first = choices[0]
    for fault, reason in (("length", "length"), ("abort", "abort"), ("silent", None)):
        if meets(fault, question):
            text = first["message"]["content"].removesuffix(".")
            first = choice(text, len(first["token_ids"])) | {"finish_reason": reason}
    return [first, *choices[1:]][: -1 if meets("fewer", question) and len(choices) > 1 else None]


def step(question: str, path: str, index: int, skill: float, stops: bool) -> dict:
    """A thought first, where steps are asked for; then an answer, which depends on the thought."""
    if stops and not path:
        text, stop = f"Thought {index} of {luck(question):.3f}\n", "\n"
    else:
        text, stop = says(question, f"{path}{index}", skill), None
    tokens = list(text.encode())
    logprobs = {"tokens": list(text), "token_logprobs": [-0.25] * len(tokens)}
    return {"text": text, "finish_reason": "stop", "stop_reason": stop, "token_ids": tokens, "logprobs": logprobs}


def cut(said: dict, most: int) -> dict:
    """`said`, broken off after so many tokens."""
    if len(said["token_ids"]) <= most:
        return said
    fields = {name: values[:most] for name, values in said["logprobs"].items()}
    cut = {"text": said["text"][:most], "token_ids": said["token_ids"][:most], "logprobs": fields}
    return said | cut | {"finish_reason": "length", "stop_reason": None}


def luck(text: str) -> float:
    """A number in [0, 1) that follows from `text`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def choice(text: str, most: int) -> dict:
    """One choice in vLLM's words, broken off after so many tokens; a byte is a token here."""
    tokens, ends = list(text.encode())[:most], "stop" if len(text.encode()) <= most else "length"
    logprobs = {"content": [{"logprob": -0.25} for _ in tokens]}
    message = {"content": bytes(tokens).decode(errors="replace")}
    return {"message": message, "finish_reason": ends, "token_ids": tokens, "logprobs": logprobs}


def judges(question: str, sample: str, skill: float) -> str:
    """A verdict, which has nothing to do with what it is on."""
    return "Right." if luck(f"{question}|{sample}|verdict") < skill else "Wrong."


def says(question: str, sample: str, skill: float) -> str:
    """Right for the part `skill` of all (question, sample); what a skill gets right, a higher skill gets right too.

    To what is no word problem, it writes one: the one that is quoted, with other numbers.
    """
    if not matches(question):
        more = 1 + int(10 * luck(f"{question}|{sample}"))
        quoted = re.search("|".join(f"(?:{unnamed(each)})" for each in (*TRAINED, *HELD_OUT)), question)
        return re.sub(r"\d+", lambda number: str(int(number[0]) + more), quoted[0]) if quoted else "Yes."
    answer = solve(question) + (luck(f"{question}|{sample}") >= skill)
    shown = f"{answer - 1} + 1 = {answer}\n" if os.environ.get("RECORDED_CALCULATIONS") else ""
    return f"{shown}The answer is {answer}."


def problem(messages: list) -> tuple[str, str]:
    """The last word problem of a conversation, and what tells a later turn on it from the first."""
    positions = [at for at, message in enumerate(messages) if matches(message["content"])]
    last = positions[-1] if positions else len(messages) - 1
    later = len(messages) - 1 - last
    return messages[last]["content"], f" after {later}" if later else ""


def solve(question: str) -> int:
    """The answer of a word problem, by its template."""
    template, match = matches(question)[0]
    return template.answer({letter: int(number) for letter, number in match.groupdict().items()})


def matches(text: str) -> list[tuple[Template, re.Match[str]]]:
    """The templates that `text` may be of."""
    found = ((template, re.match(pattern(template), text)) for template in (*TRAINED, *HELD_OUT))
    return [(template, match) for template, match in found if match]


def unnamed(template: Template) -> str:
    """As `pattern`, without names for its groups."""
    return re.sub(r"\?P<\w+>", "?:", pattern(template))


def pattern(template: Template) -> str:
    """What the template's problems look like: operands are groups, names and things any word."""
    plain, fields = re.split(r"\{\w+\}", template.text), re.findall(r"\{(\w+)\}", template.text)
    holes = [rf"(?P<{field}>\d+)" if len(field) == 1 else r"\w+" for field in fields]
    return "".join(re.escape(text) + hole for text, hole in zip(plain, [*holes, ""], strict=True))


if __name__ == "__main__":
    main()
