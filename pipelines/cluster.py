"""What a task needs on a cluster beside its code: settings, credentials, resources, where it may run.

Names are the Helm chart's (charts/selftaught). It goes into the compiled pipeline's platform part, which kfp.local does
not read. Requests are for a small model on CPUs; `pipelines/placements/*.yaml` says otherwise for other machines.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from kfp import dsl, kubernetes
from kfp.dsl.structures import ResourceSpec
from pydantic import BaseModel, ConfigDict, Field

from selftaught.core.errors import BadInput, did_you_mean

PLACEMENTS = Path(__file__).parent / "placements"
SETTINGS = "selftaught-settings"
REQUIRED = ("SELFTAUGHT_STORE", "SELFTAUGHT_SERVING", "SELFTAUGHT_NAMESPACE", "MLFLOW_TRACKING_URI")
OPTIONAL = (
    "MLFLOW_WORKSPACE",
    "SELFTAUGHT_PATIENCE",
    *(
        "SELFTAUGHT_RUNTIME",
        "SELFTAUGHT_IMAGE_ENGINE",
        "SELFTAUGHT_ENGINE_ACCOUNT",
        "SELFTAUGHT_ENGINE_CONTEXT",
        "SELFTAUGHT_ENGINE_DTYPE",
        "SELFTAUGHT_READY_WITHIN",
        "SELFTAUGHT_REPLICAS",
        "SELFTAUGHT_MAX_REPLICAS",
        "SELFTAUGHT_REQUESTS_PER_REPLICA",
        "SELFTAUGHT_PROMETHEUS",
        "SELFTAUGHT_GRACE",
        "SELFTAUGHT_TERMINATION_GRACE",
        "SELFTAUGHT_ONE_ENGINE",
        "SELFTAUGHT_TRAIN_NODES",
        "SELFTAUGHT_TRAIN_NODE_PROCESSES",
        "SELFTAUGHT_SANDBOX_URL",
    ),
    *("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_CA_BUNDLE", "SELFTAUGHT_S3_ADDRESSING"),
)
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
ROUTE = (
    "SELFTAUGHT_ROUTE",
    *("SELFTAUGHT_GATEWAY", "SELFTAUGHT_GATEWAY_URL", "SELFTAUGHT_DOMAIN"),
    *("SELFTAUGHT_CANARY_STEPS", "SELFTAUGHT_CANARY_SECONDS", "SELFTAUGHT_CANARY_MAX_ERRORS"),
    *("SELFTAUGHT_CANARY_ANSWERS", "SELFTAUGHT_CANARY_PATIENCE", "SELFTAUGHT_CANARY_PROMOTE_UNSEEN"),
    *("SELFTAUGHT_GIT_URL", "SELFTAUGHT_GIT_BRANCH", "SELFTAUGHT_GIT_PATH", "SELFTAUGHT_GIT_AUTHOR"),
    "SELFTAUGHT_FOLLOW_WITHIN",
)
"""How users are led to a champion, which the promote task alone does."""
GIT = ("GIT_USERNAME", "GIT_PASSWORD")
PROMOTER = "/var/run/selftaught/promoter"


class Toleration(BaseModel):
    """A taint that a task may run on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None


class Place(BaseModel):
    """What a task asks of the cluster: Kubernetes quantities, GPUs, and nodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: tuple[str, str]
    """Request and limit."""
    memory: tuple[str, str]
    at_once: Annotated[int, Field(ge=1)] = 4
    """How many of its shards run side by side, where it has shards."""
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu: str = "nvidia.com/gpu"
    nodes: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


def placement(name: str) -> dict[str, Place]:
    """Every task's resources in `pipelines/placements/<name>.yaml`; a task that it leaves out is placed as `default`
    is.

    Raises BadInput when there is no such file.
    """
    there = {file.stem: file for file in sorted(PLACEMENTS.glob("*.yaml"))}
    if name not in there:
        accepted = f"accepted: {', '.join(there)}  (pipelines/placements/*.yaml)"
        raise BadInput(f"unknown placement '{name}'.{did_you_mean(name, there)}\n  {accepted}")
    data = yaml.safe_load(there[name].read_text())
    return {task: Place.model_validate({**data["default"], **(resources or {})}) for task, resources in data.items()}


def resources_of(task: str, places: Mapping[str, Place]) -> Place:
    """Where the task called `task` runs."""
    return places.get(task, places["default"])


def settle(task: dsl.PipelineTask, places: Mapping[str, Place], *, promoter: bool = False) -> dsl.PipelineTask:
    """Give `task` its settings, credentials and resources; the promote task has other credentials than the others."""
    kubernetes.use_config_map_as_env(task, SETTINGS, {key: key for key in REQUIRED})
    kubernetes.use_config_map_as_env(task, SETTINGS, {key: key for key in OPTIONAL}, optional=True)
    kubernetes.use_secret_as_env(task, "selftaught-s3", {key: key for key in AWS}, optional=True)
    account = "selftaught-mlflow-promoter" if promoter else "selftaught-mlflow-steps"
    kubernetes.use_secret_as_env(task, account, {key: key for key in MLFLOW}, optional=True)
    if promoter:
        kubernetes.use_secret_as_volume(task, "selftaught-promoter-token", PROMOTER)
        kubernetes.use_config_map_as_env(task, SETTINGS, {key: key for key in ROUTE}, optional=True)
        kubernetes.use_secret_as_env(task, "selftaught-git", {key: key for key in GIT}, optional=True)
    # The first task is never taken from a cache, since which round is due is not in its inputs, and what it makes has
    # a new id each time, which is in every later task's key: looking there would cost time and find nothing.
    task.set_caching_options(enable_caching=False)
    kubernetes.set_security_context(task, run_as_non_root=True)
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", "steps")  # the chart's network policies go by it
    _set_resources(task, resources_of(task.component_spec.name, places))
    return task


def _set_resources(task: dsl.PipelineTask, resources: Place) -> None:
    # kfp's setters look up the source of the whole stack, each, which takes most of a compilation.
    (cpu, most_cpu), (memory, most_memory) = resources.cpu, resources.memory
    task.container_spec.resources = ResourceSpec(
        cpu_request=cpu, cpu_limit=most_cpu, memory_request=memory, memory_limit=most_memory
    )
    if resources.gpus:
        task.set_accelerator_type(resources.gpu).set_accelerator_limit(resources.gpus)
        task.set_env_variable("SELFTAUGHT_TRAIN_PROCESSES", str(resources.gpus))
    for key, value in resources.nodes.items():
        kubernetes.add_node_selector(task, key, value)
    for each in resources.tolerations:
        kubernetes.add_toleration(task, each.key, each.operator, each.value, each.effect)
