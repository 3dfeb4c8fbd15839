"""Invalid inputs and their error messages: every case is a command that must end with 1 (2 for its usage), say
value, location and fix without a traceback, and leave nothing behind but the registry's database and locks.

The messages are the page docs/errors.md: `python tests/test_bad_inputs.py` rewrites it, a test compares it. What
takes a running engine (killed servers, killed rounds) is in tests/e2e and tests/serving.
"""

import fcntl
import json
import os
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.cli.outcomes import ERROR, USAGE
from selftaught.core.errors import Unavailable
from selftaught.recipe import AXES, blocks
from selftaught.state.ledger import ReferenceEntry
from selftaught.state.store import open_store
from selftaught.state.weights import model_digest
from tests.registry_made import Registry, tiny_model

pytest_plugins = ["tests.registry_fixtures", "tests.s3_fixtures"]

REPOSITORY = Path(__file__).parent.parent
PAGE = REPOSITORY / "docs" / "errors.md"
RECIPE = """\
# Rejection-sampling fine-tuning, one stage of it.
#
# Yuan et al. 2023.
name: rft
description: keep what is right, and train on it
models: {policy: smollm2-135m-instruct}
tasks: {type: word_problems, train: 120, gate: 160, report: 160, guard: 48}
stages:
  - name: main
    rounds: 1
    sample: {type: iid, k: 8, temperature: 1.0, max_tokens: 96}
    verify: {type: answer_match}
    curate: {type: accepted, per_task: 4}
    train: {type: sft, role: policy, epochs: 2, learning_rate: 5.0e-5}
    evaluate:
      - {type: accuracy, greedy: true}
      - {type: pass_at_k, k: 8, tasks: 32}
    gate: {type: paired_gain, metric: accuracy, min_gain: 0.05, confidence: 0.95}
    sample_from: champion
    train_from: champion
"""
ALLOWED = re.compile(r"mlflow\.db.*|campaigns/.*/lock|store/claims/.*|engines/forkserver\.\d+\.log")
"""What a command that failed may leave in the home."""


@dataclass
class Desk:
    """Where a case is provoked: a working directory of its own, its home, its environment, and what it needs there."""

    folder: Path
    home: Path
    setenv: Callable[[str, str], None]
    fixture: Callable[[str], Any]
    stack: ExitStack
    seen: dict[str, str] = field(default_factory=dict[str, str])
    """Text of this run alone, and what the page says instead of it."""

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def registry(self) -> Registry:
        return self.fixture("registry")

    def hidden(self, text: str, shown: str) -> str:
        self.seen[text] = shown
        return text


Provoke = Callable[[Desk], None]


@dataclass(frozen=True)
class Bad:
    """One bad input: the situation in words, the command, how to provoke it, and what the message must say."""

    situation: str
    command: str
    provoke: Provoke
    says: tuple[str, ...]
    code: int = ERROR
    heading: str = ""


def provoked(*steps: Provoke) -> Provoke:
    def all_of_them(desk: Desk) -> None:
        for step in steps:
            step(desk)

    return all_of_them


def nothing(desk: Desk) -> None:
    """The command alone is the mistake."""


def files(**texts: str | bytes) -> Provoke:
    """Files in the working directory; `__` in a name stands for the dot."""

    def write(desk: Desk) -> None:
        for name, text in texts.items():
            desk.write(name.replace("__", "."), text)

    return write


def no_text(desk: Desk) -> None:
    (desk.folder / "models").mkdir()


def elsewhere(desk: Desk) -> None:
    """The working directory is no checkout."""
    (desk.folder / "pipelines").unlink()


def recipe(old: str = "", new: str = "") -> Provoke:
    """rft.yaml with `old` replaced by `new`; `old` has to stand there once."""
    assert not old or RECIPE.count(old) == 1, old
    text = RECIPE.replace(old, new) if old else RECIPE
    guarded = old != WORD_PROBLEMS or "guard: " in new
    return files(rft__yaml=text if guarded else text.replace("confidence: 0.95}", "confidence: 0.95, guard: none}"))


IID = "{type: iid, k: 8, temperature: 1.0, max_tokens: 96}"


def searching(fields: str) -> Provoke:
    """rft.yaml with a search instead of samples."""
    return recipe(IID, f"{{type: search, {fields}}}")


STILL = """\
name: still
models: {policy: tiny}
tasks: {type: word_problems, train: 1, gate: 8, report: 8}
stages:
  - sample: {type: iid, k: 1}
    verify: {type: answer_match}
    evaluate: {type: accuracy}
"""
"""A recipe that measures and trains nothing."""

WORD_PROBLEMS = "{type: word_problems, train: 120, gate: 160, report: 160, guard: 48}"


def rows(text: str | None, fields: str = "") -> Provoke:
    """A recipe whose tasks come from tasks.jsonl, with that `text` in it (None: no such file)."""
    tasks = f"{{type: jsonl, path: tasks.jsonl, train: 6, gate: 2, report: 2{fields}}}"
    return provoked(recipe(WORD_PROBLEMS, tasks), files(tasks__jsonl=text) if text is not None else nothing)


def environment(**values: str) -> Provoke:
    """Environment variables; `{folder}` in a value stands for the working directory."""

    def set_all(desk: Desk) -> None:
        for name, value in values.items():
            desk.setenv(name, value.format(folder=desk.folder))

    return set_all


def registered(desk: Desk) -> None:
    registry = desk.registry()
    for number, version in (("1", registry.first), ("2", registry.second)):
        desk.seen[version.digest[:8]] = f"<digest {number}>"


def never_promoted(desk: Desk) -> None:
    desk.registry().tracker.client.delete_registered_model_alias("maths", "previous")


PROFILES = """\
[profiles.cluster]
namespace = "team-a"
"""
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: dead
contexts: [{name: dead, context: {cluster: dead, user: nobody}}]
clusters: [{name: dead, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: nobody, user: {}}]
"""


def collecting(desk: Desk) -> None:
    """Another process collects garbage in the home."""
    desk.home.mkdir(exist_ok=True)
    fcntl.flock(desk.stack.enter_context((desk.home / "gc.lock").open("w")), fcntl.LOCK_EX)


def model(name: str, change: Callable[[Path], object]) -> Provoke:
    """A model in the working directory, with something wrong with it."""

    def make(desk: Desk) -> None:
        change(tiny_model(desk.folder / name))

    return make


def big_model(desk: Desk) -> None:
    """A model of 4 MB."""
    tiny_model(desk.folder / "tiny", tokens=2**17)


def valid_model(folder: Path) -> None:
    """The model is as it should be."""


def deeper(folder: Path) -> None:
    """The configuration asks for a layer that the weights do not have."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))


def no_numbers(folder: Path) -> None:
    """One of the weights is infinite, as a copy with a flipped bit may have it."""
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4:] = b"\x00\x00\x80\x7f"  # the last number of the file
    weights.write_bytes(content)


