"""What tests of complete rounds share: a tiny model, a recipe for the simulated engine, and the round's steps in order.

The steps are the components' own functions with real KFP artifacts, run in this process: the same calls as in a
pipeline, without a process a task.
"""

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from kfp import dsl

from selftaught.blocks import registered
from selftaught.campaign.local import Campaign
from selftaught.campaign.local_runner import LocalRunner, emptied
from selftaught.campaign.runner import RunRef, RunStatus
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage, load_blocks
from selftaught.round.adopt import adopt, keep
from selftaught.round.distributed.online import OnlineRequest
from selftaught.round.distributed.request import OfflineRequest
from selftaught.round.job import Job, begun
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.remote import EngineServer
from selftaught.state.database import create_or_upgrade
from selftaught.state.ledger import ReferenceEntry
from selftaught.state.round_key import RoundKey
from tests.registry_made import CHAT

REPOSITORY = Path(__file__).parent.parent
BLOCKS = REPOSITORY / "tests" / "stand_ins" / "blocks"
ENGINE = REPOSITORY / "tests" / "stand_ins" / "engine"

RECIPE = {
    "name": "recorded",
    "tasks": {"type": "word_problems", "train": 12, "gate": 24, "report": 8, "guard": 4},
    "stages": [
        {
            "sample": {"type": "iid", "k": 2, "max_tokens": 32},
            "verify": {"type": "answer_match"},
            "curate": {"type": "accepted", "per_task": 2, "minimum": 1},
            "train": {"type": "nudge"},
            "evaluate": {"type": "accuracy"},
            "gate": {"type": "paired_gain", "metric": "accuracy", "min_gain": 0.05},
        }
    ],
}
"""A recipe for the simulated engine; it names no model."""

SEARCH = {
    "type": "search",
    "expand": {"type": "steps", "n": 2, "max_tokens": 32},
    "value": {"type": "value_model", "before": {"type": "p_true"}},
    "limits": {"iterations": 3, "depth": 3},
}
"""A search of the simulated engine's two steps: a thought, then an answer."""


def recipe(model: Path, *, tasks: Mapping[str, Any] = {}, **stage: Any) -> dict[str, Any]:
    """The recipe with `model` as its policy; `tasks` and `stage` replace fields of its tasks and of its only stage.

    Where it has no guard tasks its gate says so.
    """
    asked, changed = RECIPE["tasks"] | tasks, RECIPE["stages"][0] | stage
    if not asked["guard"] and changed["gate"]:
        changed |= {"gate": changed["gate"] | {"guard": "none"}}
    return RECIPE | {"models": {"policy": str(model)}, "tasks": asked, "stages": [changed]}


def tiny_model(folder: Path, skill: float = 0.3, context: int = 256, reserved: tuple[str, ...] = ()) -> Path:
    """A real Llama of some ten thousand random weights with a byte-level tokenizer; `skill` is for the engine.

    `reserved` are special tokens that nothing uses.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|end|>"]
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    full = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", chat_template=CHAT)
    full.add_special_tokens({"extra_special_tokens": list(reserved)})
    full.save_pretrained(folder)
    ends = {"eos_token_id": len(alphabet) - 1}
    shape = ends | {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(full), max_position_embeddings=context, skill=skill, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that runs rounds on simulated engines with its home in `home`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SELFTAUGHT_", "MLFLOW_", "PYTHON"))}
    path = os.pathsep.join(map(str, (ENGINE, BLOCKS, REPOSITORY)))
    own = {"SELFTAUGHT_HOME": str(home), "SELFTAUGHT_PATIENCE": "0"}
    return kept | own | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", **more}


def command(recipe: Path, *more: str) -> list[str]:
    """`selftaught run` on `recipe`."""
    return [sys.executable, "-m", "selftaught", "run", str(recipe), "--json", *more]


def written(path: Path, recipe: Mapping[str, Any]) -> Path:
    """`recipe` as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recipe, indent=1))
    return path


# Fixtures, for whoever imports them -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty MLflow database, to be copied: making one takes seconds."""
    return _database(tmp_path_factory.getbasetemp())


