"""Serving on KServe: one InferenceService per model digest, created once and never changed.

Ready is what can be trusted: the Deployment has rolled out *and* the server itself has named the digest several times
in a row over new connections. KServe's own conditions say Ready while a new revision crash-loops. Users reach the
champion through a Service called like the line, whose selector is moved; established connections stay where they are,
until the engine closes them (`selftaught.serving.connections`).

The InferenceService is built with the SDK's types, so that its spelling is checked; it is sent with the Kubernetes
client, because the SDK's own turns every refusal into one RuntimeError.
"""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from selftaught.errors import BadInput, Unavailable, WrongModel
from selftaught.models import served_name
from selftaught.serving.backend import Served
from selftaught.serving.cluster import Cluster, found, told, won
from selftaught.serving.engine import Waiting

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
LINE, DIGEST = "selftaught.io/line", "selftaught.io/digest"
SELECTOR = f"{GROUP}/inferenceservice"
ENGINE_PORT = 8080
IN_A_ROW = 5
"""How often the server has to name its digest: one connection was seen refused right after the first Ready."""
_LINE = re.compile(r"[a-z]([-a-z0-9]{0,42}[a-z0-9])?")
"""`<line>-<digest8>-predictor` is a DNS label of at most 63 characters."""


@dataclass(frozen=True, slots=True)
class KServeOptions:
    """How versions are served; see `selftaught.settings` for what each says."""

    runtime: str
    account: str
    ready_within: float
    termination_grace: int
    reach: str


