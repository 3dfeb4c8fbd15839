"""Scale: what a round of many tasks comes to, in pods, bytes and seconds, and its pods on simulated nodes.

The table of docs/scale.md is made here, from what was measured for one row (`MEASURED`), what was assumed of the
hardware (`ASSUMED`), and the compiled pipeline by the driver's rules; `--measure` measures the bytes of a row again.
`--simulate` makes the pods of such a round, and a Deployment of its engines, on nodes that kwok simulates: the API
server, the scheduler and the controllers are real, nothing runs in the pods. It wants KUBECONFIG and `kwok` on PATH,
keeps to a namespace and to tainted nodes of its own, and removes them. Not simulated: Argo and KFP's drivers, whose
order is walked here without the 10 s for which Argo waits between looks; KServe; images; the network.

    python benchmarks/bench_scale.py [--measure]
    python benchmarks/bench_scale.py --simulate [--shards 100] [--engines 100]
"""

import argparse
import base64
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.back_end.ir import Compiled, Dag, Task  # noqa: E402
from pipelines.back_end.pods import Pods, pods  # noqa: E402

COMPILED = ROOT / "pipelines" / "compiled"
KIB, MIB, GIB = 1024, 1024**2, 1024**3

MEASURED = {
    "task in the store": 230,
    "task in memory": 2_520,
    "rollout in the store": 6_960,
    "rollout in the journal": 16_000,
    "rollout in sample": 40 * KIB,
    "rollout in verify": 2 * KIB,
    "row of a file in prepare": 1_843,
    "process": 250 * MIB,
    "ms of prepare a row": 0.3,
    "ms of verify a rollout": 1.9,
}
"""Bytes, and ms of a CPU. The first four by `--measure`, the others by bench_rows.py (docs/operations.md, Sizes)."""
ASSUMED = {"engine": 5_000, "trainer": 20_000, "requeue": 10}
"""New tokens a second of one engine, tokens a second of one training process, and seconds between Argo's looks."""


@dataclass(frozen=True, slots=True)
class Round:
    """What is sampled where: a rollout has `tokens`, of a task `kept` are trained on."""

    tasks: int
    engines: int
    shards: int
    samples: int = 16
    tokens: int = 500
    kept: int = 2

    @property
    def rollouts(self) -> int:
        return self.tasks * self.samples

    @property
    def pipeline(self) -> Compiled:
        return Compiled.read(COMPILED / ("one-shard-round.yaml" if self.shards == 1 else "round.yaml"))

    @property
    def pods(self) -> Pods:
        return pods(self.pipeline, self.shards)


ROUNDS = (Round(2_500, 1, 1), Round(100_000, 10, 10), Round(1_000_000, 100, 100))

# The model ------------------------------------------------------------------------------------------------------------


def table() -> list[str]:
    """The lines of the table: a figure a line, a round a column."""
    heads = [f"{each.tasks:,} × {each.samples}, {_many(each.engines, 'engine')}" for each in ROUNDS]
    lines = [f"| | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 1)}"]
    figures = [_figures(each) for each in ROUNDS]
    return [*lines, *(f"| {name} | {' | '.join(each[name] for each in figures)} |" for name in figures[0])]


def _figures(asked: Round) -> dict[str, str]:
    made, new = asked.pods, asked.rollouts * asked.tokens
    examples, m = asked.tasks * asked.kept, MEASURED
    own = asked.rollouts / asked.shards
    return {
        "shards": f"{asked.shards}",
        "pods of the round": f"{made.count}",
        "pods in a row, seconds of scheduling": f"{made.in_a_row}, {made.in_a_row * ASSUMED['requeue']} s",
        "`tasks` in the store": _bytes(asked.tasks * m["task in the store"]),
        "rollouts in the store": _bytes(asked.rollouts * m["rollout in the store"]),
        "journals in the store, until `gc`": _bytes(asked.rollouts * m["rollout in the journal"]),
        "objects of the journals, at most": f"{asked.tasks:,}",
        "`prepare`: memory": _bytes(m["process"] + asked.tasks * m["row of a file in prepare"]),
        "`prepare`: a CPU for": _seconds(asked.tasks * m["ms of prepare a row"] / 1000),
        "`sample`: memory of a shard": _bytes(
            m["process"] + asked.tasks * m["task in memory"] + own * m["rollout in sample"]
        ),
        "`sample`: engines busy for": _seconds(new / (asked.engines * ASSUMED["engine"])),
        "`verify`: memory": _bytes(m["process"] + asked.rollouts * m["rollout in verify"]),
        "`verify`: disk": _bytes(2 * asked.rollouts * m["rollout in the store"]),
        "`verify`: a CPU for": _seconds(asked.rollouts * m["ms of verify a rollout"] / 1000),
        "`train`: one process for": _seconds(examples * asked.tokens / ASSUMED["trainer"]),
        "argument of `verify` (`--executor_input`)": _bytes(len(executor_input(asked.shards))),
        "Argo's workflow, compressed": _bytes(workflow(asked)),
    }


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _bytes(count: float) -> str:
    for unit, size in (("GiB", GIB), ("MiB", MIB)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / KIB:.0f} KiB"


