"""Checks what a cluster lacks for its first round, and how to get it: `selftaught doctor` with a cluster profile.

Everything is read, nothing is made; the API server is asked what accounts may do by the reviews that it has for that.
Each check comes back with a finding. What this account may not look at is *not known*, and the finding names the right
that is missing: that is not a fault of the cluster's. Not checked: whether a node can pull the images, whether network
policies are enforced, what the nodes have room for, a default of the cluster's for Pod Security, the gateway, KEDA and
Kubeflow Trainer.
"""

from collections.abc import Callable

from selftaught.cluster.client import Cluster
from selftaught.core.errors import SelftaughtError
from selftaught.doctor.cluster import kserve, kubeflow, schedules, servers
from selftaught.doctor.cluster.api import Api, looked, reached
from selftaught.doctor.cluster.quota import quota
from selftaught.doctor.machine import Finding
from selftaught.settings import Settings

Look = Callable[[Api, Settings], Finding]

SERVING: dict[str, Look] = {
    "kserve": kserve.kinds,
    "kserve mode": kserve.mode,
    "storage initializer": kserve.initializer,
    "runtime": kserve.runtime,
    "network policies": kserve.policies,
}
ROUNDS: dict[str, Look] = {
    "kubeflow version": kubeflow.version,
    "kubeflow runner": kubeflow.runner,
    "kubeflow tasks": kubeflow.tasks,
    "schedules": schedules.behind,
}


def checks(settings: Settings) -> list[Finding]:
    """What a round on the cluster of these settings needs; nothing where they name none."""
    if settings.serving != "kserve" and not settings.kfp:
        return []
    found = [servers.bucket(settings), servers.account(settings)]
    if settings.kfp:
        found.append(kubeflow.api(settings))
    return [*found, *_kubernetes(settings)]


def _kubernetes(settings: Settings) -> list[Finding]:
    """What the API server says; the one finding that there is none where it cannot be asked."""
    try:
        api = Api(Cluster(settings.namespace, settings.reach).client)
    except SelftaughtError as error:
        return [Finding("kubernetes", False, str(error), "set KUBECONFIG to a file that leads to the cluster")]
    first = reached(api)
    if not first.ok:
        return [first]
    looks = {
        **(SERVING if settings.serving == "kserve" else {}),
        **(ROUNDS if settings.kfp else {}),
        "quota": quota,
    }
    return [first, *(looked(name, lambda look=look: look(api, settings)) for name, look in looks.items())]