ENDLESS = "{% for a in range(9999) %}" * 5 + "{% endfor %}" * 5
"""A chat template that is done after years."""


def endless(folder: Path) -> None:
    """Neither the tokenizer nor the configuration names an end token."""
    tokenizer_says(folder, eos_token=None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))


def tokenizer_says(folder: Path, **fields: str | None) -> None:
    """The tokenizer's configuration says these; what is None it does not say."""
    data = json.loads((folder / "tokenizer_config.json").read_text()) | fields
    kept = {name: value for name, value in data.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


def line_taken(desk: Desk) -> None:
    lock = desk.home / "campaigns" / "rft" / "lock"
    lock.parent.mkdir(parents=True)
    file = desk.stack.enter_context(lock.open("w"))
    fcntl.flock(file, fcntl.LOCK_EX)


def port_taken(desk: Desk) -> None:
    taken = desk.stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    desk.setenv("PORT", desk.hidden(str(taken.getsockname()[1]), "8000"))


def small_disk() -> Provoke:
    """A store on a disk of 1 MiB, mounted as only root may."""

    def mount(desk: Desk) -> None:
        disk = desk.folder / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        desk.stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        desk.setenv("SELFTAUGHT_STORE", str(disk / "store"))

    return mount


def measured(desk: Desk) -> None:
    """Say that the model was loaded before, so that keeping it begins with its files."""
    digest = model_digest(desk.folder / "tiny")
    open_store(str(desk.folder / "disk" / "store")).claim(ReferenceEntry(digest).key, b"{}")


def filled(desk: Desk) -> None:
    """Leave 200 KB on the small disk."""
    (desk.folder / "disk" / "filler").write_bytes(bytes(2**20 - 200_000))


def from_the_future(desk: Desk) -> None:
    """Say that the registry's tables are of a version that nobody has made yet."""
    with closing(sqlite3.connect(desk.registry().home / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'feedfacecafe'")


def read_only(desk: Desk) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(desk.folder / "disk")], check=True)


def s3(**wrong: str) -> Provoke:
    """A store in the tests' S3 server, with some of its settings wrong."""

    def store(desk: Desk) -> None:
        server = desk.fixture("s3")
        desk.hidden(server.endpoint.removeprefix("http://"), "<host>:<port>")
        settings = {**server.environment, "SELFTAUGHT_STORE": "s3://selftaught/models", **wrong}
        environment(**settings)(desk)

    return store


PULL = "models pull tiny"
DRY = "run rft.yaml --dry-run"
VALIDATE = "recipes validate rft.yaml"


def problems(count: int, extra: str = "") -> str:
    """So many rows with questions that share no run of words."""
    words = ["apples", "boats", "coins", "drums", "eggs", "flags", "goats", "hats"]
    asked = (f"{words[n % 8]} {words[n // 8 % 8]} {words[n // 64]}" for n in range(count))
    return "".join(json.dumps({"question": text, "answer": str(n)}) + "\n" for n, text in enumerate(asked)) + extra


def alike(count: int) -> str:
    """So many rows that share thirteen words."""
    shared = "a bird that lives beside the lake eats how many of them in a day?"
    names = ["Ants", "Bees", "Carp", "Dace", "Eels", "Frogs", "Gnats"][:count]
    return "".join(json.dumps({"question": f"{name}: {shared}", "answer": "7"}) + "\n" for name in names)


CASES = [
    # The recipe as a file ---------------------------------------------------------------------------------------------
    Bad(
        "no such recipe",
        "run rtf.yaml",
        recipe(),
        ("rtf.yaml: no such recipe.", "Did you mean 'rft.yaml'?"),
        heading="Recipes",
    ),
    Bad("a folder for a recipe", "recipes validate models", no_text, ("models: ",)),
    Bad("a file without an end", "recipes validate /dev/zero", nothing, ("/dev/zero: has more than 1,000,000",)),
    Bad("a file that is not text", VALIDATE, files(rft__yaml=b"\xff\xfe\x00"), ("rft.yaml: cannot be read as text",)),
    Bad("invalid YAML", VALIDATE, recipe("name: rft", "name: [rft"), ("rft.yaml:5: not valid YAML",)),
    Bad(
        "an empty recipe", VALIDATE, files(rft__yaml="# later\n"), ("rft.yaml: ", "a mapping with name, models, tasks")
    ),
    Bad("a list", VALIDATE, files(rft__yaml="- name: rft\n"), ("a mapping with name, models, tasks", "not a list.")),
    Bad(
        "a key that is defined twice",
        VALIDATE,
        recipe("    rounds: 1\n", "    rounds: 1\n    rounds: 2\n"),
        ("rft.yaml:11: stages.0.rounds is defined twice. Remove one.",),
    ),
    Bad(
        "a value that a comment swallows",
        f"{DRY} --set 'tasks.answer_pattern=#### (.+)'",
        rows(problems(20)),
        ("--set tasks.answer_pattern=#### (.+): ", "Did # start a comment? Quote the value"),
    ),
    Bad(
        "a value that only looks like a number",
        VALIDATE,
        recipe("temperature: 1.0", "temperature: .inf"),
        ("rft.yaml:11: stages.0.sample.temperature: .inf: should be a finite number.",),
    ),
    # What a recipe says ---------------------------------------------------------------------------------------------
    Bad(
        "an unknown recipe to extend",
        VALIDATE,
        recipe("name: rft\n", "extends: fersh\nname: rft\n"),
        ("rft.yaml:4: extends: 'fersh': no such recipe. Did you mean 'fresh'?", "or a path, such as ./fersh.yaml"),
    ),
    Bad(
        "a recipe that extends itself",
        VALIDATE,
        recipe("name: rft\n", "extends: ./rft.yaml\nname: rft\n"),
        ("rft.yaml:4: extends: ./rft.yaml leads back to itself (rft.yaml → rft.yaml). Remove one.",),
    ),
    Bad(
        "an unknown stage to extend",
        VALIDATE,
        recipe("  - name: main\n", "  - extends: warmup\n  - name: main\n"),
        ("rft.yaml:9: extends: 'warmup': no such stage. Did you mean 'warm-up'?",),
    ),
    Bad(
        "an unknown profile",
        f"{VALIDATE} --profile smal",
        recipe("name: rft\n", "name: rft\nprofiles: {small: {tasks: {train: 12}}}\n"),
        ("--profile smal: no such profile of rft.yaml. Did you mean 'small'?", "accepted: small"),
    ),
    Bad(
        "a mistake in a profile",
        VALIDATE,
        recipe("name: rft\n", "name: rft\nprofiles: {small: {tasks: {trian: 12}}}\n"),
        ("rft.yaml:5: tasks.trian: no such field. Did you mean 'train'?",),
    ),
    Bad(
        "a misspelt field",
        VALIDATE,
        recipe("description:", "descripton:"),
        (
            "rft.yaml:5: descripton: no such field. Did you mean 'description'?",
            "accepted: format, extends, profiles, name, description, about, models",
        ),
    ),
    Bad(
        "no tasks",
        VALIDATE,
        recipe(f"tasks: {WORD_PROBLEMS}\n", ""),
        (
            "rft.yaml:4: tasks: is missing.",
            "accepted: functions, guess_number, huggingface, human_eval, inbox, jsonl, parquet, reasoning_gym",
        ),
    ),
    Bad(
        "an unknown block",
        VALIDATE,
        recipe("answer_match", "answer_macth"),
        (
            "rft.yaml:12: stages.main.verify.type: unknown verifier 'answer_macth'. Did you mean 'answer_match'?",
            "accepted: answer_match, ",
            "(selftaught recipes blocks verify)",
        ),
    ),
    Bad(
        "a block without a type",
        VALIDATE,
        recipe("{type: answer_match}", "{tolerance: 1.0e-6}"),
        ("rft.yaml:12: stages.main.verify: a verifier without a type.", "accepted: answer_match"),
    ),
    Bad(
        "a string instead of a block",
        VALIDATE,
        recipe("{type: answer_match}", "answer_match"),
        ("rft.yaml:12: stages.main.verify: 'answer_match': should be a verifier such as {type: answer_match}.",),
    ),
    Bad(
        "a misspelt field of a block",
        VALIDATE,
        recipe("k: 8, temperature", "k: 8, temprature"),
        (
            "rft.yaml:11: stages.main.sample.temprature: no such field. Did you mean 'temperature'?",
            "accepted: top_p, top_k, min_p, type, k, temperature, max_tokens",
        ),
    ),
    Bad(
        "a value of the wrong type",
        VALIDATE,
        recipe("k: 8, temperature", "k: eight, temperature"),
        ("rft.yaml:11: stages.main.sample.k: 'eight': should be an integer.",),
    ),
    Bad(
        "no samples",
        VALIDATE,
        recipe("k: 8, temperature", "k: 0, temperature"),
        ("rft.yaml:11: stages.main.sample.k: 0: should be greater than 0.",),
    ),
    Bad(
        "a temperature below 0",
        VALIDATE,
        recipe("temperature: 1.0", "temperature: -1"),
        ("rft.yaml:11: stages.main.sample.temperature: -1: should be greater than or equal to 0.",),
    ),
    Bad(
        "an invalid name",
        VALIDATE,
        recipe("name: rft\n", "name: My RFT\n"),
        ("rft.yaml:4: name: 'My RFT': should be lower case letters, digits and dashes",),
    ),
    Bad(
        "a value outside the choices",
        VALIDATE,
        recipe("sample_from: champion", "sample_from: chamipon"),
        ("rft.yaml:19: stages.main.sample_from: 'chamipon': should be 'base', 'head' or 'champion'.",),
    ),
    Bad(
        "eight greedy samples",
        VALIDATE,
        recipe("temperature: 1.0", "temperature: 0"),
        ("rft.yaml:11: stages.main.sample: k: 8 with temperature: 0", "set k: 1, or a temperature above 0"),
    ),
    Bad(
        "more new tokens than an engine takes",
        VALIDATE,
        recipe("max_tokens: 96", "max_tokens: 2048"),
        ("rft: stages.main.sample: 2048 new tokens a request", "context of 1024", "SELFTAUGHT_ENGINE_CONTEXT"),
    ),
    Bad(
        "a process reward model that is not configured",
        VALIDATE,
        searching("value: {type: process_reward}"),
        ("rft: stages.main: process_reward uses the reward model, and models names no such", "Add one to models"),
    ),
    Bad(
        "more stop strings than engines take",
        VALIDATE,
        recipe("max_tokens: 96", "max_tokens: 96, stop: [a, b, c, d, e]"),
        ("rft.yaml:11: stages.main.sample.stop:", "at most 4 items"),
    ),
    Bad(
        "pass@8 of four samples",
        VALIDATE,
        recipe("pass_at_k, k: 8", "pass_at_k, k: 8, n: 4"),
        ("rft.yaml:17: stages.main.evaluate.1: n: 4 samples cannot give pass@k with k: 8", "raise n to 8"),
    ),
    Bad(
        "a gate on a metric that is not evaluated",
        VALIDATE,
        recipe("metric: accuracy", "metric: maj@8"),
        ("rft.yaml:9: stages.main: gate.metric is 'maj@8', but evaluate measures accuracy, pass@8.", "Add it"),
    ),
    Bad(
        "a gate on a metric where more is not better",
        VALIDATE,
        files(rft__yaml=RECIPE.replace("pass_at_k, k: 8", "tokens").replace("metric: accuracy", "metric: tokens")),
        ("gate.metric is 'tokens', of which more is not better", "Name another of those that evaluate measures"),
    ),
    Bad(
        "a gate without a guard",
        VALIDATE,
        recipe("guard: 48", "guard: 0"),
        ("there are no guard tasks, so the gate of main cannot see", "`guard: 96` in tasks", "set `guard: none`"),
    ),
    Bad(
        "a duplicate metric",
        VALIDATE,
        recipe("{type: pass_at_k, k: 8, tasks: 32}", "{type: accuracy}"),
        ("rft.yaml:9: stages.main: evaluate lists accuracy twice.", "Keep one"),
    ),
    Bad(
        "two stages with the same name",
        VALIDATE,
        recipe("    train_from: champion\n", "    train_from: champion\n" + RECIPE[RECIPE.index("  - name: main") :]),
        ("rft.yaml:8: stages: two stages share a name (main, main).", "Name each stage once."),
    ),
    Bad(
        "no policy",
        VALIDATE,
        recipe("policy:", "teacher:"),
        ("rft.yaml:6: models: names no policy. Add `policy: <model>`.",),
    ),
    # Searches -------------------------------------------------------------------------------------------------------
    Bad(
        "an unknown block in a search",
        VALIDATE,
        searching("value: {type: value_model, before: {type: p_tru}}"),
        ("sample.value.before.type: unknown node value 'p_tru'. Did you mean 'p_true'?", "accepted: constant, outcome"),
        heading="Searches",
    ),
    Bad(
        "a budget of zero",
        VALIDATE,
        searching("limits: {tokens: 0}"),
        ("stages.main.sample.limits.tokens: 0: should be greater than 0.",),
    ),
    Bad(
        "a search that would not end",
        VALIDATE,
        searching("limits: {depth: 4}"),
        ("sample.limits: sets no iterations, nodes, tokens or seconds, so a search would not end; give one",),
    ),
    Bad(
        "two growth rules for a node",
        VALIDATE,
        searching("expand: {type: steps, coverage: 0.9, widening: 0.5}"),
        ("sample.expand: coverage and widening both decide when a node grows again; give one of them",),
    ),
    Bad(
        "a hint without the answer",
        VALIDATE,
        searching("hints: {prompt: Think again.}"),
        ("sample.hints.prompt: 'Think again.' does not contain {answer}",),
    ),
    Bad(
        "curation without training",
        VALIDATE,
        recipe("    train: {type: sft, role: policy, epochs: 2, learning_rate: 5.0e-5}\n"),
        (
            "stages.main: train is missing: a stage has train and curate, and a gate if it is to promote, or none of",
            "them and is measured only.",
        ),
    ),
    Bad(
        "a plan on a model that is nowhere",
        f"{DRY} --set models.policy=smollm2-135m-instuct",
        recipe(),
        ("smollm2-135m-instuct: no such folder, and no model by that name. Did you mean 'smollm2-135m-instruct'?",),
    ),
    Bad(
        "running a recipe that does not train",
        "run still.yaml",
        provoked(registered, files(still__yaml=STILL)),
        (
            "still: stage main trains nothing, so there is no round to run.",
            "selftaught evaluate tiny recipes/still.yaml",
        ),
    ),
    Bad(
        "an override without a value",
        f"{VALIDATE} --set stages.main.sample.k",
        recipe(),
        ("--set stages.main.sample.k: not of the form path.to.field=value.",),
        heading="Overrides",
    ),
    Bad(
        "an override of an unknown field",
        f"{VALIDATE} --set stages.mian.sample.k=4",
        recipe(),
        ("--set stages.mian.sample.k=4: 'mian' is not in stages. Did you mean 'main'?", "accepted: main, 0"),
    ),
    Bad(
        "an override below a value",
        f"{VALIDATE} --set name.first=x",
        recipe(),
        ("--set name.first=x: name is 'rft', which has no fields.",),
    ),
    Bad(
        "an override with a bad value",
        f"{VALIDATE} --set stages.main.sample.k=none",
        recipe(),
        ("--set stages.main.sample.k=none: stages.main.sample.k: 'none': should be an integer.",),
    ),
    Bad("no such axis", "recipes blocks verifers", nothing, ("unknown axis 'verifers'. Did you mean 'verify'?",)),
    # Tasks ----------------------------------------------------------------------------------------------------------
    Bad(
        "no such file of tasks",
        DRY,
        rows(None),
        ("tasks.jsonl: no such file", "Check tasks.path"),
        heading="Tasks",
    ),
    Bad("an empty file of tasks", DRY, rows(""), ("tasks.jsonl: has no rows.", "Name a file")),
    Bad(
        "a line that is not JSON",
        DRY,
        rows(problems(2, '{"question": "3 + 4", answer: "7"}\n')),
        ("tasks.jsonl:3: not JSON", "column", "Each line should be an object."),
    ),
    Bad("a line that is not an object", DRY, rows('["3 + 4", "7"]\n'), ("tasks.jsonl:1: list", "JSON object")),
    Bad(
        "no such column",
        DRY,
        rows(problems(20), ", question: problem"),
        ("tasks.jsonl: no column 'problem' (tasks.question).", "Its columns: question, answer"),
    ),
    Bad(
        "tasks without answers",
        DRY,
        rows(problems(2, '{"question": "How many?", "answer": ""}\n')),
        ("tasks.jsonl:3", "no answer in column 'answer'"),
    ),
    Bad(
        "worked solutions instead of answers",
        DRY,
        rows(problems(90).replace('"answer": "', '"answer": "3 + 4 = 7, so it is clear.\\n#### ')),
        ("'answer_match' fails 10 of the tasks' own 10 gold answers", "tasks.answer_pattern: '#### (.+)'"),
    ),
    Bad(
        "an answer that is a list",
        DRY,
        rows(problems(2, '{"question": "How many?", "answer": ["7"]}\n')),
        ("tasks.jsonl:3: answer: ['7']: should be text or a number; 1 of 3 rows",),
    ),
    Bad(
        "a question that is a chat",
        DRY,
        rows('{"question": [{"role": "user", "content": "3 + 4?"}], "answer": "7"}\n'),
        ("tasks.jsonl:1: question: [{", "is a chat. Name a column that holds the text alone"),
    ),
    Bad(
        "an answer that is not a number",
        DRY,
        rows(problems(2, '{"question": "How many?", "answer": NaN}\n')),
        ("tasks.jsonl:3: answer: nan: should be text or a finite number",),
    ),
    Bad(
        "half a character",
        DRY,
        rows(problems(2, '{"question": "How many \\ud83d?", "answer": "7"}\n')),
        ("tasks.jsonl:3: question: ", "holds half a character"),
    ),
    Bad(
        "a number with too many digits",
        DRY,
        rows(problems(2, f'{{"question": "How many?", "answer": {"7" * 5_000}}}\n')),
        ("tasks.jsonl:3: has a number with more digits than are read. Put it in quotes.",),
    ),
    Bad("too few tasks", DRY, rows(problems(5)), ("tasks.jsonl: too few different problems", "Ask for fewer")),
    Bad(
        "duplicate rows",
        DRY,
        rows(problems(5) + alike(5)),
        (
            "tasks.jsonl: too few different problems",
            "5 of 10 rows are one problem with others; the most, 5, are one with 'Ants: ",
            "both say 'a bird that lives beside the lake",
        ),
    ),
    Bad(
        "a truncated Parquet file",
        DRY,
        provoked(
            recipe(WORD_PROBLEMS, "{type: parquet, path: tasks.parquet, train: 6, gate: 2, report: 2}"),
            files(tasks__parquet=b"PAR1\x15\x04"),
        ),
        ("tasks.parquet: cannot be read as Parquet",),
    ),
    Bad(
        "an unknown generator",
        DRY,
        recipe(WORD_PROBLEMS, "{type: reasoning_gym, dataset: chain_smu, train: 6, gate: 2, report: 2}"),
        ("tasks.dataset: unknown Reasoning Gym generator 'chain_smu'. Did you mean 'chain_sum'?",),
    ),
    Bad(
        "more problems than the generator has",
        f"{DRY} --set tasks.train=1000000",
        recipe(),
        ("tasks.train: ", "different problems asked of template", "Ask for fewer"),
    ),
    Bad(
        "an unknown held-out set",
        "evaluate champion rft.yaml --line maths --split reprot",
        provoked(recipe(), registered),
        ("unknown held-out split 'reprot'. Did you mean 'report'?", "accepted: gate, guard, report"),
    ),
    Bad(
        "a URL that does not say which model to measure",
        "evaluate http://localhost:8000/v1 rft.yaml",
        recipe(),
        ("MODEL: a URL alone does not say which of its models.", "{url: "),
    ),
    Bad(
        "a metric that a model behind a URL cannot be measured by",
        "evaluate '{url: http://localhost:8000/v1, model: gpt-x}' rft.yaml",
        recipe("- {type: pass_at_k, k: 8, tasks: 32}", "- {type: tokens}"),
        (
            "rft: stages.main.evaluate: tokens needs tokens, but gpt-x at http://localhost:8000/v1",
            "Leave the metric out",
        ),
    ),
    Bad(
        "answers to a file that cannot be written",
        "evaluate champion rft.yaml --line maths --out gone/answers.jsonl",
        provoked(recipe(), registered),
        ("--out gone/answers.jsonl: nothing can be written there", "Name a file, in a folder that is there"),
    ),
    Bad(
        "benchmark results into a path that is a file",
        "benchmark champion --line maths --tasks gsm8k --out rft.yaml",
        provoked(recipe(), registered),
        ("--out rft.yaml: a file. Name a folder.",),
    ),
    # Fresh tasks ----------------------------------------------------------------------------------------------------
    Bad(
        "an uploaded task without an answer",
        "tasks upload tasks.jsonl --to drops",
        files(tasks__jsonl=problems(2, '{"question": "How many?", "answer": ""}\n')),
        ("tasks.jsonl:3: no answer in column 'answer'; 1 of 3 rows have none.", "Complete or remove"),
        heading="Fresh tasks",
    ),
    Bad(
        "feedback without a verdict",
        "tasks upload feedback.jsonl --to drops",
        files(feedback__jsonl='{"prompt": "How many?", "given": "7"}\n'),
        ("feedback.jsonl:1: neither 'right' (true or false) nor the correct 'answer'. Add one of the two.",),
    ),
    Bad(
        "feedback with text instead of a boolean",
        "tasks upload feedback.jsonl --to drops",
        files(feedback__jsonl='{"prompt": "How many?", "given": "7", "right": "yes"}\n'),
        ("feedback.jsonl:1: right: 'yes': should be true or false, without quotes.",),
    ),
    Bad(
        "feedback without a task or prompt",
        "tasks upload feedback.jsonl --to drops",
        files(feedback__jsonl='{"given": "7", "right": true}\n'),
        ("feedback.jsonl:1: neither 'task' nor 'prompt'.", "one of the two."),
    ),
    Bad(
        "an uploaded file of another kind",
        "tasks upload tasks.csv --to drops",
        files(tasks__csv="question,answer\n"),
        ("tasks.csv: no file of rows that is known here. Accepted: .jsonl, .parquet.",),
    ),
    Bad(
        "an upload with too many rows",
        "tasks upload tasks.jsonl --to drops",
        files(tasks__jsonl='{"question": "How many?", "answer": "7"}\n' * 100_001),
        ("tasks.jsonl: more than a batch may have (100,000 rows and", "Upload it in parts."),
    ),
    Bad("an upload without a destination", "tasks upload tasks.jsonl", files(), ("no destination. Pass --to WHERE",)),
    Bad(
        "an inbox that does not exist",
        DRY,
        recipe(WORD_PROBLEMS, "{type: inbox, path: drops}"),
        (
            "drops: no such folder",
            "Check tasks.path, or make it",
            "selftaught tasks upload FILE --to drops",
        ),
    ),
    Bad(
        "guard tasks without a source",
        VALIDATE,
        recipe(WORD_PROBLEMS, "{type: inbox, path: drops, guard: 8}"),
        ("guard: 8 asks for guard tasks; name a source with as many in guard_from, such as {type: word_problems,",),
    ),
    Bad(
        "watching a line that has no inbox",
        "watch maths rft.yaml",
        provoked(registered, recipe()),
        ("rft: tasks.type is 'word_problems', so it has no inbox.", "Name a recipe with"),
    ),
    # Steps with labels ----------------------------------------------------------------------------------------------
    Bad(
        "steps in a format other than the one given",
        "steps import steps.jsonl --format prm800k --to prm",
        files(steps__jsonl='{"prompt": "3 + 4?", "completions": ["7"], "labels": [true]}\n'),
        ("steps.jsonl: none of 1 rows can be used as prm800k. First: steps.jsonl:1: question: Field required.",),
        heading="Steps with labels",
    ),
    Bad(
        "steps into an existing folder",
        "steps import steps.jsonl --to models",
        provoked(files(steps__jsonl='{"prompt": "3 + 4?", "completions": ["7"], "labels": [true]}\n'), no_text),
        ("models: is there already. Name a folder that is not, or remove it.",),
    ),
    Bad(
        "steps of a line without a finished round",
        "steps export maths --to steps.jsonl",
        registered,
        ("maths: has no finished round. Finish one with",),
    ),
    # Models ---------------------------------------------------------------------------------------------------------
    Bad(
        "no such model",
        "models pull smollm2-135m-instuct",
        nothing,
        ("smollm2-135m-instuct: no such folder, and no model by that name. Did you mean 'smollm2-135m-instruct'?",),
        heading="Models",
    ),
    Bad(
        "a misspelt alias before there is a line",
        "evaluate championn rft.yaml",
        recipe(),
        ("championn: no such folder, and no model by that name. Did you mean 'champion'?",),
    ),
    Bad(
        "a folder without weights",
        PULL,
        model("tiny", lambda folder: (folder / "model.safetensors").unlink()),
        ("tiny: no *.safetensors. Save the model with save_pretrained",),
    ),
    Bad("truncated weights", PULL, model("tiny", truncated), ("tiny/model.safetensors: truncated", "Copy it again.")),
    Bad(
        "a pickle beside the weights",
        PULL,
        model("tiny", lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")),
        ("tiny/pytorch_model.bin: a pickle may run code when it is read. Convert it to safetensors, or remove it.",),
    ),
    Bad(
        "code in a model folder",
        PULL,
        model("tiny", lambda folder: (folder / "modeling_tiny.py").write_text("import os")),
        ("tiny/modeling_tiny.py: code in a model folder is never run.",),
    ),
    Bad(
        "a model that asks for remote code",
        PULL,
        model("tiny", lambda folder: (folder / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')),
        ("tiny/config.json: auto_map asks for remote code",),
    ),
    Bad(
        "missing weights",
        PULL,
        model("tiny", deeper),
        ("tiny: config.json asks for 9 weights that are not there, such as model.layers.0.", "Copy the model"),
    ),
    Bad(
        "an unknown architecture",
        PULL,
        model("tiny", lambda folder: (folder / "config.json").write_text('{"model_type": "llamma"}')),
        ("tiny: transformers cannot load it (", "llamma", "Is it a complete causal language model?"),
    ),
    Bad(
        "weights that are not numbers",
        PULL,
        model("tiny", no_numbers),
        ("tiny: its output for a short text is not a finite number.", "Copy the model again."),
    ),
    Bad(
        "a base model, without a chat template",
        PULL,
        model("tiny", lambda folder: tokenizer_says(folder, chat_template=None)),
        ("tiny: has no chat template", "Put the chat_template.jinja of its instruct version beside config.json"),
    ),
    Bad(
        "a model without an end token",
        PULL,
        model("tiny", endless),
        ("tiny: names no end token", "Put eos_token_id into generation_config.json"),
    ),
    Bad(
        "a chat template that fails",
        PULL,
        model("tiny", lambda folder: tokenizer_says(folder, chat_template="{{ raise_exception('Tools first') }}")),
        (
            "tiny: its chat template fails on a plain conversation: TemplateError: Tools first.",
            "Take the template that",
        ),
    ),
    Bad(
        "a chat template that never ends",
        PULL,
        model("tiny", lambda folder: tokenizer_says(folder, chat_template=ENDLESS)),
        ("tiny: its chat template fails on a plain conversation: it was not done after 5 s.",),
    ),
    Bad(
        "a chat template that leaves the question out",
        PULL,
        model("tiny", lambda folder: tokenizer_says(folder, chat_template="{{ messages | length }} messages")),
        ("tiny: its chat template leaves out the question.", "Use the one that the model was published with."),
    ),
    Bad(
        "a run on a broken model",
        "run rft.yaml --set models.policy=tiny",
        provoked(registered, recipe(), model("tiny", truncated)),
        ("tiny/model.safetensors: truncated",),
    ),
    # Lines ----------------------------------------------------------------------------------------------------------
    Bad(
        "no such line",
        "models show math",
        registered,
        ("unknown model line 'math'. Did you mean 'maths'?", "accepted: maths"),
        heading="Lines",
    ),
    Bad(
        "a line without a finished round",
        "report maths",
        registered,
        ("maths: has no finished round.", "Finish one with `selftaught run`", "--campaign"),
    ),
    Bad(
        "no such version",
        "models show maths champoin",
        registered,
        ("maths: unknown version 'champoin'. Did you mean 'champion'?", "accepted: "),
    ),
    Bad(
        "nothing to roll back to",
        "models rollback maths",
        provoked(registered, never_promoted),
        ("maths: has no 'previous' yet.", "accepted: base, champion, head, 1 ("),
    ),
    Bad(
        "no such version to roll back to",
        "models rollback maths --to 7",
        registered,
        ("maths: unknown version '7'.", "accepted: ", "2 (<digest 2>)"),
    ),
    Bad(
        "a rollback to the champion itself",
        "models rollback maths --to champion",
        registered,
        ("maths: version 2 is the champion already. Name another with --to.",),
    ),
    Bad(
        "a push without a token",
        "models push maths me/maths",
        provoked(registered, environment(HF_TOKEN="")),
        ("HF_TOKEN: not set. Export a token with the right to write",),
    ),
    Bad(
        "a push to something other than a repository",
        "models push maths maths",
        provoked(registered, environment(HF_TOKEN="hf_token")),
        ("'maths': no name of a repository (the owner is missing). It is owner/name.",),
    ),
    Bad(
        "a push of a version that was not promoted",
        "models push maths@1 me/maths",
        provoked(registered, environment(HF_TOKEN="hf_token")),
        ("maths: version 1 was trained by no round that has ended.", "Only a promoted version is pushed"),
    ),
    Bad(
        "a line that another process is running",
        "run rft.yaml",
        provoked(registered, recipe(), line_taken),
        ("rft: another process is running this line. Wait for it, or choose another --line.",),
    ),
    Bad(
        "cleaning up under a run",
        "clean --all --yes",
        line_taken,
        ("<home>: in use (a run on line rft). Stop that first: Ctrl-C there, or `selftaught down`.",),
    ),
    Bad(
        "an invalid line name",
        "run rft.yaml --line ../other",
        recipe(),
        ("--line '../other': letters, digits, dashes, dots and underscores only",),
    ),
    # The machine ----------------------------------------------------------------------------------------------------
    Bad(
        "no compiled pipeline",
        "run rft.yaml --pipelines none",
        provoked(registered, recipe()),
        ("none/round.yaml: no compiled pipeline. Run `selftaught compile` in a checkout, or give --pipelines.",),
        heading="The machine",
    ),
    Bad("outside a checkout", "compile", elsewhere, ("pipelines/round.py: not here.",)),
    Bad(
        "an unknown placement",
        "compile --places gpus --into placed",
        provoked(),
        ("unknown placement 'gpus'. Did you mean 'gpu'?", "accepted: cpu, gpu"),
    ),
    Bad(
        "a port in use",
        "serve maths --port $PORT",
        provoked(registered, port_taken),
        ("port 8000 on 127.0.0.1: Address already in use. Choose another, or 0 for any.",),
    ),
    Bad(
        "a home that cannot be written",
        "models list",
        provoked(files(notes="mine"), environment(SELFTAUGHT_HOME="{folder}/notes/home")),
        ("notes/home", "Not a directory"),
    ),
    Bad(
        "a read-only store",
        PULL,
        provoked(small_disk(), model("tiny", valid_model), measured, read_only),
        ("disk/store", "Read-only file system", "choose another location"),
    ),
    Bad(
        "a full disk",
        PULL,
        provoked(small_disk(), big_model, measured),
        ("disk/store/models/", "No space left on device. Free some space on its disk, or choose another location."),
    ),
    Bad(
        "a registry on a full disk",
        "models list",
        provoked(small_disk(), filled, environment(MLFLOW_TRACKING_URI="sqlite:///{folder}/disk/mlflow.db")),
        ("disk/mlflow.db: the tracking server or database cannot be used (", "Free some space on its disk"),
    ),
    Bad(
        "an unknown store",
        PULL,
        environment(SELFTAUGHT_STORE="gs://bucket/models"),
        ("gs://bucket/models: no store that is known here. Accepted: a directory, or s3://bucket/prefix.",),
    ),
    # Servers --------------------------------------------------------------------------------------------------------
    Bad(
        "the wrong S3 secret",
        PULL,
        provoked(s3(AWS_SECRET_ACCESS_KEY="guessed"), model("tiny", valid_model)),
        ("s3://selftaught/models", "refused the credentials", "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"),
        heading="Servers",
    ),
    Bad(
        "no such bucket",
        PULL,
        provoked(s3(SELFTAUGHT_STORE="s3://selftuaght/models"), model("tiny", valid_model)),
        ("s3://selftuaght/models", "no bucket 'selftuaght'", "Create it, or name another."),
    ),
    Bad(
        "an S3 server that is down",
        PULL,
        provoked(s3(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9"), model("tiny", valid_model)),
        ("s3://selftaught/models", "no answer from 127.0.0.1:9", "Is the server up"),
    ),
    Bad(
        "a tracking server that is down",
        "models list",
        environment(MLFLOW_TRACKING_URI="http://127.0.0.1:9"),
        ("http://127.0.0.1:9: the tracking server or database does not answer", "Is MLFLOW_TRACKING_URI right?"),
    ),
    Bad(
        "an unknown tracking store",
        "models list",
        environment(MLFLOW_TRACKING_URI="htp://127.0.0.1:5000"),
        ("htp://127.0.0.1:5000: ", "Is MLFLOW_TRACKING_URI right?"),
    ),
    Bad(
        "a file that is not a database",
        "models list",
        provoked(files(notes="mine"), environment(MLFLOW_TRACKING_URI="sqlite:///{folder}/notes")),
        ("notes: ", "file is not a database", "Is MLFLOW_TRACKING_URI right?"),
    ),
    Bad(
        "a registry from a newer MLflow",
        "models list",
        provoked(registered, from_the_future),
        ("mlflow.db: the tracking server or database cannot be used (", "A newer MLflow wrote it."),
    ),
    # Settings and clusters --------------------------------------------------------------------------------------------
    Bad(
        "no such profile",
        "models list",
        provoked(files(selftaught__toml=PROFILES), environment(SELFTAUGHT_PROFILE="clutser")),
        ("selftaught.toml: no profile 'clutser'. Did you mean 'cluster'?", "accepted: cluster"),
        heading="Settings and clusters",
    ),
    Bad(
        "a profile where no file of settings is",
        "models list",
        environment(SELFTAUGHT_PROFILE="cluster"),
        (
            "SELFTAUGHT_PROFILE: no profile 'cluster': there is no selftaught.toml.",
            "name the file in SELFTAUGHT_CONFIG",
        ),
    ),
    Bad(
        "a file of settings that is not there",
        "models list",
        environment(SELFTAUGHT_CONFIG="mine.toml"),
        ("SELFTAUGHT_CONFIG: mine.toml: no such file. Name one, or unset the variable.",),
    ),
    Bad(
        "a misspelt setting",
        "models list",
        provoked(files(selftaught__toml=PROFILES + "servng = 'kserve'\n"), environment(SELFTAUGHT_PROFILE="cluster")),
        ("profiles.cluster.servng: no such setting. Did you mean 'serving'?",),
    ),
    Bad(
        "a variable that is not text",
        "models list",
        files(selftaught__toml="[profiles.local]\nenvironment = { AWS_MAX_ATTEMPTS = 5 }\n"),
        ("selftaught.toml: profiles.local.environment.AWS_MAX_ATTEMPTS: 5: should be text. Quote it.",),
    ),
    Bad(
        "a variable that could load code",
        "models list",
        files(selftaught__toml="[profiles.local]\nenvironment = { LD_PRELOAD = '/tmp/x.so' }\n"),
        ("profiles.local.environment.LD_PRELOAD: a variable that a file of settings may not set", "in your shell"),
    ),
    Bad(
        "an invalid setting",
        "models list",
        environment(SELFTAUGHT_SERVING="kserv"),
        ("SELFTAUGHT_SERVING", "'kserv'", "'local' or 'kserve'"),
    ),
    Bad(
        "no cluster",
        "models rollback maths",
        provoked(registered, environment(SELFTAUGHT_SERVING="kserve", KUBECONFIG="{folder}/none")),
        ("no cluster: ", "Set KUBECONFIG, or SELFTAUGHT_SERVING=local."),
    ),
    Bad(
        "an unreachable cluster",
        "models rollback maths",
        provoked(
            registered,
            files(kubeconfig=KUBECONFIG),
            environment(SELFTAUGHT_SERVING="kserve", KUBECONFIG="{folder}/kubeconfig"),
        ),
        ("the Kubernetes API does not answer", "Is the cluster up?"),
    ),
    Bad(
        "a round submitted to nowhere",
        "submit rft.yaml --line maths",
        provoked(registered, recipe()),
        ("SELFTAUGHT_KFP: not set. Set it to the URL of the Kubeflow Pipelines API.",),
    ),
    Bad(
        "unreachable pipelines",
        "submit rft.yaml --line maths",
        provoked(registered, recipe(), environment(SELFTAUGHT_KFP="http://127.0.0.1:9")),
        ("http://127.0.0.1:9: Kubeflow Pipelines does not answer", "Is SELFTAUGHT_KFP right?"),
    ),
    Bad(
        "submitting to a line without a champion",
        "submit rft.yaml --line riddles",
        provoked(recipe(), environment(SELFTAUGHT_KFP="http://127.0.0.1:9")),
        ("riddles: has no champion yet. Bring the recipe's model in first: `selftaught adopt`.",),
    ),
    Bad(
        "a schedule that does not say when",
        "schedule rft.yaml --line maths",
        provoked(registered, recipe()),
        ("no cron. Give --cron '0 3 * * 1' for Mondays at 3, or a schedule in the campaign's file.",),
    ),
    Bad(
        "a campaign with a field that needs the cluster's controller",
        "submit -f campaign.yaml",
        files(campaign__yaml="line: maths\nrecipe: {name: rft}\napproval: {required: true}\n"),
        ("campaign.yaml:3: approval: no such field.", "accepted: line, recipe, schedule, suspend, shards"),
    ),
    Bad(
        "a campaign whose recipe is nowhere",
        "run -f campaign.yaml",
        files(campaign__yaml="line: maths\nrecipe: {}\n"),
        ("campaign.yaml:2: recipe: has no recipe. Give one of inline, name and path.",),
    ),
    Bad(
        "a mistake in a campaign's override",
        "run -f campaign.yaml",
        files(campaign__yaml="line: maths\nrecipe: {name: rft, set: [tasks.trai=40]}\n"),
        ("campaign.yaml: recipe: --set tasks.trai=40: tasks.trai: no such field. Did you mean 'train'?",),
    ),
    Bad(
        "a campaign in a recipe's place",
        "run campaign.yaml",
        files(campaign__yaml="kind: Campaign\nspec: {line: maths, recipe: {name: rft}}\n"),
        ("campaign.yaml: a campaign, not a recipe: `selftaught run -f campaign.yaml` runs it.",),
    ),
    Bad(
        "a recipe in a campaign's place",
        "run -f rft.yaml",
        recipe(),
        ("rft.yaml: a recipe, not a campaign: `selftaught run rft.yaml` runs it.",),
    ),
    Bad(
        "a recipe beside a campaign's file",
        "run rft.yaml -f campaign.yaml",
        provoked(recipe(), files(campaign__yaml="line: maths\nrecipe: {path: rft.yaml}\n")),
        ("rft.yaml: -f campaign.yaml has a recipe already.",),
        USAGE,
    ),
    Bad(
        "a run of nothing",
        "run",
        nothing,
        ("no recipe. Name one, such as rft, or a campaign's",),
        USAGE,
    ),
    Bad(
        "a cron expression with four fields",
        "schedule rft.yaml --line maths --cron '0 3 * *'",
        provoked(registered, recipe(), environment(SELFTAUGHT_KFP="http://127.0.0.1:9")),
        ("cron '0 3 * *': five fields, such as '0 3 * * 1' for Mondays at 3",),
    ),
    Bad(
        "a schedule without the cluster's image",
        "schedule rft.yaml --line maths --cron '0 3 * * 1'",
        provoked(registered, recipe(), environment(SELFTAUGHT_KFP="http://127.0.0.1:9")),
        ("SELFTAUGHT_IMAGE_STEPS: not set. Set it to the image `steps` of the cluster, by digest.",),
    ),
    Bad(
        "a line name that a CronJob cannot have",
        "schedule rft.yaml --line Sums_2 --cron '0 3 * * 1'",
        provoked(
            registered,
            lambda desk: desk.registry().tracker.point(
                "champion", desk.registry().tracker.register("Sums_2", "0" * 64, "file:///sums", "", {})
            ),
            recipe(),
            environment(SELFTAUGHT_IMAGE_STEPS="steps:1"),
        ),
        ("line 'Sums_2': a CronJob is called like it", "Choose another --line."),
    ),
    Bad(
        "abandoning a round that does not exist",
        "rounds abandon maths weekly",
        registered,
        ("maths: campaign 'weekly' has no round that is not finished.", "campaigns: "),
    ),
    Bad(
        "two garbage collections at once",
        "gc",
        collecting,
        ("another `selftaught gc` is running. Wait for it.",),
    ),
    # Usage ----------------------------------------------------------------------------------------------------------
    Bad("no such command", "rnu rft.yaml", recipe(), ("No such command 'rnu'",), USAGE, heading="Usage"),
    Bad("no such option", "run rft.yaml --dryrun", recipe(), ("No such option", "--dry-run"), USAGE),
    Bad("rounds below 0", "run rft.yaml --rounds -1", recipe(), ("Invalid value for '--rounds'",), USAGE),
]


@pytest.fixture
def desk(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Desk]:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "pipelines").symlink_to(REPOSITORY / "pipelines")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("selftaught.blocks.block._REGISTRY", {axis: shipped(axis) for axis in AXES})
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with ExitStack() as stack:
        yield Desk(folder, home, monkeypatch.setenv, request.getfixturevalue, stack)


SAID: dict[str, str] = {}
"""What each case said in this run, for the page."""


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.situation)
def test_a_bad_input_is_told_and_leaves_nothing_behind(bad: Bad, desk: Desk) -> None:
    bad.provoke(desk)
    before = contents(desk)
    done = CliRunner().invoke(app, shlex.split(os.path.expandvars(bad.command)))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    message = normalised(done.stderr, desk)
    assert done.exit_code == bad.code, message
    assert "Traceback" not in message
    for words in bad.says:
        assert words in message
    assert not {name for name in contents(desk) - before if not ALLOWED.fullmatch(name)}
    SAID[bad.situation] = message


@pytest.mark.parametrize("command", ["models list", "models rollback", "serve", "chat", "up", "report"])
def test_every_command_knows_the_lines(command: str, desk: Desk) -> None:
    registered(desk)
    done = CliRunner().invoke(app, [*command.split(), "math"])
    assert (done.exit_code, done.stdout) == (ERROR, "")
    assert "unknown model line 'math'. Did you mean 'maths'?\n  accepted: maths" in done.stderr


def test_asking_for_a_line_that_is_not_there_does_not_make_it(desk: Desk) -> None:
    registry = desk.registry()
    desk.write("rft.yaml", RECIPE)
    for command in ("report math", "models show math", "run rft.yaml --line math --dry-run"):
        CliRunner().invoke(app, command.split())
    assert registry.tracker.lines() == ["maths"]
    assert registry.tracker.client.get_experiment_by_name("selftaught/math") is None


def test_a_registry_that_fails_in_use_is_told_and_a_wrong_call_stays_a_bug(desk: Desk) -> None:
    registry = desk.registry()
    tracker = registry.tracker
    assert tracker.lines() == ["maths"]
    with pytest.raises(MlflowException, match="nobody"):
        tracker.client.get_run("nobody")
    with sqlite3.connect(registry.home / "mlflow.db") as database:
        database.execute("DROP TABLE registered_models")
    with pytest.raises(
        Unavailable, match=r"mlflow\.db: the tracking server or database does not answer \(.*registered"
    ):
        tracker.lines()


@pytest.mark.parametrize("situation", ["an unknown block", "truncated weights", "a home that cannot be written"])
def test_a_process_of_its_own_says_the_same(situation: str, desk: Desk) -> None:
    """The runner above calls the application; here is what a shell gets."""
    bad = next(case for case in CASES if case.situation == situation)
    bad.provoke(desk)
    command = [sys.executable, "-m", "selftaught", *shlex.split(bad.command)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == bad.code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for words in bad.says:
        assert words in normalised(done.stderr, desk)


def test_the_page_has_every_message() -> None:
    """Run this file as a script to write docs/errors.md again."""
    if "WRITE_ERRORS" in os.environ:
        assert set(SAID) == {bad.situation for bad in CASES}, "every case has to pass first"
        PAGE.write_text(page(SAID))
    text = PAGE.read_text()
    assert re.findall(r"^### (.*)", text, re.MULTILINE) == [bad.situation for bad in CASES]
    for bad in CASES:
        assert bad.situation not in SAID or entry(bad, SAID[bad.situation]) in text


def shipped(axis: str) -> dict[str, Any]:
    """The blocks on `axis` without those that other tests have added."""
    return {name: block for name, block in blocks(axis).items() if block.__module__.startswith("selftaught.")}


def contents(desk: Desk) -> set[str]:
    """Every file in the home, by its path there, and every file in the working directory."""
    there = {path.relative_to(desk.home).as_posix() for path in desk.home.rglob("*") if path.is_file()}
    return there | {str(path) for path in desk.folder.rglob("*") if path.is_file()}


def normalised(text: str, desk: Desk) -> str:
    """`text` without what differs from run to run."""
    places: Mapping[str, str] = {str(desk.home): "<home>", str(desk.folder): "<here>", **desk.seen}
    for found, shown in places.items():
        text = text.replace(found, shown)
    return re.sub(r"\.\d+\.part", ".<pid>.part", re.sub(r"[0-9a-f]{64}", "<digest>", text))


def page(said: Mapping[str, str]) -> str:
    return HEAD + "".join(entry(bad, said[bad.situation]) for bad in CASES)


def entry(bad: Bad, message: str) -> str:
    """The case on the page: the error itself, without what a command says before it."""
    heading = f"\n## {bad.heading}\n" if bad.heading else ""
    shown = textwrap.indent(
        message[message.find("error:") :].strip() if "error:" in message else message.strip(), "    "
    )
    return f"{heading}\n### {bad.situation}\n\n    $ selftaught {bad.command.replace('$PORT', '8000')}\n{shown}\n"


HEAD = """\
# Errors

What each error says, and how to fix it. Every message names the value, the location and the fix; the command exits
with code 1 (2 when the command line itself is wrong) and leaves nothing half-written. A traceback is a bug: please
report it.

This page is written by `python tests/test_bad_inputs.py` from what the commands say, and a test compares it.
`<home>` is the home ([which one](operations.md#the-home)), `<here>` the working directory.
"""


if __name__ == "__main__":
    os.environ["WRITE_ERRORS"] = "1"
    sys.exit(pytest.main([__file__, "-q"]))
