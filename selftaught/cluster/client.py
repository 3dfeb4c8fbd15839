"""The Kubernetes API as serving needs it: is a Deployment rolled out, why do its pods not come up, leases.

Says the API's failures in words that name the object and the fix. What is served, and under which name, is
`selftaught.serving.kserve.backend`'s business.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

from selftaught.cluster.naming import MANAGED
from selftaught.cluster.pod_security import fix
from selftaught.core.crashes import cause, last_lines
from selftaught.core.errors import Away, BadInput, Busy, SelftaughtError
from selftaught.core.trust import distrusted

TOKEN = Path("/var/run/selftaught/promoter/token")
"""A promoter's service account token, mounted into the one task that may promote: KFP runs all tasks of a run under
one account."""
BROKEN = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
"""Why a container waits when waiting longer will not help."""
LEASE_SECONDS = 120
"""How long a lease is held without being given back or renewed."""
LOG_LINES = 400
TIMEOUT = (10, 60)
"""Seconds until there is a connection to the API server, and until it answers, which it does within 60 by itself."""


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """How far a Deployment is. `failure` is why it will not get further, in the cluster's own words."""

    done: bool
    failure: str = ""
    state: str = ""


class Cluster:
    """One namespace of a cluster: the one of the pod, or of the kubeconfig's current context.

    `reach` is how its Services are reached from here: see `selftaught.settings`.
    """

    def __init__(self, namespace: str, reach: str) -> None:
        self.namespace, self._reach = namespace, reach

    @cached_property
    def client(self) -> Any:
        """A client of the API server. Raises BadInput when there is neither a pod's account nor a kubeconfig."""
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                cast(Any, config).load_incluster_config(client_configuration=configuration)
            else:
                # the library itself reads the variable when it is imported
                file = os.environ.get("KUBECONFIG")
                cast(Any, config).load_kube_config(config_file=file, client_configuration=configuration)
        except config.ConfigException as error:
            raise BadInput(
                f"no cluster: {str(error).rstrip('.')}. Set KUBECONFIG, or SELFTAUGHT_SERVING=local."
            ) from None
        if TOKEN.exists():
            configuration.refresh_api_key_hook = None
            configuration.api_key = {"authorization": f"Bearer {TOKEN.read_text(encoding='utf-8').strip()}"}
        cast(Any, configuration).retries = 3
        return _bounded(client.ApiClient(configuration))

    @cached_property
    def core(self) -> Any:
        """Pods, Services, Events."""
        from kubernetes import client

        return client.CoreV1Api(self.client)

    @cached_property
    def apps(self) -> Any:
        """Deployments."""
        from kubernetes import client

        return client.AppsV1Api(self.client)

    @cached_property
    def batch(self) -> Any:
        """CronJobs."""
        from kubernetes import client

        return client.BatchV1Api(self.client)

    @cached_property
    def custom(self) -> Any:
        """Objects of other API groups."""
        from kubernetes import client

        return client.CustomObjectsApi(self.client)

    @cached_property
    def coordination(self) -> Any:
        """Leases."""
        from kubernetes import client

        return client.CoordinationV1Api(self.client)

    def url(self, service: str) -> str:
        """Where a Service of the namespace answers, such as a line's stable address."""
        if self._reach == "name":
            return f"http://{service}.{self.namespace}.svc.cluster.local"
        if self._reach != "address":
            return self._proxied("services", f"{service}:80")
        with api_errors(f"service {service}"):
            address = self.core.read_namespaced_service(service, self.namespace).spec.cluster_ip
        return f"http://{address}"

    def pod_url(self, pod: Any, port: int) -> str:
        """Where a port of a Pod of the namespace answers."""
        if self._reach in ("name", "address"):
            return f"http://{pod.status.pod_ip}:{port}"
        return self._proxied("pods", f"{pod.metadata.name}:{port}")

    def _proxied(self, kind: str, name: str) -> str:
        """The API server's own way to a Service or a Pod, which is open over every connection to it."""
        return f"{self._reach}/api/v1/namespaces/{self.namespace}/{kind}/{name}/proxy"

    # Roll-outs ------------------------------------------------------------------------------------------------------

    def rollout(self, name: str, selector: str, replicas: int) -> RolloutStatus:
        """How far the Deployment `name` is, whose pods `selector` selects: done once `replicas` of them serve.

        KServe's own conditions are not asked: they stay Ready while a roll-out continues or crash-loops. What was up
        once can come up: its pods' crashes (out of memory) and what refuses a new pod are then its state, no failure.
        """
        with api_errors(f"deployment {name}"):
            deployment = found(lambda: self.apps.read_namespaced_deployment(name, self.namespace))
            if deployment is None or deployment.metadata.deletion_timestamp:
                return RolloutStatus(False, state="no Deployment yet")
            if _rolled_out(deployment, replicas):
                return RolloutStatus(True)
            pods = self.pods(selector)
        failure = _refused(deployment) or pods.failure
        return (
            RolloutStatus(False, state=failure or pods.state)
            if _was_up(deployment)
            else RolloutStatus(False, failure, pods.state)
        )

    # Pods -----------------------------------------------------------------------------------------------------------

    def pods(self, selector: str) -> RolloutStatus:
        """How far the pods are that `selector` selects: done when none is still to start.

        What is being deleted speaks for nothing that comes after it.
        """
        with api_errors(f"pods {selector}"):
            pods = self._listed(selector)
            staying = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
            broken = [words for pod in staying if (words := self._broken(pod))]
        done = bool(pods) and all(pod.status.phase != "Pending" for pod in pods)
        return RolloutStatus(done, "; ".join(broken[:1]), _state(pods))

    def logs(self, selector: str, phase: str) -> dict[str, str]:
        """The ends of the logs of those pods that are in `phase`, by name."""
        with api_errors(f"pods {selector}"):
            named = [pod.metadata.name for pod in self._listed(selector) if pod.status.phase == phase]
        return {name: self._log(name) for name in named}

    def _listed(self, selector: str) -> Sequence[Any]:
        return self.core.list_namespaced_pod(self.namespace, label_selector=selector).items

    def _broken(self, pod: Any) -> str:
        """Why `pod` will not come up, with the last lines of its log; empty while it may."""
        for status in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
            waiting = status.state.waiting
            if waiting is None or waiting.reason not in BROKEN:
                continue
            words = _words(waiting)
            if status.restart_count:
                log = self._log(pod.metadata.name, container=status.name, previous=True)
                words = f"{waiting.reason}: {_ended(status)}{cause(log) or last_lines(log)}"
            return f"pod {pod.metadata.name}, container {status.name}: {words}"
        return ""

    def _log(self, pod: str, **which: Any) -> str:
        from kubernetes.client.exceptions import ApiException

        try:
            return str(self.core.read_namespaced_pod_log(pod, self.namespace, tail_lines=LOG_LINES, **which))
        except ApiException as error:
            return f"(not readable: {cast(Any, error).reason})"

    # Leases ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def lease(self, name: str, patience: float = LEASE_SECONDS + 30.0) -> Generator[Callable[[], None]]:
        """Hold the Lease `name`, waiting `patience` seconds for another holder; one that died loses it within them.

        It is renewed while the block runs; what it gives renews it too, and raises Busy where another process has taken
        it since. Raises Busy when someone else holds it for longer.
        """
        holder, seen = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}", dict[str, float]()
        until = time.monotonic() + patience
        while not self._take(name, holder, seen):
            if time.monotonic() > until:
                raise Busy(f"lease {name}: held by another process. Run the same command again later.")
            time.sleep(1)
        over = threading.Event()
        renewing = threading.Thread(target=self._keep, args=(name, holder, over), daemon=True)
        renewing.start()
        try:
            yield partial(self._require_held, name, holder)
        finally:
            over.set()
            renewing.join()
            self._give_back(name, holder)

    def _keep(self, name: str, holder: str, over: threading.Event) -> None:
        """Renew the lease until it is `over`. What the API server does not take now it may take the next time."""
        while not over.wait(LEASE_SECONDS / 4):
            with suppress(SelftaughtError):
                self._renewed(name, holder)

    def _require_held(self, name: str, holder: str) -> None:
        if not self._renewed(name, holder):
            raise Busy(f"lease {name}: another process has taken it meanwhile. Run the same command again.")

    def _renewed(self, name: str, holder: str) -> bool:
        """Renew the lease; False where it is not the holder's any more."""
        with api_errors(f"lease {name}"):
            while (lease := self._lease(name)) is not None and lease.spec.holder_identity == holder:
                if self._replaced(lease, holder):
                    return True
        return False

    def _take(self, name: str, holder: str, seen: dict[str, float]) -> bool:
        """Take the lease if it is free, or was not renewed for as long as it lasts.

        `seen` is when each state of it was first seen: clocks of two machines may differ by more than that.
        """
        with api_errors(f"lease {name}"):
            lease = self._lease(name)
            if lease is None:
                return won(lambda: self.coordination.create_namespaced_lease(self.namespace, _lease(name, holder)))
            age = time.monotonic() - seen.setdefault(lease.metadata.resource_version, time.monotonic())
            if lease.spec.holder_identity and age < lease.spec.lease_duration_seconds:
                return False
            return self._replaced(lease, holder)

    def _lease(self, name: str) -> Any:
        return found(lambda: self.coordination.read_namespaced_lease(name, self.namespace))

    def _replaced(self, lease: Any, holder: str) -> bool:
        """Whether `holder` has it now: nobody has written it since `lease` was read."""
        name, ours = lease.metadata.name, _lease(lease.metadata.name, holder, lease.metadata.resource_version)
        return won(lambda: self.coordination.replace_namespaced_lease(name, self.namespace, ours))

    def _give_back(self, name: str, holder: str) -> None:
        """Free the lease. What the API server does not take is free in time, and hides nothing that came before."""
        with suppress(SelftaughtError), api_errors(f"lease {name}"):
            lease = self._lease(name)
            if lease is not None and lease.spec.holder_identity == holder:
                self._replaced(lease, "")