def _seconds(count: float) -> str:
    return f"{count / 3600:.1f} h" if count >= 3600 else f"{count / 60:.0f} min" if count >= 60 else f"{count:.0f} s"


# What KFP and Argo keep -----------------------------------------------------------------------------------------------

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"


def artifact(name: str, task: str) -> dict[str, Any]:
    """An artifact as a driver names it to a task."""
    where = f"minio://mlpipeline/v2/artifacts/selftaught-round/{RUN}/{task}/{RUN}/{name}"
    kept = {"digest": "0" * 64, "rows": 10_000.0, "display_name": name}
    return {"name": RUN, "type": {"schemaTitle": "system.Dataset"}, "uri": where, "metadata": kept}


def executor_input(shards: int) -> str:
    """What the task `verify` is given on its command line: every shard's artifact, and where its own go."""
    groups = {"artifacts": [artifact("groups", "sample") for _ in range(shards)]}
    job = {"artifacts": [artifact("job", "prepare")]}
    outputs = {name: {"artifacts": [artifact(name, "verify")]} for name in ("verified", "examples", "metrics")}
    inputs = {"inputs": {"artifacts": {"shards": groups, "job": job}}}
    return json.dumps(inputs | {"outputs": {"artifacts": outputs, "outputFile": "/tmp/kfp/output_metadata.json"}})


def workflow(asked: Round) -> int:
    """Bytes of the status of Argo's Workflow as it is stored: gzip, in base64.

    Each driver's node holds the specs of its component and task, and an executor's node the patch of its pod, in which
    the executor's input is. Calculated from the compiled pipeline; the node's own fields are counted with 1 KiB.
    """
    draw = random.Random(0)
    nodes = [f"{draw.randbytes(32).hex()}{step.name}{_held(asked, step)}{' ' * KIB}" for step in _steps(asked)]
    return len(base64.b64encode(gzip.compress("".join(nodes).encode())))


def _held(asked: Round, step: "Step") -> str:
    if step.drives:
        return json.dumps([step.task.component, step.task.spec] if step.task else asked.pipeline.spec["root"])
    assert step.task
    assert step.task.executor
    shards = asked.shards if step.component == "verify" else 1
    return json.dumps(step.task.executor.container) + executor_input(shards)


def _steps(asked: Round) -> "list[Step]":
    return unrolled(asked.pipeline, asked.shards)


# A round's pods, one by one -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A pod of a round: a driver or an executor of `task` (none: the pipeline's own driver), and what it waits for."""

    name: str
    task: Task | None
    drives: bool
    after: frozenset[str]

    @property
    def component(self) -> str:
        return self.task.component_name.removeprefix("comp-") if self.task else ""


def unrolled(pipeline: Compiled, turns: int, at_once: int = 1_000_000) -> list[Step]:
    """Every pod of a promoted run, each behind those that it waits for; a loop has `at_once` turns at a time."""
    made = [Step("root", None, True, frozenset())]
    _unroll(pipeline.root, "root", turns, at_once, made)
    return made


