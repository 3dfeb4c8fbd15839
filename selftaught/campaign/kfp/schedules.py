"""Rounds on a schedule: a CronJob of the cluster that runs `selftaught submit`, one a line.

It is what `schedules` of the chart's values makes, in one object: the recipe travels as an annotation that the pod is
given as a file. Its environment is the ConfigMap and the Secrets of the release, so images and addresses that change
hold for the next firing. The recurring runs of KFP that earlier versions made are removed: KFP cannot change one, each
holds a copy of a pipeline, and their runs cannot say which round they are.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from selftaught.campaign.kfp.client import every, experiment_of, kubeflow
from selftaught.campaign.order import CampaignOrder
from selftaught.cluster.client import Cluster, api_errors, found
from selftaught.cluster.naming import LINE, MANAGED
from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.settings import Settings

WEEK = 168
"""Hours after which a round that did not end is given up by the next firing, unless a schedule says otherwise."""
RECIPE = "selftaught.io/recipe"
COMPONENT = {"app.kubernetes.io/name": "selftaught", "app.kubernetes.io/component": "scheduler"}
SCRATCH = "/tmp"  # noqa: S108 (an emptyDir of the pod's own)
_FIELD = r"[-0-9A-Za-z*/,?]+"
_CRON = re.compile(rf"{_FIELD}( {_FIELD}){{4}}|@(hourly|daily|midnight|weekly|monthly|yearly|annually)")
_NAME = 52
"""Characters that a CronJob's name may have."""


@dataclass(frozen=True, slots=True)
class Clock:
    """When a schedule fires: five fields of cron in a time zone; and the hours after which it gives a round up.

    One that is `suspended` fires once it no longer is.
    """

    cron: str
    zone: str = "Etc/UTC"
    abandon_after: int = WEEK
    suspended: bool = False

    def __post_init__(self) -> None:
        """Raise BadInput for what is not a cron of Kubernetes'."""
        if not _CRON.fullmatch(self.cron):
            raise BadInput(
                f"cron '{self.cron}': five fields, such as '0 3 * * 1' for Mondays at 3, or @daily and its like."
            )


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The CronJob that runs a line's rounds, and the recurring runs of KFP that it replaced."""

    name: str
    namespace: str
    cron: str
    replaced: tuple[str, ...] = ()


def schedule(platform: Platform, order: CampaignOrder, clock: Clock) -> Scheduled:
    """Run the order's campaign on a schedule, one round at a time, instead of the line's schedule before.

    Raises BadInput when the line has no champion, or an account may not make CronJobs in the settings' namespace.
    """
    order.require_champion(platform)
    job = cron_job(platform.settings, order, clock)
    cluster = Cluster(platform.settings.namespace, platform.settings.reach)
    with kubeflow(platform.settings) as client:  # before anything is made, so that an unreachable KFP is reported first
        experiment = experiment_of(client, order.line)
        before = every(client.list_recurring_runs, "recurring_runs", experiment_id=experiment) if experiment else []
        _apply(cluster, job)
        for old in before:  # last: a kill leaves both rather than none, and the next call one
            client.delete_recurring_run(old.recurring_run_id)
    name, replaced = job["metadata"]["name"], tuple(str(old.display_name) for old in before)
    return Scheduled(name, cluster.namespace, clock.cron, replaced)


def _apply(cluster: Cluster, job: dict[str, Any]) -> None:
    batch, name = cluster.batch, job["metadata"]["name"]
    with api_errors(f"cronjob {name}"):
        if found(lambda: batch.read_namespaced_cron_job(name, cluster.namespace)) is None:
            batch.create_namespaced_cron_job(cluster.namespace, job)
        else:
            batch.replace_namespaced_cron_job(name, cluster.namespace, job)


def cron_job(settings: Settings, order: CampaignOrder, clock: Clock) -> dict[str, Any]:
    """The CronJob as the cluster is given it. Raises BadInput where it cannot be called like the line, or has no image.

    A firing that was missed is made up for within the hour, two at once are never, and one that fails is tried again
    twice: what it submits is one run.
    """
    if not settings.image_steps:
        raise BadInput("SELFTAUGHT_IMAGE_STEPS: not set. Set it to the image `steps` of the cluster, by digest.")
    labels = {**COMPONENT, **MANAGED, LINE: order.line}
    pods = {"metadata": {"labels": labels, "annotations": {RECIPE: _text(order)}}, "spec": _pod(settings, order, clock)}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": _name(order.line), "namespace": settings.namespace, "labels": labels},
        "spec": {
            "schedule": clock.cron,
            "timeZone": clock.zone,
            "suspend": clock.suspended,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 2,
                    "activeDeadlineSeconds": 1800,
                    "ttlSecondsAfterFinished": 604800,
                    "template": pods,
                }
            },
        },
    }


def _name(line: str) -> str:
    name = f"selftaught-line-{line}"
    if len(name) > _NAME or not re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        raise BadInput(
            f"line '{line}': a CronJob is called like it: lower-case letters, digits and dashes, at most "
            f"{_NAME - len('selftaught-line-')}. Choose another --line."
        )
    return name


def _text(order: CampaignOrder) -> str:
    return yaml.safe_dump(order.recipe.model_dump(mode="json"), sort_keys=False)


def _pod(settings: Settings, order: CampaignOrder, clock: Clock) -> dict[str, Any]:
    mounts = [{"name": "recipe", "mountPath": "/etc/selftaught/recipe", "readOnly": True}]
    item = {"path": "recipe.yaml", "fieldRef": {"fieldPath": f"metadata.annotations['{RECIPE}']"}}
    volumes: list[dict[str, Any]] = [{"name": "recipe", "downwardAPI": {"items": [item]}}]
    if settings.kfp_namespace:  # multi-user KFP authenticates by a token where its client looks
        token = {"audience": "pipelines.kubeflow.org", "expirationSeconds": 7200, "path": "token"}
        volumes.append({"name": "kfp-token", "projected": {"sources": [{"serviceAccountToken": token}]}})
        mounts.append({"name": "kfp-token", "mountPath": "/var/run/secrets/kubeflow/pipelines", "readOnly": True})
    return {
        "serviceAccountName": "selftaught-scheduler",
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(settings, order, clock, [*mounts, {"name": "tmp", "mountPath": SCRATCH}])],
        "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
    }


def _container(settings: Settings, order: CampaignOrder, clock: Clock, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    secrets = ("selftaught-s3", "selftaught-mlflow-steps")
    return {
        "name": "submit",
        "image": settings.image_steps,
        "command": ["selftaught"],
        "args": [
            "submit",
            "/etc/selftaught/recipe/recipe.yaml",
            f"--line={order.line}",
            f"--campaign={order.campaign}",
            f"--shards={order.shards}",
            f"--abandon-after={clock.abandon_after}",
        ],
        "workingDir": SCRATCH,
        "envFrom": [
            {"configMapRef": {"name": "selftaught-settings"}},
            *({"secretRef": {"name": name, "optional": True}} for name in secrets),
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    }
