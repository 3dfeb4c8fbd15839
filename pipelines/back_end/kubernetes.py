"""What Kubernetes and Argo take of a pipeline: names, sizes, resources, Pod Security; and no credentials in sight.

Names and sizes by their own rules; the rest by what kubeflow/pipelines makes of the platform part
(backend/src/v2/driver/k8s.go: extendPodSpecPatch) and by how it was seen to behave.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.back_end.ir import Compiled, Executor

ARGUMENT = 128 * 1024
"""Bytes of one argument of a process (Linux: MAX_ARG_STRLEN): drivers are given specifications as arguments."""
OBJECT = 1024 * 1024
"""Bytes of a pipeline in a Workflow, which has recipe and status beside it: etcd takes 1.5 MiB of an object."""
LABEL = 63
SUFFIX = len("-abcde")
"""A Workflow is called like its pipeline with this behind, and a label of its pods holds it."""
TEMPLATE = 128
"""Characters of an Argo template's or task's name (workflow/validate: workflowFieldMaxLength)."""
SHOWN = 255
"""Characters of a name in KFP's database (VARCHAR)."""

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_TASK = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_ENVIRONMENT = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kKMGTPE]i?)?")
_UNITS = {"m": 1e-3, "": 1.0, **{u: 1000.0**n for n, u in enumerate("kMGTPE", 1)}} | {
    f"{u}i": 1024.0**n for n, u in enumerate("KMGTPE", 1)
}
_CREDENTIAL = re.compile(r"(secret|token|password|passwd|credential|(access|private|api)_?key)", re.IGNORECASE)
_IN_A_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@")


def names_are_accepted(pipeline: Compiled) -> Iterator[str]:
    """By Kubernetes for the Workflow and its pods, by Argo for templates and tasks, by KFP's database."""
    if not _SUBDOMAIN.fullmatch(pipeline.name) or len(pipeline.name) + SUFFIX > LABEL:
        yield f"{pipeline.name}: a pipeline is called by a-z, 0-9, '-' and '.', in {LABEL - SUFFIX} characters at most"
    for task in pipeline.tasks():
        longest = f"{task.component_name}-{task.key}-iterator" if task.loops else task.component_name
        if not _TASK.fullmatch(task.key) or len(f"{task.key}-driver") > TEMPLATE or len(longest) > TEMPLATE:
            yield f"{task.location}: Argo takes letters, digits and '-', {TEMPLATE} characters at most"
    for dag in pipeline.dags():
        shown = Counter(task.spec.get("taskInfo", {}).get("name", "") for task in dag.tasks.values())
        for name, times in shown.items():
            if not name or len(name) > SHOWN:
                yield f"{dag.name}: a task is shown as {name!r}: between 1 and {SHOWN} characters"
            if times > 1:
                yield f"{dag.name}: {times} tasks are shown as {name!r}"


def sizes_are_accepted(pipeline: Compiled) -> Iterator[str]:
    """Of what is passed as one argument (argocompiler/container.go, dag.go), and of the entire in one object."""
    parts: dict[str, Any] = {task.location: task.spec for task in pipeline.tasks()}
    parts |= dict(pipeline.spec["components"])
    for executor in pipeline.executors():
        parts |= {executor.label: executor.spec, f"{executor.label} (kubernetes)": executor.kubernetes}
    for name, part in parts.items():
        if (size := _bytes(part)) >= ARGUMENT:
            yield f"{name}: {size:,} bytes, and an argument of a driver has less than {ARGUMENT:,}"
    if (size := _bytes(pipeline.spec) + _bytes(pipeline.platform)) > OBJECT:
        yield f"{pipeline.name}: {size:,} bytes, and a Workflow has to hold them beside its state: {OBJECT:,} at most"


def _bytes(part: object) -> int:
    return len(json.dumps(part).encode())


def texts_come_through_as_they_are(pipeline: Compiled) -> Iterator[str]:
    """'{{' begins a variable of Argo's, and '$$' in what a container is given is '$' to Kubernetes.

    KFP's own variables begin with '{{$' (parameters.go: ResolveInputParameter). What comes at run time is written so
    that it has neither (`Recipe.as_argument`).
    """
    texts = {
        f"{task.location}: {name}": json.dumps(source.get("runtimeValue", {}), ensure_ascii=False)
        for task in pipeline.tasks()
        for name, source in task.given("parameters").items()
    }
    for executor in _containers(pipeline):
        texts[executor.label] = "\n".join((*executor.container.get("command", ()), *executor.container.get("args", ())))
    for location, text in texts.items():
        if found := re.search(r"\{\{(?!\$)|\$\$", text):
            yield f"{location} has '{found[0]}', which Argo or Kubernetes would take for a sign of its own"