def _bounded(api: Any) -> Any:
    """`api`, which else waits for ever for an API server whose machine or network is gone."""
    ask = api.rest_client.request

    def request(*args: Any, _request_timeout: Any = None, **kwargs: Any) -> Any:
        return ask(*args, _request_timeout=_request_timeout or TIMEOUT, **kwargs)

    api.rest_client.request = request
    return api


@contextmanager
def api_errors(what: str) -> Generator[None]:
    """Say what the API server refuses in the block, or that it does not answer, in words that name `what`."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _refusal(what, error) from None
    except HTTPError as error:
        if why := distrusted(error):
            raise BadInput(
                f"{what}: the certificate of the Kubernetes API is not accepted ({why}). Name the authority that "
                "signed it in KUBECONFIG (certificate-authority), or fix the ca.crt of this pod's account."
            ) from None
        raise Away(f"{what}: the Kubernetes API does not answer ({error}). Is the cluster up?") from None


def _refusal(what: str, error: Any) -> SelftaughtError:
    words = message_of(error)
    if error.status in (401, 403):
        return BadInput(f"{what}: the cluster refuses it ({words}). Bind this account to the chart's role for it.")
    if error.status == 404:
        return BadInput(
            f"{what}: the cluster does not know it ({words}). Is what defines it installed (KServe, Kubeflow Trainer, "
            "Gateway API), and the namespace there?"
        )
    if error.status >= 500 or error.status == 429:
        return Away(f"{what}: the Kubernetes API failed to answer ({words}). Try again later.")
    return BadInput(f"{what}: the cluster refuses it ({words}).")


def message_of(error: Any) -> str:
    """What the API server says in its own words: of a refused request, which right is missing."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def found(read: Callable[[], Any]) -> Any:
    """What `read` reads, or None when it is not there."""
    from kubernetes.client.exceptions import ApiException

    try:
        return read()
    except ApiException as error:
        if cast(Any, error).status == 404:
            return None
        raise


