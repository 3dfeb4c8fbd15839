"""Checks of what engines need: KServe, its mode and its storage initializer, the settings' ServingRuntime.

Rules of KServe's from its source: an InferenceService's own mode goes before the default (GetDeploymentMode), and the
storage initializer is the container of the ClusterStorageContainers that take the URI (GetStorageContainerSpec).
"""

import json
import re
from typing import Any

from selftaught.cluster.pod_security import command, lacking
from selftaught.doctor.cluster.api import Api, unknown
from selftaught.doctor.machine import Finding
from selftaught.settings import Settings

GROUP = "/apis/serving.kserve.io"
INSTALL = "install KServe 0.21 in Standard mode: docs/cluster-install.md"
CONFIG = "/api/v1/namespaces/kserve/configmaps/inferenceservice-config"
MODES = ("Standard", "RawDeployment", "Knative")
"""Defaults under which a KServe takes the mode that an InferenceService names. `Serverless` is written by releases
before 0.16 too, which do not know `Standard` and fall back to it."""
INITIALIZER = "storage initializer"
ENFORCE = "pod-security.kubernetes.io/enforce"


def kinds(api: Api, settings: Settings) -> Finding:
    """Whether KServe's kinds are served, which every account may ask."""
    wanted = {"v1beta1": "inferenceservices", "v1alpha1": "servingruntimes"}
    served = {version: api.read(f"{GROUP}/{version}") for version in wanted}
    missing = [kind for version, kind in wanted.items() if kind not in _names(served[version])]
    said = f"no {' and no '.join(missing)}" if missing else "InferenceService and ServingRuntime are served"
    return Finding("kserve", not missing, said, INSTALL)


def mode(api: Api, settings: Settings) -> Finding:
    """The default mode, where it matters."""
    config = api.read(CONFIG)
    if config is None:
        said = "no ConfigMap inferenceservice-config in the namespace kserve"
        return unknown("kserve mode", said, "where KServe is elsewhere: its defaultDeploymentMode should be Standard")
    default = str(json.loads(config["data"].get("deploy", "{}")).get("defaultDeploymentMode", "Standard"))
    said = f"{default} by default"
    if default not in MODES:
        fix = "set defaultDeploymentMode to Standard in KServe's ConfigMap inferenceservice-config"
        return unknown("kserve mode", f"{said}; a KServe before 0.16 makes nothing else", fix)
    own = "; Selftaught's InferenceServices ask for Standard themselves" if default == "Knative" else ""
    return Finding("kserve mode", True, said + own)


def initializer(api: Api, settings: Settings) -> Finding:
    """Whether Pod Security lets the storage initializer into the engines' namespace, by the namespace's label."""
    space = settings.namespace
    namespace = api.read(f"/api/v1/namespaces/{space}")
    if namespace is None:
        fix = f"kubectl create namespace {space}, or set SELFTAUGHT_NAMESPACE"
        return Finding(INITIALIZER, False, f"no namespace {space}", fix)
    level = namespace["metadata"].get("labels", {}).get(ENFORCE)
    if level == "restricted":
        return _restricted(api, space)
    said = f"enforces {level}" if level else "has no label for Pod Security"
    return Finding(INITIALIZER, True, f"{space} {said}: it is taken as it is")


def _restricted(api: Api, space: str) -> Finding:
    """Whether every container that may fetch the weights meets the level `restricted`."""
    listed = api.read(f"{GROUP}/v1alpha1/clusterstoragecontainers") or _NONE
    taking = [each for each in listed["items"] if _takes(each)]
    if not taking:
        why = "no ClusterStorageContainer takes s3://, so KServe's built-in container does"
        return unknown(INITIALIZER, why, "install KServe's ClusterStorageContainer: docs/cluster-install.md")
    wrong = {each["metadata"]["name"]: lacks for each in taking if (lacks := _lacking(each))}
    if not wrong:
        return Finding(INITIALIZER, True, f"{space} enforces restricted, which it meets")
    said = "; ".join(f"{one} lacks {', '.join(lacks)}" for one, lacks in wrong.items())
    fix = "; ".join(command(one) for one in wrong)
    return Finding(INITIALIZER, False, f"{space} enforces restricted, and ClusterStorageContainer {said}", fix)


def runtime(api: Api, settings: Settings) -> Finding:
    """Whether the ServingRuntime is there, and its image. Whether a node can pull that is not tried."""
    served = runtime_of(api, settings)
    if served is None:
        there = (api.read(f"{GROUP}/v1alpha1/namespaces/{settings.namespace}/servingruntimes") or _NONE)["items"]
        named = ", ".join(each["metadata"]["name"] for each in there) or "none"
        said = f"no ServingRuntime {settings.runtime} in {settings.namespace} (there: {named})"
        return Finding("runtime", False, said, "enable it in the chart's values (runtimes), or set SELFTAUGHT_RUNTIME")
    if served["spec"].get("disabled"):
        return Finding("runtime", False, f"{settings.runtime} is disabled", "take `disabled` from its spec")
    images = ", ".join(str(each.get("image")) for each in served["spec"]["containers"])
    return Finding("runtime", True, f"{settings.runtime}: {images} (whether nodes can pull it is not tried)")


def policies(api: Api, settings: Settings) -> Finding:
    """How many network policies there are; whether the network plug-in enforces them cannot be read."""
    path = f"/apis/networking.k8s.io/v1/namespaces/{settings.namespace}/networkpolicies"
    count = len(api.read(path)["items"])
    said = f"{count} in {settings.namespace}; whether the network plug-in enforces them is not proven"
    return Finding("network policies", True, said if count else f"none in {settings.namespace}: all Pods are reached")


def runtime_of(api: Api, settings: Settings) -> Any:
    """The ServingRuntime of the settings as KServe finds it, the namespace's first; None where there is none."""
    own = api.read(f"{GROUP}/v1alpha1/namespaces/{settings.namespace}/servingruntimes/{settings.runtime}")
    return own or api.read(f"{GROUP}/v1alpha1/clusterservingruntimes/{settings.runtime}")


_NONE: dict[str, list[Any]] = {"items": []}


def _names(served: Any) -> set[str]:
    return {each["name"] for each in served["resources"]} if served else set()


def _takes(container: Any) -> bool:
    """Whether KServe fetches `s3://` with it."""
    spec = container["spec"]
    if container.get("disabled") or spec.get("workloadType", "initContainer") != "initContainer":
        return False
    formats = spec.get("supportedUriFormats", ())
    uri = "s3://bucket/models/digest"
    return any(uri.startswith(f["prefix"]) if f.get("prefix") else re.match(f["regex"], uri) for f in formats)


def _lacking(container: Any) -> list[str]:
    return lacking(container["spec"]["container"].get("securityContext") or {})
