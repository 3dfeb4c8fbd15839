"""Serving on KServe: one InferenceService per model digest, created once and never changed.

Ready is what can be trusted: the Deployment has rolled out *and* the server itself has named the digest several times
in a row over new connections. KServe's own conditions say Ready while a new revision crash-loops. Where users are led
is a route's business (`selftaught.serving.routes`).

An InferenceService is sent with the Kubernetes client, because the SDK's own turns every refusal into one RuntimeError.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from selftaught.cluster.client import Cluster, RolloutStatus, api_errors, found, won
from selftaught.cluster.naming import DIGEST, LINE, version_name
from selftaught.core.errors import BadInput, Unavailable, WrongModel
from selftaught.serving.backend import Route, Served
from selftaught.serving.engines.engine import Waiting
from selftaught.serving.kserve.inference_service import GROUP, VERSION, inference_service
from selftaught.serving.probe import wait_until_answers
from selftaught.settings import Settings

PLURAL = "inferenceservices"


class KServe:
    """Implements `selftaught.serving.backend.Backend`. `locate` gives the storage URI of a digest."""

    def __init__(
        self,
        cluster: Cluster,
        locate: Callable[[str], str],
        settings: Settings,
        route: Route,
        waiting: Waiting = lambda name, seconds: None,
    ) -> None:
        self.cluster, self.settings, self.route = cluster, settings, route
        self.locate, self._waiting = locate, waiting

    def deploy(self, line: str, digest: str) -> Served:
        """Serve the model; see `Backend.deploy`.

        Raises BadInput with the pod's own words when it cannot come up, Unavailable when it is not up in time,
        Away when it was up and is lost meanwhile.
        """
        name, begin = version_name(line, digest), time.monotonic()
        if self.settings.one_engine:
            self._make_room(name)
        while not self._rolled_out(name, service := self._created(name, line, digest)):
            self._waiting(name, time.monotonic() - begin)
            if time.monotonic() - begin > self.settings.ready_within:
                state = self._rollout(name, service).state
                raise Unavailable(f"{name}: not up after {self.settings.ready_within:.0f} s ({state}).")
            time.sleep(1)
        served = Served(f"{self.cluster.url(f'{name}-predictor')}/v1", line, digest)
        wait_until_answers(served)
        return served

    def ready(self, line: str, digest: str) -> None:
        """Have the version up; see `deploy`."""
        self.deploy(line, digest)

    def remove(self, line: str, digest: str) -> None:
        """Delete the version's InferenceService; its pods answer what they were asked before they end."""
        self.route.retire(line, digest)
        self._delete(version_name(line, digest))

    def served(self, line: str) -> dict[str, float]:
        """The digests that are served for `line`, with their age in seconds."""
        now = datetime.now(UTC)
        ours = [item["metadata"] for item in self._listed(f"{LINE}={line}")]
        return {meta["annotations"][DIGEST]: (now - _time(meta["creationTimestamp"])).total_seconds() for meta in ours}

    def _make_room(self, name: str) -> None:
        """Delete every other version's InferenceService: where one engine fits, the old one stops first."""
        for other in self._listed(LINE):
            if other["metadata"]["name"] != name:
                self._delete(other["metadata"]["name"])

    def _listed(self, selector: str) -> list[Any]:
        """The InferenceServices of versions that the label selector selects."""
        with api_errors(f"inferenceservices in {self.cluster.namespace}"):
            listed = self.cluster.custom.list_namespaced_custom_object(
                GROUP, VERSION, self.cluster.namespace, PLURAL, label_selector=selector
            )
        return [item for item in listed["items"] if DIGEST in item["metadata"].get("annotations", {})]

    def _delete(self, name: str) -> None:
        api, space = self.cluster.custom, self.cluster.namespace
        with api_errors(f"inferenceservice {name}"):
            found(lambda: api.delete_namespaced_custom_object(GROUP, VERSION, space, PLURAL, name))

    def _created(self, name: str, line: str, digest: str) -> Any:
        """The version's InferenceService, made if need be. Raises WrongModel when it is another digest's."""
        api, space = self.cluster.custom, self.cluster.namespace
        with api_errors(f"inferenceservice {name}"):
            while (known := found(lambda: self.read(name))) is None:  # another process may delete what was made
                body = inference_service(self.settings, self.locate(digest), line, digest)
                won(partial(api.create_namespaced_custom_object, GROUP, VERSION, space, PLURAL, body))
        there = known["metadata"].get("annotations", {}).get(DIGEST)
        if there != digest:
            raise WrongModel(f"inferenceservice {name}: is of {there or 'no digest'}, not {digest}. Delete it.")
        return known

    def lease(self, line: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold what moves the line's pointer: one process at a time does."""
        return self.cluster.lease(f"selftaught-{line}")

    def read(self, name: str) -> Any:
        """The InferenceService as the cluster has it. Raises the client's ApiException."""
        return self.cluster.custom.get_namespaced_custom_object(GROUP, VERSION, self.cluster.namespace, PLURAL, name)

    def _rollout(self, name: str, service: Any) -> RolloutStatus:
        replicas = service["spec"]["predictor"].get("minReplicas", 1)
        return self.cluster.rollout(f"{name}-predictor", f"app=isvc.{name}-predictor", replicas)

    def _rolled_out(self, name: str, service: Any) -> bool:
        """Whether the Deployment of `service`, which is not being deleted, is done. Raises BadInput if it cannot be."""
        if "deletionTimestamp" in service["metadata"]:
            return False
        rollout = self._rollout(name, service)
        failure = rollout.failure or ("" if rollout.done else _blocked(service))
        if failure:
            raise BadInput(f"{name}: cannot be served. {failure}")
        return rollout.done


_FINAL = {"InvalidPredictorSpec", "NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled"}


def _blocked(service: Any) -> str:
    """What KServe itself says of a version that it cannot load: its storage initializer's words, or a bad spec."""
    status = service.get("status", {}).get("modelStatus", {})
    reported_on = status.get("lastFailureInfo", {})
    if status.get("states", {}).get("targetModelState") == "FailedToLoad" or reported_on.get("reason") in _FINAL:
        return f"KServe: {reported_on.get('reason')}: {reported_on.get('message', '')}"
    return ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