def resources_are_asked_for(pipeline: Compiled) -> Iterator[str]:
    """Requests and limits of CPU and memory, of every task: pods of KFP ask for nothing by themselves.

    A namespace with a quota refuses such a pod, and a full node ends it first.
    """
    for executor in _containers(pipeline):
        asked = executor.container.get("resources", {})
        for of in ("Cpu", "Memory"):
            request, limit = (quantity(asked.get(f"resource{of}{word}", "")) for word in ("Request", "Limit"))
            if request is None or limit is None:
                yield f"{executor.label}: asks for no {of.lower()}, or in no quantity: {asked or 'nothing'}"
            elif not 0 < request <= limit:
                yield f"{executor.label}: {of.lower()} is requested above its limit"


def quantity(text: str) -> float | None:
    """A Kubernetes quantity as a number; None where it is none."""
    found = _QUANTITY.fullmatch(text)
    return float(found[1]) * _UNITS[found[2] or ""] if found else None


def pod_security_takes_them(pipeline: Compiled) -> Iterator[str]:
    """Pod Security `restricted`: the back end gives each container all that it wants but `runAsNonRoot`."""
    for executor in _containers(pipeline):
        context = executor.kubernetes.get("securityContext", {})
        if context.get("runAsNonRoot") is not True:
            yield f"{executor.label}: has no securityContext.runAsNonRoot, so `restricted` refuses its pod"
        if context.get("runAsUser") == 0:
            yield f"{executor.label}: runs as user 0"


def environments_are_accepted(pipeline: Compiled) -> Iterator[str]:
    """Variables have names, each once; Secrets and ConfigMaps have names that a volume can have (k8s.go)."""
    for executor in _containers(pipeline):
        names = [each["name"] for each in executor.container.get("env", ())]
        for part in ("configMapAsEnv", "secretAsEnv"):
            names += [pair["envVar"] for each in executor.kubernetes.get(part, ()) for pair in each["keyToEnv"]]
        for name, times in Counter(names).items():
            if not _ENVIRONMENT.fullmatch(name) or times > 1:
                yield f"{executor.label}: {name} is not a variable name, or is set {times} times"
        yield from _mounts(executor)


def _mounts(executor: Executor) -> Iterator[str]:
    mounts = [
        (each.get("secretName") or each.get("configMapName") or "", each["mountPath"])
        for part in ("secretAsVolume", "configMapAsVolume")
        for each in executor.kubernetes.get(part, ())
    ]
    for name, path in mounts:
        if not _DNS_LABEL.fullmatch(name) or len(name) > LABEL:
            yield f"{executor.label}: {name} is mounted, and a volume of that name cannot be"
        if not path.startswith("/"):
            yield f"{executor.label}: {name} is mounted at {path}, which is not absolute"
    for what in zip(*mounts, strict=True):
        for value, times in Counter(what).items():
            if times > 1:
                yield f"{executor.label}: {value} is mounted {times} times"


def nothing_secret_is_in_it(pipeline: Compiled) -> Iterator[str]:
    """A pipeline can be read by whoever may see runs: credentials come from Secrets, never from the pipeline."""
    for executor in _containers(pipeline):
        for variable in executor.container.get("env", ()):
            if _CREDENTIAL.search(variable["name"]) and variable.get("value"):
                yield f"{executor.label}: {variable['name']} has its value in the pipeline; take it from a Secret"
    for where, value in (("pipeline", pipeline.spec), ("platform part", pipeline.platform)):
        if found := _IN_A_URL.search(json.dumps(value)):
            yield f"{where}: {found[0].partition('://')[0]}:// with a password in it"


def images_run_as_they_are(pipeline: Compiled) -> Iterator[str]:
    """An image has a version, and nothing is installed when a task starts, which takes a network and changes by itself.

    What a task needs is sh, python3 and kfp; the key of KFP's cache has the image's name and not what it holds.
    """
    for executor in _containers(pipeline):
        image = executor.container.get("image", "")
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{executor.label}: image {image!r} names no version"
        if "pip install" in " ".join(executor.container.get("command", ())):
            yield f"{executor.label}: installs packages when it starts"


def _containers(pipeline: Compiled) -> Iterator[Executor]:
    return (executor for executor in pipeline.executors() if executor.container)