def _unroll(dag: Dag, driver: str, turns: int, at_once: int, made: list[Step]) -> frozenset[str]:
    """The names of the pods that `dag` ends with; its pods are added to `made`."""
    ends: dict[str, frozenset[str]] = {}
    waiting = dict(dag.tasks)
    while waiting:
        key = next(key for key, task in waiting.items() if task.after() <= ends.keys())
        task = waiting.pop(key)
        after = frozenset({driver}).union(*(ends[each] for each in task.after()))
        ends[key] = _unroll_task(task, f"{driver}.{key}", after, turns, at_once, made)
    return frozenset().union(*ends.values())


def _unroll_task(
    task: Task, name: str, after: frozenset[str], turns: int, at_once: int, made: list[Step]
) -> frozenset[str]:
    made.append(Step(name, task, True, after))
    if not task.group:
        made.append(Step(f"{name}.executor", task, False, frozenset({name})))
        return frozenset({f"{name}.executor"})
    if not task.loops:
        return _unroll(task.group, name, turns, at_once, made)
    ended: list[frozenset[str]] = []
    for turn in range(turns):
        before = ended[turn - at_once] if turn >= at_once else frozenset[str]()
        made.append(Step(f"{name}.{turn}", task, True, before | {name}))
        ended.append(_unroll(task.group, f"{name}.{turn}", turns, at_once, made))
    return frozenset().union(*ended)


# Measured here --------------------------------------------------------------------------------------------------------


def measure() -> None:
    """The bytes of a task and of a rollout of 500 tokens with ids and log-probabilities of its own."""
    import bench_rows

    from selftaught.core.canonical import canonical
    from selftaught.records import Task as Row
    from selftaught.records import dataset

    with tempfile.TemporaryDirectory() as folder:
        written, count = Path(folder), 40_000
        dataset.write(written / "tasks", bench_rows.tasks(count), "tasks")
        print(f"task in the store       {(written / 'tasks' / 'data.parquet').stat().st_size / count:8,.0f} bytes")
        before = _resident()
        kept = dataset.read(written / "tasks", Row)
        print(f"task in memory          {(_resident() - before) / len(kept):8,.0f} bytes")
        groups = list(_groups(50))
        dataset.write(written / "groups", groups, "groups")
        rollouts = sum(len(group.rollouts) for group in groups)
        print(f"rollout in the store    {(written / 'groups' / 'data.parquet').stat().st_size / rollouts:8,.0f} bytes")
        lines = sum(len(canonical(group.model_dump(mode="json"))) for group in groups)
        print(f"rollout in the journal  {lines / rollouts:8,.0f} bytes")


def _groups(count: int) -> Iterator[Any]:
    import bench_rows

    from selftaught.records import Group, Rollout, Turn

    draw = random.Random(3)
    words = [f"w{n}" for n in range(20_000)]
    for task in bench_rows.tasks(count):
        rollouts: list[Any] = []
        for index in range(16):
            ids, said = tuple(draw.choices(range(50_000), k=500)), " ".join(draw.choices(words, k=400))
            turn = Turn(content=said, token_ids=ids, logprobs=tuple(-draw.expovariate(2) for _ in ids))
            fields = {"task": task.id, "index": index, "model": "m", "turns": (turn,), "temperature": 1.0}
            rollouts.append(Rollout(**fields, prompt_tokens=80, completion_tokens=500))
        yield Group(task=task, rollouts=tuple(rollouts))


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * KIB


# The simulation -------------------------------------------------------------------------------------------------------