@cache  # pytest takes a fixture that a module imports for one of that module's own, whatever its scope
def _database(base: Path) -> Path:
    home = base / "database" / "home"
    create_or_upgrade(home / "mlflow.db")
    return home


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, of skill 0.3."""
    return _model(tmp_path_factory.getbasetemp())


@cache
def _model(base: Path) -> Path:
    return tiny_model(base / "model" / "tiny")


@pytest.fixture(scope="module")
def recorded_blocks() -> Generator[None]:
    """The blocks of the package in `stand_ins/blocks`, known to this process while the module's tests run."""
    sys.path.insert(0, str(BLOCKS))
    importlib.import_module("recorded_blocks")
    load_blocks()
    _rebuild()
    yield
    sys.path.remove(str(BLOCKS))


def _rebuild() -> None:
    for cls in (*registered("evaluate").values(), Stage, Recipe, Job, OfflineRequest, OnlineRequest):
        cls.model_rebuild(force=True)


@pytest.fixture
def platform(home: Path, database: Path, model: Path, recorded_blocks: None) -> Platform:
    """A home whose model line `line` has been adopted, as `selftaught run` does before the first round."""
    shutil.copytree(database, home)
    platform = Platform.open()
    platform.store.claim(*noted(model))
    adopt(platform, Recipe.parse(json.dumps(recipe(model))), "line")
    return platform


