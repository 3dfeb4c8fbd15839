"""The platform of a process, according to its settings: the store, the tracker and serving.

`Platform.memoize` is the rule that makes steps safe to kill and to repeat: the first completed output under the digest
of a step's inputs wins, and everybody after gets that one. Which steps there are is `selftaught.round`'s business.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from selftaught.cluster.client import Cluster
from selftaught.core.canonical import canonical
from selftaught.core.progress import Progress
from selftaught.records import Record, dataset
from selftaught.records.dataset import Manifest
from selftaught.serving.backend import Backend, Route
from selftaught.serving.engines.remote import RemoteEngines
from selftaught.serving.kserve.backend import KServe
from selftaught.serving.kserve.inference_service import inference_service
from selftaught.serving.routes.gateway import GatewayRoute
from selftaught.serving.routes.git import GitRoute
from selftaught.serving.routes.repository import Repository
from selftaught.serving.routes.service import ServiceRoute
from selftaught.settings import Settings
from selftaught.state.ledger import Ledger, StepEntry
from selftaught.state.store import Store, open_store
from selftaught.state.tracking import Tracker
from selftaught.state.weights import proven

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Platform:
    """The store, the tracker and the folders of this machine."""

    settings: Settings
    store: Store
    tracker: Tracker

    @classmethod
    def open(cls) -> Self:
        """The platform that the environment describes."""
        settings = Settings.load()
        return cls(settings, open_store(settings.store), Tracker(settings.tracking_uri))

    @property
    def ledger(self) -> Ledger:
        """What became of every round and step."""
        return Ledger(self.store)

    def progress(self, step: str, unit: str = "tasks") -> Progress:
        """Where `step` says how far it is."""
        return Progress(step, Path(self.settings.events) if self.settings.events else None, unit)

    def model(self, digest: str) -> Path:
        """A readable local folder with the model's files, each of which is read to prove that they are the digest's."""
        return proven(self.store.local("models", digest, self._cache), digest)

    def rows(self, digest: str, record: type[R]) -> Iterator[R]:
        """The rows of the data set `digest`, from the store, one after the other."""
        return dataset.rows(dataset.proven(self.store.local("datasets", digest, self._cache), digest), record)

    @property
    def _cache(self) -> Path:
        return self.settings.home / "cache"

    def serving(self) -> Backend:
        """What serves models for this process."""
        settings = self.settings
        if settings.serving == "local":
            return RemoteEngines(settings.engines, self.model)
        cluster = Cluster(settings.namespace, settings.reach)
        return KServe(cluster, self._uri, settings, self._route(cluster))

    def _route(self, cluster: Cluster) -> Route:
        """Where users on the cluster are led, as the settings say."""
        settings = self.settings
        if settings.route == "gateway":
            return GatewayRoute(cluster, settings, partial(print, file=sys.stderr, flush=True))
        if settings.route == "git":
            repository = Repository(settings.git_url, settings.git_branch, settings.git_author)
            return GitRoute(repository, settings.git_path, self._manifest, cluster, settings.follow_within)
        return ServiceRoute(cluster)

    def _manifest(self, line: str, digest: str) -> Any:
        return inference_service(self.settings, self._uri(digest), line, digest)

    def _uri(self, digest: str) -> str:
        """Where a cluster loads the model from."""
        return self.store.uri("models", digest)

    def memoize(
        self, step: str, inputs: Mapping[str, Any], out: Path, produce: Callable[[Path, str], Manifest]
    ) -> Manifest:
        """The data set of `step` under `inputs`, in `out`: made by `produce(out, key)`, or the one made before."""
        key = input_key(step, inputs)
        digest = self._made(key)
        if digest is None:
            made = produce(out, key)
            self.store.put("datasets", made.digest, out)
            digest = self.store.claim(key, made.digest.encode()).decode(errors="replace")
        if not (out / "manifest.json").exists() or dataset.manifest(out).digest != digest:
            self.store.get("datasets", digest, out)
            dataset.proven(out, digest)
        return dataset.manifest(out)

    def _made(self, key: str) -> str | None:
        """The data set that `key` claims. One that was removed, as the message about a damaged one advises, is none."""
        if (claimed := self.store.claimed(key)) is None:
            return None
        digest = claimed.decode(errors="replace")
        if self.store.has("datasets", digest):
            return digest
        self.store.release(key)
        return None


def input_key(step: str, inputs: Mapping[str, Any]) -> str:
    """The claim of a step: its name and the digest of its inputs."""
    return StepEntry(step, hashlib.sha256(canonical(dict(inputs))).hexdigest()).key