NAMESPACE, MARK = "selftaught-scale", "selftaught.io/simulated"
TAINT = {"key": MARK, "value": "true", "effect": "NoSchedule"}
CPU_NODES, GPU_NODES, GPUS = 20, 25, 8
ENGINE = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
"""As the chart's `runtimes.cuda` asks."""
DRIVER = {"cpu": "100m", "memory": "64Mi"}
STAGES = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-is-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
      - {key: '.status.conditions.[] | select( .type == "Ready" ) | .status', operator: NotIn, values: ["True"]}
  next:
    statusTemplate: |
      {{ $now := Now }}
      phase: Running
      conditions:
        - {type: Ready, status: "True", reason: Simulated, message: kwok, lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-runs}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
      - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
      - {key: .status.phase, operator: In, values: [Pending]}
      - {key: .spec.nodeName, operator: Exists}
  next:
    statusTemplate: |
      {{ $now := Now }}
      phase: Running
      startTime: {{ $now | Quote }}
      conditions:
        - {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
        - {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
        - {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
      containerStatuses:
        {{ range .spec.containers }}
        - {name: {{ .name | Quote }}, image: {{ .image | Quote }}, ready: true, restartCount: 0, state: {running: {startedAt: {{ $now | Quote }}}}}
        {{ end }}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ends}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchLabels: {selftaught.io/ends: "true"}
    matchExpressions:
      - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
      - {key: .status.phase, operator: In, values: [Running]}
  delay: {durationMilliseconds: 1000}
  next:
    statusTemplate: |
      phase: Succeeded
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-goes}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
      - {key: .metadata.deletionTimestamp, operator: Exists}
  next:
    delete: true
"""  # noqa: E501 (templates of kwok's)


@dataclass(slots=True)
class Seen:
    """When each pod was made, given a node, and ended, in seconds of this machine's clock."""

    made: dict[str, float] = field(default_factory=dict[str, float])
    bound: dict[str, float] = field(default_factory=dict[str, float])
    ready: dict[str, float] = field(default_factory=dict[str, float])
    ended: dict[str, float] = field(default_factory=dict[str, float])


def simulate(shards: int, engines: int) -> None:
    """Start the engines, then the pods of a round of `shards`, and print what it took."""
    from kubernetes import client, config

    config.load_kube_config()
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    with _cluster(core), _watched(core) as seen:
        idle = _load(core)
        time.sleep(10)
        before, begun = _load(core), time.monotonic()
        _tell_load("beside it, in 10 s", idle, before)
        apps.create_namespaced_deployment(NAMESPACE, _engines(engines))
        _until(lambda: len(seen.ready) >= engines)
        up = time.monotonic() - begun
        served = _load(core)
        steps = unrolled(Round(1, 1, shards).pipeline, shards, at_once=shards)
        begun = time.monotonic()
        _walk(core, steps, seen)
        took = time.monotonic() - begun
        after = _load(core)
    _tell(f"{engines} engines", engines, up, seen, "engine", before, served)
    _tell(f"{shards} shards", len(steps), took, seen, "round", served, after)


def _tell(
    name: str, count: int, took: float, seen: Seen, kind: str, before: Mapping[str, float], after: Mapping[str, float]
) -> None:
    waits = sorted(seen.bound[pod] - seen.made[pod] for pod in seen.bound if pod.startswith(kind))
    print(
        f"{name:20} {count:4} pods in {took:5.1f} s; a node after {median(waits) * 1000:.0f} ms (median), "
        f"{waits[int(len(waits) * 0.95)] * 1000:.0f} (p95), {waits[-1] * 1000:.0f} (longest)"
    )
    _tell_load(name, before, after)


def _tell_load(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> None:
    load = {what: after[what] - before[what] for what in after}
    print(
        f"{name:20} {load['requests']:,.0f} requests to the API server, {load['writes']:,.0f} of them writes, "
        f"{load['cpu']:.1f} s of a CPU",
        flush=True,
    )


def _walk(core: Any, steps: Sequence[Step], seen: Seen) -> None:
    """Make each pod as soon as those that it waits for have ended, as Argo does; ten a second at most."""
    names = {step.name: f"round-{number}" for number, step in enumerate(steps)}
    waiting = list(steps)
    while waiting or len(seen.ended) < len(steps):
        ready = [step for step in waiting if all(names[each] in seen.ended for each in step.after)]
        for step in ready:
            waiting.remove(step)
            seen.made[names[step.name]] = time.monotonic()
            core.create_namespaced_pod(NAMESPACE, _pod(names[step.name], step))
            time.sleep(0.1)
        time.sleep(0.05)


def _pod(name: str, step: Step) -> dict[str, Any]:
    asked = DRIVER
    if not step.drives and step.task and step.task.executor:
        resources = step.task.executor.container["resources"]
        asked = {"cpu": resources["resourceCpuRequest"], "memory": resources["resourceMemoryRequest"]}
    labels = {"selftaught.io/ends": "true", MARK: "true"}
    return {"metadata": {"name": name, "labels": labels}, "spec": _spec(asked) | {"restartPolicy": "Never"}}


def _engines(count: int) -> dict[str, Any]:
    labels = {"app": "engine", MARK: "true"}
    template = {"metadata": {"labels": labels}, "spec": _spec(ENGINE)}
    spec = {"replicas": count, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "engine"}, "spec": spec}


def _spec(asked: Mapping[str, str]) -> dict[str, Any]:
    container = {"name": "main", "image": "simulated", "resources": {"requests": dict(asked), "limits": dict(asked)}}
    return {
        "automountServiceAccountToken": False,
        "nodeSelector": {MARK: "true"},
        "tolerations": [{"key": MARK, "operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }


@contextmanager
def _cluster(core: Any) -> Generator[None]:
    """Nodes and a namespace for the simulation, with kwok beside them; all gone afterwards."""
    names = [f"scale-cpu-{n}" for n in range(CPU_NODES)] + [f"scale-gpu-{n}" for n in range(GPU_NODES)]
    with tempfile.TemporaryDirectory() as folder:
        stages = Path(folder) / "stages.yaml"
        stages.write_text(STAGES)
        log = (Path(folder) / "kwok.log").open("w")
        command = ["kwok", "--kubeconfig", os.environ["KUBECONFIG"], "--config", str(stages)]
        command += ["--manage-nodes-with-label-selector", f"{MARK}=true", "--node-lease-duration-seconds", "200"]
        kwok = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            core.create_namespace({"metadata": {"name": NAMESPACE}})
            for name in names:
                core.create_node(_node(name))
            _until(lambda: sum(map(_is_ready, core.list_node(label_selector=f"{MARK}=true").items)) == len(names))
            yield
        finally:
            core.delete_namespace(NAMESPACE, grace_period_seconds=0)
            _until(lambda: not core.list_namespaced_pod(NAMESPACE, limit=1).items)
            for name in names:
                core.delete_node(name)
            kwok.terminate()
            kwok.wait()
            log.close()


def _node(name: str) -> dict[str, Any]:
    room = {"cpu": "64", "memory": "512Gi", "pods": "110"}
    if "gpu" in name:
        room |= {"nvidia.com/gpu": str(GPUS)}
    labels = {MARK: "true", "kubernetes.io/hostname": name}
    metadata = {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}
    return {"metadata": metadata, "spec": {"taints": [TAINT]}, "status": {"allocatable": room, "capacity": room}}


def _is_ready(node: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in node.status.conditions or [])


@contextmanager
def _watched(core: Any) -> Generator[Seen]:
    """What becomes of the namespace's pods, as the API server tells it."""
    from kubernetes import watch

    seen, looking = Seen(), watch.Watch()

    def look() -> None:
        for event in looking.stream(core.list_namespaced_pod, NAMESPACE, timeout_seconds=1800):
            pod, now = event["object"], time.monotonic()
            name = pod.metadata.name
            seen.made.setdefault(name, now)
            if pod.spec.node_name:
                seen.bound.setdefault(name, now)
            if pod.status.phase == "Running":
                seen.ready.setdefault(name, now)
            if pod.status.phase == "Succeeded":
                seen.ended.setdefault(name, now)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        looking.stop()


def _load(core: Any) -> dict[str, float]:
    """Requests that the API server has answered, and the CPU that it has taken (its own metrics)."""
    text = core.api_client.call_api(
        "/metrics", "GET", auth_settings=["BearerToken"], response_type="str", _return_http_data_only=True
    )
    requests: dict[str, float] = {"requests": 0.0, "writes": 0.0, "cpu": 0.0}
    for line in text.splitlines():
        value = float(line.rpartition(" ")[2]) if line and not line.startswith("#") else 0.0
        if line.startswith("apiserver_request_total{"):
            requests["requests"] += value
            writes = any(f'verb="{verb}"' in line for verb in ("POST", "PUT", "PATCH", "DELETE"))
            requests["writes"] += value if writes else 0.0
        elif line.startswith("process_cpu_seconds_total"):
            requests["cpu"] = value
    return requests


def _until(true: Any, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit("the simulated cluster did not get there")
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--engines", type=int, default=100)
    args = parser.parse_args()
    if args.measure:
        measure()
    elif args.simulate:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was made is removed then, too
        simulate(args.shards, args.engines)
    else:
        print("\n".join(table()))


if __name__ == "__main__":
    main()
