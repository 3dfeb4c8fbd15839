"""What every step of a round is told (`Job`), and what it works with on this machine (`Workplace`).

`Workplace.once` is the rule that makes steps safe to kill and to repeat: the first completed output under the digest
of a step's inputs wins, and everybody after gets that one.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selftaught.cluster.client import Cluster
from selftaught.core.canonical import canonical
from selftaught.core.errors import StoreError
from selftaught.core.progress import Progress
from selftaught.recipe import Recipe, Stage
from selftaught.records import Record, dataset
from selftaught.records.dataset import Manifest
from selftaught.serving.backend import Backend, Route
from selftaught.serving.engines.remote import OwnedEngines
from selftaught.serving.kserve.backend import KServe
from selftaught.serving.kserve.inference_service import inference_service
from selftaught.serving.routes.gateway import GatewayRoute
from selftaught.serving.routes.git import GitRoute
from selftaught.serving.routes.repository import Repository
from selftaught.serving.routes.service import ServiceRoute
from selftaught.settings import Settings
from selftaught.state.store import Store, open_store
from selftaught.state.tracking import Tracker
from selftaught.state.weights import proven

M = TypeVar("M", bound=BaseModel)


R = TypeVar("R", bound=Record)


class ModelRef(BaseModel):
    """A model of the line by digest and registered version."""

    model_config = ConfigDict(frozen=True)

    digest: str
    version: str = ""


class Earlier(BaseModel):
    """What an earlier round of the campaign was trained on, by digest."""

    model_config = ConfigDict(frozen=True)

    tasks: str
    examples: str


class Reused(BaseModel):
    """An earlier round (its name) whose trees a search may go on from: their data set by digest, and how many rows.

    `valued` says whether their values are those that this round's blocks and models would give.
    """

    model_config = ConfigDict(frozen=True)

    round: str
    trees: str
    rows: int
    valued: bool


class Plan(BaseModel):
    """One attempt at one round as it was fixed, without its recipe: what is read of plans long after.

    Another version wrote some of them, with recipes that this one, or this machine, may not be able to read.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    line: str
    campaign: str
    round: int
    attempt: int
    run: str
    """Id of the round's MLflow run."""
    started: float
    """When the round was fixed (seconds since the epoch)."""
    tasks: str
    """Digest of the data set of tasks."""
    drops: tuple[str, ...] = ()
    """The drops that the round uses up, where its tasks are dropped ones."""
    champion: ModelRef
    anchor: ModelRef | None = None
    """What the line began with: the guard holds the challenger against it too. None in a plan of before it did."""
    sampler: ModelRef
    trainee: ModelRef
    roles: Mapping[str, ModelRef] = {}
    """The models of the roles other than policy, as far as there are any yet."""
    trainees: Mapping[str, ModelRef] = {}
    """What the stage trains beside the policy, by role: the newest version, or the policy's trainee where none is."""

    @property
    def name(self) -> str:
        """`<line>/<campaign>/<round>-<attempt>`: what claims of this round are kept under."""
        return round_name(self.line, self.campaign, self.round, self.attempt)


class Job(Plan, defer_build=True):
    """One attempt at one round, as `prepare` fixed it: aliases are resolved once, and everything after goes by this."""

    recipe: Recipe
    stage: str
    seed: int
    campaign_seed: int
    shards: int
    """How many sampling tasks share the training tasks."""
    broken: tuple[str, ...] = ()
    """What is wrong with the drops that were set aside."""
    pool: str = ""
    """Digest of what gate tasks are drawn from over the rounds; empty where every round has its own."""
    earlier: tuple[Earlier, ...] = ()
    """The rounds whose examples are replayed; none where the stage replays none."""
    reused: tuple[Reused, ...] = ()
    """The rounds whose trees the search goes on from, newest first; none unless it reuses them."""

    @classmethod
    def read(cls, path: str) -> Self:
        """The job that `prepare` wrote to `path`."""
        return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))

    def own(self, key: str) -> str:
        """The key of a step as a name of this line's own, for what is unfinished: lines may be at one step at once."""
        return f"{self.line}/{key}"

    @property
    def blocks(self) -> Stage:
        """The blocks of this round's stage."""
        return self.recipe.stage(self.stage)


def role_line(line: str, role: str) -> str:
    """The line on which the trained models of a role other than policy are registered, beside the policy's."""
    return f"{line}-{role}"


def round_name(line: str, campaign: str, round: int, attempt: int) -> str:
    """The name that the claims of one attempt at a round are kept under."""
    return f"{line}/{campaign}/{round}-{attempt}"