def won(write: Callable[[], Any]) -> bool:
    """Whether `write` was the first; someone else's conflicting write is not an error."""
    from kubernetes.client.exceptions import ApiException

    try:
        write()
    except ApiException as error:
        if cast(Any, error).status == 409:
            return False
        raise
    return True


def _lease(name: str, holder: str, version: str | None = None) -> Any:
    from kubernetes import client

    now = datetime.now(UTC)
    return client.V1Lease(
        metadata=client.V1ObjectMeta(name=name, resource_version=version, labels=dict(MANAGED)),
        spec=client.V1LeaseSpec(
            holder_identity=holder or None, lease_duration_seconds=LEASE_SECONDS, acquire_time=now, renew_time=now
        ),
    )


def _rolled_out(deployment: Any, replicas: int) -> bool:
    """Whether no pod of an earlier template is left and `replicas` are available.

    How many are wanted is not asked: an autoscaler changes that at any time, and what it adds is not waited for.
    """
    status = deployment.status
    latest = status.observed_generation == deployment.metadata.generation and status.updated_replicas == status.replicas
    return latest and (status.available_replicas or 0) >= replicas


def _was_up(deployment: Any) -> bool:
    """Whether these very pods were all available before: Kubernetes keeps saying so when some are lost."""
    conditions = deployment.status.conditions or ()
    return any(each.type == "Progressing" and each.reason == "NewReplicaSetAvailable" for each in conditions)


def _refused(deployment: Any) -> str:
    """Why the cluster makes no pods (a quota, a policy, a missing account), if it says so, and what fixes that."""
    for condition in deployment.status.conditions or ():
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return f"{condition.message}{fix(str(condition.message))}"
    return ""


def _state(pods: Sequence[Any]) -> str:
    """What the pods are waiting for, for the message of a wait that was too long."""
    return "; ".join(_waiting(pods)) or "no pods"


def _waiting(pods: Sequence[Any]) -> Iterator[str]:
    for pod in pods:
        conditions = {condition.type: condition for condition in pod.status.conditions or ()}
        scheduled = conditions.get("PodScheduled")
        if scheduled is not None and scheduled.status == "False":
            yield f"pod {pod.metadata.name} is not scheduled: {scheduled.message}"
        else:
            why = [_words(s.state.waiting) for s in pod.status.container_statuses or () if s.state.waiting]
            yield f"pod {pod.metadata.name} is {pod.status.phase}, {'; '.join(why) or 'not ready'}"


def _ended(status: Any) -> str:
    """`OOMKilled: ` where the kernel has ended the container for its memory: its log says nothing of that."""
    ended = status.last_state.terminated if status.last_state else None
    return "OOMKilled: " if ended and ended.reason == "OOMKilled" else ""


def _words(waiting: Any) -> str:
    return f"{waiting.reason}: {waiting.message}" if waiting.message else str(waiting.reason)