@cache
def noted(model: Path) -> tuple[str, bytes]:
    """What is noted of `model` when it is adopted, which takes a second: its values, once its template was tried."""
    with TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_HOME", home)
        patch.delenv("SELFTAUGHT_STORE", raising=False)
        platform = Platform.open()
        key = ReferenceEntry(keep(platform, str(model))[0]).key
        value = platform.store.claimed(key)
    assert value
    return key, value


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Engines that this process starts are recorded ones; the file that they note their requests in."""
    requests = tmp_path / "requests.jsonl"
    requests.touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ENGINE, REPOSITORY))))
    monkeypatch.setenv("RECORDED_REQUESTS", str(requests))
    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: "vllm.entrypoints.openai.api_server")
    return requests


@contextmanager
def owned_engines(home: Path) -> Generator[None]:
    """An owner of engines that the steps in this process ask."""
    with LocalEngines(home) as backend, EngineServer(backend, home) as owner, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_ENGINES", owner.address)
        yield


@pytest.fixture
def engines(platform: Platform, requests: Path) -> Generator[Path]:
    """An owner of simulated engines; the file that they note their requests in."""
    with owned_engines(platform.settings.home):
        yield requests


# One round, step by step, in this process -----------------------------------------------------------------------------


@dataclass
class Round:
    """One round of `recipe` on `line` with its artifacts under `folder`: one method a task of the pipeline."""

    folder: Path
    recipe: Mapping[str, Any]
    line: str = "line"
    campaign: str = "campaign"
    number: int = 1
    attempt: int = 0
    shards: int = 2
    challenger: str = ""
    made: dict[str, dsl.Artifact] = field(default_factory=dict)

    def artifact(self, name: str, kind: type[dsl.Artifact] = dsl.Dataset) -> dsl.Artifact:
        """The artifact `name`, the same object every time: outputs of one step are inputs of the next."""
        if name not in self.made:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.made[name] = kind(name=name, uri=str(self.folder / name), metadata={})
        return self.made[name]

    def prepare(self) -> None:
        from components.prepare.component import prepare

        job, tasks = self.artifact("job", dsl.Artifact), self.artifact("tasks")
        shards = list(range(self.shards))
        prepare.python_func(
            json.dumps(self.recipe), self.line, self.campaign, self.number, self.attempt, shards, job, tasks
        )

    def sample(self) -> None:
        from components.sample.component import sample

        for shard in range(self.shards):
            out = self.artifact(f"groups-{shard}")
            sample.python_func(self.made["job"], shard, self.artifact("tasks"), out)

    def search(self) -> None:
        from components.mcts.component import mcts

        for shard in range(self.shards):
            out, metrics = self.artifact(f"groups-{shard}"), self.artifact(f"search-metrics-{shard}", dsl.Metrics)
            mcts.python_func(self.made["job"], shard, self.artifact("tasks"), out, metrics)

    def verify(self) -> None:
        from components.verify.component import verify

        groups = [self.artifact(f"groups-{shard}") for shard in range(self.shards)]
        metrics = self.artifact("verify-metrics", dsl.Metrics)
        verify.python_func(self.made["job"], groups, self.artifact("verified"), self.artifact("examples"), metrics)

    def train(self) -> None:
        from components.train.component import train

        model, metrics = self.artifact("model", dsl.Model), self.artifact("train-metrics", dsl.Metrics)
        (self.challenger,) = train.python_func(self.made["job"], self.artifact("examples"), model, metrics)

    def train_online(self) -> None:
        from components.train.online import train

        given = [self.artifact(name) for name in ("tasks", "verified", "examples")]
        model, metrics = self.artifact("model", dsl.Model), self.artifact("train-metrics", dsl.Metrics)
        (self.challenger,) = train.python_func(self.made["job"], *given, model, metrics)

    def evaluate(self, split: str) -> None:
        from components.evaluate.component import evaluate

        scores, metrics = self.artifact(f"{split}-scores"), self.artifact(f"{split}-metrics", dsl.Metrics)
        evaluate.python_func(self.made["job"], self.challenger, split, self.artifact("tasks"), scores, metrics)

    def gate(self) -> str:
        from components.gate.component import gate

        given = [self.artifact(name) for name in ("tasks", "examples", "gate-scores")]
        decision, metrics = self.artifact("decision", dsl.Artifact), self.artifact("gate-metrics", dsl.Metrics)
        return gate.python_func(self.made["job"], self.challenger, *given, decision, metrics)

    def promote(self) -> None:
        from components.promote.component import promote

        promote.python_func(self.made["job"], self.challenger, self.made["decision"])

    def report(self) -> None:
        from components.report.component import report

        given = [self.artifact(name) for name in ("tasks", "verified", "examples")]
        scores = [self.artifact(name) for name in ("gate-scores", "report-scores")]
        page, metrics = self.artifact("page", dsl.HTML), self.artifact("page-metrics", dsl.Metrics)
        report.python_func(self.made["job"], *given, self.made["model"], *scores, self.made["decision"], page, metrics)

    @property
    def steps(self) -> dict[str, Callable[[], object]]:
        """The steps of a complete round in their order, by name."""
        return {
            "prepare": self.prepare,
            "sample": self.sample,
            "verify": self.verify,
            "train": self.train,
            "evaluate gate": partial(self.evaluate, "gate"),
            "gate": self.gate,
            "promote": self.promote,
            "evaluate report": partial(self.evaluate, "report"),
            "report": self.report,
        }

    def until_trained(self) -> None:
        """Everything up to the challenger."""
        if self.recipe["stages"][0].get("online"):
            self.prepare()
            self.train_online()
            return
        searches = self.recipe["stages"][0]["sample"]["type"] == "search"
        for step in (self.prepare, self.search if searches else self.sample, self.verify, self.train):
            step()

    def run(self) -> str:
        """The complete round, as the pipeline orders it. Returns the outcome."""
        self.until_trained()
        self.evaluate("gate")
        outcome = self.gate()
        self.promote()
        self.evaluate("report")
        self.report()
        return outcome

    @property
    def job(self) -> Job:
        """What prepare fixed."""
        return Job.read(self.made["job"].path)


class Rounds(Campaign):
    """A campaign that takes the steps of its rounds itself; `step` is the kind of round."""

    step: type[Round] = Round

    def _pipeline(self, key: RoundKey, folder: Path) -> RunStatus:
        plan, run = begun(self.platform, key), RunRef("", key.name, "", "")
        round = self.step(
            emptied(folder) / "files" / "report",
            self.order.recipe.model_dump(mode="json"),
            self.order.line,
            self.order.campaign,
            key.number,
            key.attempt,
            plan.shards if plan else self.order.shards,
        )
        # As in a process of the run's own: the tests after this one have none of it.
        with pytest.MonkeyPatch.context() as patch:
            for name, value in LocalRunner(self.platform).environment(key).items():
                patch.setenv(name, value)
            try:
                round.run()
            except SystemExit:
                return RunStatus(run, "FAILED", "")
        return RunStatus(run, "SUCCEEDED", "")