@dataclass(frozen=True, slots=True)
class Workplace:
    """The store, the tracker and the folders of this machine."""

    settings: Settings
    store: Store
    tracker: Tracker

    @classmethod
    def open(cls) -> Self:
        """The workplace that the environment describes."""
        settings = Settings.load()
        return cls(settings, open_store(settings.store), Tracker(settings.tracking_uri))

    def progress(self, step: str, unit: str = "tasks") -> Progress:
        """Where `step` says how far it is."""
        return Progress(step, Path(self.settings.events) if self.settings.events else None, unit)

    def model(self, digest: str) -> Path:
        """A readable local folder with the model's files, each of which is read to prove that they are the digest's."""
        return proven(self.store.local("models", digest, self._cache), digest)

    def begun(self, name: str) -> Job | None:
        """The job of the round `name`, where it was fixed already. Raises StoreError when it cannot be read."""
        told = self.store.claimed(plan_key(name))
        return None if told is None else understood(self.store, plan_key(name), told, Job)

    def rows(self, digest: str, record: type[R]) -> Iterator[R]:
        """The rows of the data set `digest`, from the store, one after the other."""
        return dataset.rows(dataset.proven(self.store.local("datasets", digest, self._cache), digest), record)

    @property
    def _cache(self) -> Path:
        return self.settings.home / "cache"

    def serving(self) -> Backend:
        """What serves models for this process."""
        told = self.settings
        if told.serving == "local":
            return OwnedEngines(told.engines, self.model)
        cluster = Cluster(told.namespace, told.reach)
        return KServe(cluster, self._uri, told, self._route(cluster))

    def _route(self, cluster: Cluster) -> Route:
        """Where users on the cluster are led, as the settings say."""
        told = self.settings
        if told.route == "gateway":
            return GatewayRoute(cluster, told, partial(print, file=sys.stderr, flush=True))
        if told.route == "git":
            repository = Repository(told.git_url, told.git_branch, told.git_author)
            return GitRoute(repository, told.git_path, self._manifest, cluster, told.follow_within)
        return ServiceRoute(cluster)

    def _manifest(self, line: str, digest: str) -> Any:
        return inference_service(self.settings, self._uri(digest), line, digest)

    def _uri(self, digest: str) -> str:
        """Where a cluster loads the model from."""
        return self.store.uri("models", digest)

    def once(
        self, step: str, inputs: Mapping[str, Any], out: Path, produce: Callable[[Path, str], Manifest]
    ) -> Manifest:
        """The data set of `step` under `inputs`, in `out`: made by `produce(out, key)`, or the one made before."""
        key = input_key(step, inputs)
        done = self.store.claimed(key)
        if done is None:
            made = produce(out, key)
            self.store.put("datasets", made.digest, out)
            done = self.store.claim(key, made.digest.encode())
        digest = done.decode(errors="replace")
        if not (out / "manifest.json").exists() or dataset.manifest(out).digest != digest:
            self.store.get("datasets", digest, out)
            dataset.proven(out, digest)
        return dataset.manifest(out)


def plan_key(name: str) -> str:
    """The claim that holds a round's job; `name` is the job's."""
    return f"plans/{name}"


def input_key(step: str, inputs: Mapping[str, Any]) -> str:
    """The claim of a step: its name and the digest of its inputs."""
    return f"steps/{step}/{hashlib.sha256(canonical(dict(inputs))).hexdigest()}"


def dump(blocks: Any) -> Any:
    """Blocks as plain data, for input digests."""
    if isinstance(blocks, BaseModel):
        return blocks.model_dump(mode="json")
    return [block.model_dump(mode="json") for block in blocks]


def understood(store: Store, key: str, value: bytes, kind: type[M]) -> M:
    """What a claim says. Raises StoreError, naming it, where that is nothing that this version can read."""
    try:
        return kind.model_validate_json(value)
    except ValidationError as error:
        raise StoreError(
            f"{store.root}/claims/{key}: cannot be read as a {kind.__name__} ({error.error_count()} errors). Another "
            "version wrote it, with blocks that are not installed here, or none did: then remove it and run again."
        ) from None


def asked(place: Workplace, job: Job) -> dict[str, Any]:
    """What answers depend on beside models and blocks, for input digests: whatever is not the default of it.

    The variables of the chat template, and how engines on this machine are run.
    """
    engine = {name: told for name in ANSWERS if (told := getattr(place.settings, name)) != _default(name)}
    template = job.recipe.chat_template
    return {**({"chat_template": template} if template else {}), **({"engine": engine} if engine else {})}


ANSWERS = ("engine_context", "engine_dtype")
"""The settings of engines that change what they answer, or whether they do."""


def _default(setting: str) -> Any:
    return Settings.model_fields[setting].default


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
