"""A compiled pipeline with every task a Pod, without the Kubeflow Pipelines back end.

kfp.local walks the pipeline and makes each task's executor input, as it does for subprocesses; here the task then is a
Pod: the component's image, the compiled command with KFP's own executor as entry point, parameters of the types that
the pipeline declares (resolver.py), artifacts in S3 under the pipeline root, and the settings, Secrets, resources and
security context of the compiled platform part. A pod that is deleted by force is made again, twice at most, which is
what KFP does for every task by default.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from kfp import components, local
from kfp.local import status
from kfp.local.subprocess_task_handler import SubprocessTaskHandler
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from pipelines.back_end import Compiled
from tests.cluster.resolver import driven

LAUNCHER = Path(__file__).parent / "launcher.py"
RETRIES = 2


@dataclass
class Pods:
    """Runs pipelines in `namespace`; `root` is the pipeline root (`s3://…`), `images` says what an image is called."""

    namespace: str
    root: str
    images: Callable[[str], str]
    account: str = "selftaught-steps"
    started: Callable[[str, str], None] = lambda task, pod: None
    """Told of each pod: the task's function and the pod's name."""
    tries: dict[str, int] = field(default_factory=dict)
    """How many pods each task took, by the pod name's stem."""

    def run(self, pipeline: Path, arguments: dict[str, Any], scratch: Path) -> None:
        """Run the compiled `pipeline`. Raises RuntimeError when a task fails."""
        compiled = Compiled.read(pipeline)
        self._launcher()
        pods = self

        class Task(SubprocessTaskHandler):
            def run(self) -> status.Status:
                ended = pods.task(self.image, self.full_command, compiled, scratch)
                return status.Status.SUCCESS if ended else status.Status.FAILURE

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kfp.local.task_dispatcher.subprocess_task_handler.SubprocessTaskHandler", Task)
            local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(scratch), raise_on_error=True)
            components.load_component_from_file(str(pipeline))(**arguments)

    def task(self, image: str, command: list[str], pipeline: Compiled, scratch: Path) -> bool:
        """Run one task to its end; False when its own code fails, or the driver would not start it."""
        function = command[command.index("--function_to_execute") + 1]
        at = command.index("--executor_input") + 1
        data = json.loads(command[at])
        try:
            data["inputs"]["parameterValues"] = driven(pipeline, function, data["inputs"].get("parameterValues", {}))
        except TypeError as refused:
            print(f"driver: {refused}")
            return False
        remote = _moved(data, str(scratch), self.root)
        output_file = remote["outputs"]["outputFile"]
        task = {
            "inputs": [*_uris(remote.get("inputs", {}))],
            "outputs": [*_uris(remote["outputs"])],
            "output_file": output_file,
            "output_uri": f"{self.root}/{uuid.uuid4().hex}/executor_output.json",
            "command": [*command[:at], json.dumps(remote), *command[at + 1 :]],
        }
        (executor,) = (each for each in pipeline.executors() if each.label == f"exec-{function}")
        if not self._ran(function, self.images(image), executor.kubernetes, task):
            return False
        self._bring(task, data["outputs"]["outputFile"], scratch)
        return True

    def _ran(self, function: str, image: str, executor: Mapping[str, Any], task: dict[str, Any]) -> bool:
        core, stem = client.CoreV1Api(), f"{function}-{uuid.uuid4().hex[:6]}"
        for attempt in range(RETRIES + 1):
            name = f"{stem}-{attempt}"
            self.tries[stem] = attempt + 1
            core.create_namespaced_pod(self.namespace, self._pod(name, image, executor, task))
            self.started(function, name)
            while (phase := self._phase(name)) in ("Pending", "Running"):
                time.sleep(0.5)
            if phase != "gone":
                print(core.read_namespaced_pod_log(name, self.namespace))
                return phase == "Succeeded"
        return False

    def _phase(self, name: str) -> str:
        try:
            pod = client.CoreV1Api().read_namespaced_pod(name, self.namespace)
        except ApiException as error:
            if error.status == 404:
                return "gone"
            raise
        waiting = [s.state.waiting for s in pod.status.container_statuses or () if s.state.waiting]
        if any(
            each.reason in ("ErrImageNeverPull", "ImagePullBackOff", "CreateContainerConfigError") for each in waiting
        ):
            raise RuntimeError(f"{name}: {waiting[0].reason}: {waiting[0].message}")
        return pod.status.phase

    def _pod(self, name: str, image: str, executor: Mapping[str, Any], task: dict[str, Any]) -> dict[str, Any]:
        """The pod as KFP's driver makes it of the platform part."""
        env = [{"name": "TASK", "value": json.dumps(task)}]
        for kind, ref in (("configMapAsEnv", "configMapKeyRef"), ("secretAsEnv", "secretKeyRef")):
            env += [_from(each, ref, pair) for each in executor.get(kind, ()) for pair in each["keyToEnv"]]
        volumes = [{"name": "s3", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
        volumes.append({"name": "launcher", "configMap": {"name": "launcher"}})
        mounts = [{"name": "s3", "mountPath": "/s3"}, {"name": "tmp", "mountPath": "/tmp"}]
        mounts.append({"name": "launcher", "mountPath": "/launcher"})
        for number, each in enumerate(executor.get("secretAsVolume", ())):
            volumes.append({"name": f"secret-{number}", "secret": {"secretName": each["secretName"]}})
            mounts.append({"name": f"secret-{number}", "mountPath": each["mountPath"], "readOnly": True})
        return {
            "metadata": {
                "name": name,
                "labels": executor["podMetadata"]["labels"],
            },
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": self.account,
                "terminationGracePeriodSeconds": 5,
                "volumes": volumes,
                "containers": [
                    {
                        "name": "main",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python", "/launcher/launcher.py"],
                        "env": env,
                        "volumeMounts": mounts,
                        # Two cores have to hold a pod and two engines: the placement's requests are left out.
                        "resources": {
                            "requests": {"cpu": "50m", "memory": "256Mi"},
                            "limits": {"cpu": "2", "memory": "6Gi"},
                        },
                        "securityContext": {
                            **executor["securityContext"],
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                    }
                ],
            },
        }

    def _launcher(self) -> None:
        body = {"metadata": {"name": "launcher"}, "data": {"launcher.py": LAUNCHER.read_text()}}
        try:
            client.CoreV1Api().create_namespaced_config_map(self.namespace, body)
        except ApiException as error:
            if error.status != 409:
                raise

    def _bring(self, task: dict[str, Any], output_file: str, scratch: Path) -> None:
        """What kfp.local looks at afterwards: the executor's output, and the artifacts, under `scratch`."""
        store = boto3.client("s3")
        bucket, _, key = task["output_uri"].removeprefix("s3://").partition("/")
        text = store.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        Path(output_file).parent.mkdir(parents=True, exist_ok=True)
        Path(output_file).write_text(text.replace(self.root, str(scratch)))
        for uri in task["outputs"]:
            bucket, _, prefix = uri.removeprefix("s3://").partition("/")
            for item in store.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
                target = Path(f"s3://{bucket}/{item['Key']}".replace(self.root, str(scratch)))
                target.parent.mkdir(parents=True, exist_ok=True)
                store.download_file(bucket, item["Key"], str(target))


def _moved(value: Any, here: str, there: str) -> Any:
    """The executor input with artifacts at the pipeline root, as KFP's driver writes it, not in a folder here."""
    if isinstance(value, dict):
        return {
            key: each.replace(here, "/tmp/kfp/outputs") if key == "outputFile" else _moved(each, here, there)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_moved(each, here, there) for each in value]
    return value.replace(here, there) if isinstance(value, str) else value


def _uris(part: dict[str, Any]) -> Iterator[str]:
    for listed in part.get("artifacts", {}).values():
        yield from (artifact["uri"] for artifact in listed["artifacts"])


def _from(each: dict[str, Any], ref: str, pair: dict[str, str]) -> dict[str, Any]:
    name, key = (
        (each["configMapName"], pair["configMapKey"])
        if ref == "configMapKeyRef"
        else (each["secretName"], pair["secretKey"])
    )
    return {
        "name": pair["envVar"],
        "valueFrom": {ref: {"name": name, "key": key, "optional": each.get("optional", False)}},
    }
