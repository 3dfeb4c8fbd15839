"""Completes a promotion whose process dies midway: a Job from the chart's CronJob that reconciles the line.

The CronJob runs once an hour, and users would wait for it. The Job waits until nobody moves the line (a dead process's
lease ends in time) and reconciles it: after a promotion that ended well there is nothing to do.
"""

import sys
from typing import Any

from selftaught.cluster.client import Cluster, api_errors, found
from selftaught.core.errors import SelftaughtError
from selftaught.settings import Settings

CRON_JOB = "selftaught-upkeep-reconcile"


def attend(settings: Settings, line: str) -> None:
    """Start a Job that reconciles `line` once nobody moves it; none without the CronJob.

    A refusal of the cluster is only reported: the promotion continues, and the next reconciliation is the CronJob's.
    """
    if settings.serving == "local":
        return
    try:
        _start(Cluster(settings.namespace, settings.reach), line)
    except SelftaughtError as error:
        said = f"{line}: should this promotion be killed, the next hourly reconciliation ends it ({error})"
        print(said, file=sys.stderr, flush=True)


def _start(cluster: Cluster, line: str) -> None:
    with api_errors(f"cronjob {CRON_JOB}"):
        cron_job = found(lambda: cluster.batch.read_namespaced_cron_job(CRON_JOB, cluster.namespace))
    if cron_job is None:
        return
    with api_errors(f"a job of cronjob {CRON_JOB}"):
        made = cluster.client.sanitize_for_serialization(cron_job)
        cluster.batch.create_namespaced_job(cluster.namespace, job_of(made, line))


def job_of(cron_job: Any, line: str) -> dict[str, Any]:
    """The CronJob's Job for one line, as `kubectl create job --from` makes it, so that it goes with the others.

    It has no deadline: a promotion by steps may hold the line for hours.
    """
    template = cron_job["spec"]["jobTemplate"]
    pods = template["spec"]["template"]
    (container,) = pods["spec"]["containers"]
    waiting = container | {"args": [*container["args"], "--when-free", line]}
    spec = {key: value for key, value in template["spec"].items() if key != "activeDeadlineSeconds"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": f"{CRON_JOB}-",
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
            "labels": pods["metadata"]["labels"],
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": CRON_JOB,
                    "uid": cron_job["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": spec | {"template": pods | {"spec": pods["spec"] | {"containers": [waiting]}}},
    }