class KServe:
    """Implements `selftaught.serving.backend.Backend`. `locate` gives the storage URI of a digest."""

    def __init__(
        self,
        cluster: Cluster,
        locate: Callable[[str], str],
        options: KServeOptions,
        waiting: Waiting = lambda name, seconds: None,
    ) -> None:
        self.cluster, self.options = cluster, options
        self.locate, self._waiting = locate, waiting

    # Versions -------------------------------------------------------------------------------------------------------

    def deploy(self, line: str, digest: str) -> Served:
        """Serve the model; see `Backend.deploy`.

        Raises BadInput with the pod's own words when it cannot come up, Unavailable when it is not up in time.
        """
        name, begin = _named(line, digest), time.monotonic()
        while not self._created(name, line, digest) or not self._rolled_out(name):
            self._waiting(name, time.monotonic() - begin)
            if time.monotonic() - begin > self.options.ready_within:
                state = self._rollout(name).state
                raise Unavailable(f"{name}: not up after {self.options.ready_within:.0f} s ({state}).")
            time.sleep(1)
        served = Served(f"{self.url(f'{name}-predictor')}/v1", line, digest)
        self._answers(served)
        return served

    def ready(self, line: str, digest: str) -> None:
        """Have the version up; see `deploy`."""
        self.deploy(line, digest)

    def remove(self, line: str, digest: str) -> None:
        """Delete the version's InferenceService; its pods answer what they were asked before they end."""
        name = _named(line, digest)
        with told(f"inferenceservice {name}"):
            found(
                lambda: self.cluster.custom.delete_namespaced_custom_object(
                    GROUP, VERSION, self.cluster.namespace, PLURAL, name
                )
            )

    def served(self, line: str) -> dict[str, float]:
        """The digests that are served for `line`, with their age in seconds."""
        with told(f"inferenceservices in {self.cluster.namespace}"):
            listed = self.cluster.custom.list_namespaced_custom_object(
                GROUP, VERSION, self.cluster.namespace, PLURAL, label_selector=f"{LINE}={line}"
            )
        now = datetime.now(UTC)
        ours = [item["metadata"] for item in listed["items"] if DIGEST in item["metadata"].get("annotations", {})]
        return {meta["annotations"][DIGEST]: (now - _time(meta["creationTimestamp"])).total_seconds() for meta in ours}

    def _created(self, name: str, line: str, digest: str) -> bool:
        """Whether the version's InferenceService is there, made if need be; not while one is being deleted.

        Raises WrongModel when it is another digest's.
        """
        api, space = self.cluster.custom, self.cluster.namespace
        with told(f"inferenceservice {name}"):
            known = found(lambda: self.read(name))
            if known is None:
                body = self.manifest(name, line, digest)
                won(lambda: api.create_namespaced_custom_object(GROUP, VERSION, space, PLURAL, body))
                known = self.read(name)
        there = known["metadata"].get("annotations", {}).get(DIGEST)
        if there != digest:
            raise WrongModel(f"inferenceservice {name}: is of {there or 'no digest'}, not {digest}. Delete it.")
        return "deletionTimestamp" not in known["metadata"]

    def read(self, name: str) -> Any:
        """The InferenceService as the cluster has it. Raises the client's ApiException."""
        return self.cluster.custom.get_namespaced_custom_object(GROUP, VERSION, self.cluster.namespace, PLURAL, name)

    def manifest(self, name: str, line: str, digest: str) -> Any:
        """The InferenceService of a version: everything that its servers share is in the runtime."""
        import kserve
        from kubernetes import client

        model = kserve.V1beta1ModelSpec(
            model_format=kserve.V1beta1ModelFormat(name="selftaught"),
            runtime=self.options.runtime,
            storage_uri=self.locate(digest),
            args=["--served-model-name", name, line],
        )
        service = kserve.V1beta1InferenceService(
            api_version=f"{GROUP}/{VERSION}",
            kind="InferenceService",
            metadata=client.V1ObjectMeta(
                name=name,
                labels={LINE: line, "app.kubernetes.io/managed-by": "selftaught"},
                annotations={
                    DIGEST: digest,
                    f"{GROUP}/deploymentMode": "Standard",
                    f"{GROUP}/autoscalerClass": "none",
                },
            ),
            spec=kserve.V1beta1InferenceServiceSpec(
                predictor=kserve.V1beta1PredictorSpec(
                    model=model,
                    service_account_name=self.options.account,
                    min_replicas=1,
                    termination_grace_period_seconds=self.options.termination_grace,
                )
            ),
        )
        return self.cluster.client.sanitize_for_serialization(service)

    def _rollout(self, name: str) -> Any:
        return self.cluster.rollout(f"{name}-predictor", f"app=isvc.{name}-predictor")

    def _rolled_out(self, name: str) -> bool:
        """Whether the version's Deployment is done. Raises BadInput when it cannot be."""
        rollout = self._rollout(name)
        failure = rollout.failure or (None if rollout.done else self._blocked(name))
        if failure:
            raise BadInput(f"{name}: cannot be served. {failure}")
        return rollout.done

    def _blocked(self, name: str) -> str | None:
        """What KServe itself says of a version that it cannot load: its storage initializer's words, or a bad spec."""
        with told(f"inferenceservice {name}"):
            known: Any = found(lambda: self.read(name))
            status: Any = known.get("status", {}).get("modelStatus", {}) if known else {}
        told_of = status.get("lastFailureInfo", {})
        if status.get("states", {}).get("targetModelState") == "FailedToLoad" or told_of.get("reason") in _FINAL:
            return f"KServe: {told_of.get('reason')}: {told_of.get('message', '')}"
        return None

    def _answers(self, served: Served) -> None:
        """Wait until the server names its digest several times in a row. Raises WrongModel when it names others."""
        until = time.monotonic() + 60
        row = 0
        while row < IN_A_ROW:
            names = self._names(served.url)
            if names and served.name not in names:
                raise WrongModel(f"{served.url} serves {', '.join(names)}, not {served.name}. Delete it.")
            row = row + 1 if names else 0
            if not names and time.monotonic() > until:
                raise Unavailable(f"{served.url}: {served.name} is rolled out but does not answer. See its pods' logs.")
            time.sleep(0.2)

    def _names(self, url: str) -> list[str]:
        """The names that the server at `url` says it serves, over a new connection; none while it does not answer."""
        try:
            listed = httpx.get(f"{url}/models", timeout=5, trust_env=False).raise_for_status().json()
        except httpx.HTTPError:
            return []
        return [model["id"] for model in listed["data"]]

    def url(self, service: str) -> str:
        """Where a Service of the namespace answers, such as a line's stable address."""
        if self.options.reach == "name":
            return f"http://{service}.{self.cluster.namespace}.svc.cluster.local"
        with told(f"service {service}"):
            address = self.cluster.core.read_namespaced_service(service, self.cluster.namespace).spec.cluster_ip
        return f"http://{address}"

    # The pointer ----------------------------------------------------------------------------------------------------

    def lease(self, line: str) -> AbstractContextManager[None]:
        """Hold what moves the line's pointer: one process at a time does."""
        return self.cluster.lease(f"selftaught-{line}")

    def point(self, line: str, digest: str) -> None:
        """Have the line's stable address lead to this version; returns once new connections arrive there.

        Raises Unavailable when they do not within a minute.
        """
        name = _named(line, digest)
        self._select(line, name)
        url, until, row = f"{self.url(line)}/v1", time.monotonic() + 60, 0
        while row < IN_A_ROW:
            row = row + 1 if name in self._names(url) else 0
            if time.monotonic() > until:
                raise Unavailable(f"service {line}: does not lead to {name} after 60 s. Are its pods up?")
            time.sleep(0.2)

    def pointed(self, line: str) -> str | None:
        """The name of the version that the stable address leads to, or None where there is no such address."""
        with told(f"service {line}"):
            service = found(lambda: self.cluster.core.read_namespaced_service(line, self.cluster.namespace))
        return None if service is None else str(service.spec.selector.get(SELECTOR))

    def _select(self, line: str, name: str) -> None:
        core, namespace = self.cluster.core, self.cluster.namespace
        with told(f"service {line}"):
            before = self.pointed(line)
            if before is None:
                core.create_namespaced_service(namespace, _service(line, name))
            elif before != name:
                core.patch_namespaced_service(line, namespace, {"spec": {"selector": {SELECTOR: name}}})


_FINAL = {"InvalidPredictorSpec", "NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled"}


def _named(line: str, digest: str) -> str:
    """The version's name. Raises BadInput when a Service cannot be called like the line."""
    if not _LINE.fullmatch(line):
        raise BadInput(
            f"line '{line}': on a cluster it is part of a Service's name: lower-case letters, digits and dashes, a "
            "letter first, at most 44. Choose another --line."
        )
    return served_name(line, digest)


def _service(line: str, name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": line, "labels": {LINE: line, "app.kubernetes.io/managed-by": "selftaught"}},
        "spec": {
            "selector": {SELECTOR: name},
            "ports": [{"name": "http", "port": 80, "targetPort": ENGINE_PORT}],
        },
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
