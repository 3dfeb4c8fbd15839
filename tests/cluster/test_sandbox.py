"""The sandbox's pods on a cluster: every attack in a real one, and a verifier whose own pod may not hold a program.

The chart's objects of the sandbox alone, with one replica and one worker, in a namespace that enforces `restricted`;
the address of its Service has to be reachable from here. That network policies are enforced is not looked at.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox.protocol import Limits, Outcome, Program, SandboxFailed
from selftaught.sandbox.remote import RemoteSandbox
from tests.cluster.kube import IMAGES, REGISTRY, Kube, template
from tests.sandbox.test_attacks import *  # noqa: F403 - each is a test of this module too

pytestmark = pytest.mark.cluster

LABEL = "app.kubernetes.io/component=sandbox"
LONG = Limits(cpu_s=600, wall_s=600.0, processes=8)


@dataclass(frozen=True, slots=True)
class Deployed:
    """The sandbox in `namespace`."""

    kube: Kube
    namespace: str
    url: str

    def pod(self) -> dict[str, Any]:
        """The one that is not on its way out."""
        pods = self.kube.get("-n", self.namespace, "pods", "-l", LABEL)["items"]
        (pod,) = (each for each in pods if "deletionTimestamp" not in each["metadata"])
        return pod

    def within(self, code: str) -> str:
        """What Python prints in the pod, beside the server and as its user, with nothing of the sandbox around it."""
        name = self.pod()["metadata"]["name"]
        done = self.kube.run("-n", self.namespace, "exec", name, "--", "python", "-c", code, check=False)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployed(kube: Kube, namespaces: Callable[..., str]) -> Deployed:
    namespace = namespaces("sandbox")
    few = {"cpu": "100m", "memory": "256Mi"}
    sandbox = {
        "enabled": True,
        "replicas": 1,
        "workers": 1,
        "resources": {"requests": few, "limits": {"cpu": "2", "memory": "2Gi"}},
    }
    rendered = template(
        "--show-only",
        "templates/sandbox.yaml",
        values={"images": IMAGES["images"], "sandbox": sandbox},
        namespace=namespace,
    )
    said = kube.run("apply", "-n", namespace, "-f", "-", given=rendered.stdout)
    assert "violate" not in said.stderr, said.stderr
    kube.run("-n", namespace, "rollout", "status", "deployment/selftaught-sandbox", "--timeout=5m")
    address = kube.get("-n", namespace, "service", "selftaught-sandbox")["spec"]["clusterIP"]
    return Deployed(kube, namespace, f"http://{address}:8080")


# What the attacks are asked of ----------------------------------------------------------------------------------------


@pytest.fixture
def where() -> str:
    return "pod"


@pytest.fixture
def user() -> int:
    """The image's."""
    return 10001


@pytest.fixture
def secret() -> Path:
    """A file that everybody in the pod may read."""
    return Path("/etc/passwd")


@pytest.fixture
def elsewhere() -> Path:
    return Path("/scratch")


@pytest.fixture
def run(deployed: Deployed) -> Iterator[Callable[..., Outcome]]:
    """As in tests/sandbox: after each program an honest one has to run."""

    def run(source: str, **options: Any) -> Outcome:
        options.setdefault("wall_s", 300.0)
        limits = Limits(**{name: options.pop(name) for name in Limits.__slots__ if name in options})
        return asked(deployed, Program(source, limits=limits, **options))

    yield run
    honest = run("import os\nprint(sum(range(10)), os.listdir('.'))")
    assert (honest.stdout, honest.stderr) == (b"45 ['program.py']\n", b"")


def asked(deployed: Deployed, program: Program, patience: float = 0.0) -> Outcome:
    async def run() -> Outcome:
        async with RemoteSandbox(deployed.url, patience) as sandbox:
            return await sandbox.run(program)

    return asyncio.run(run())


# What the pod adds ----------------------------------------------------------------------------------------------------


def test_the_server_has_lived_through_all_of_it(deployed: Deployed) -> None:
    (server,) = deployed.pod()["status"]["containerStatuses"]
    assert (server["restartCount"], server["ready"]) == (0, True)


def test_no_signal_reaches_any_process_of_the_pod(run: Callable[..., Outcome]) -> None:
    source = """
import os, signal
reached = []
for pid in [*range(1, 2000), -1]:
    if pid == os.getpid(): continue
    for number in (signal.SIGTERM, signal.SIGKILL):
        try: os.kill(pid, number); reached.append(pid)
        except OSError: pass
print(reached)
"""
    for processes in (1, 8):
        assert run(source, processes=processes).stdout == b"[]\n"


def test_the_kernel_keeps_the_servers_environment_and_memory_from_its_own_user(deployed: Deployed) -> None:
    for file in ("environ", "mem", "maps"):
        assert "PermissionError" in deployed.within(f"open('/proc/1/{file}', 'rb').read()")


def test_there_is_no_token_and_nothing_but_scratch_to_write_to(deployed: Deployed) -> None:
    seen = deployed.within("""
import os, json
def written(folder):
    try: open(folder + "/x", "w").close(); os.unlink(folder + "/x"); return True
    except OSError: return False
folders = ["/", "/tmp", "/dev/shm", "/var/tmp", "/run", "/etc", "/opt/selftaught", "/scratch", "/scratch/0"]
token = os.path.exists("/var/run/secrets/kubernetes.io")
print(json.dumps([token, [each for each in folders if written(each)], os.getuid()]))
""")
    assert json.loads(seen) == [False, ["/scratch/0"], 10001]


def test_the_volume_holds_what_a_program_writes_faster_than_anyone_looks(deployed: Deployed) -> None:
    """By its own size, which is the kernel's to keep."""
    seen = deployed.within("import os; v = os.statvfs('/scratch/0'); print(v.f_blocks * v.f_frsize)")
    assert int(seen) == 64 * 2**20


def test_a_pod_that_is_lost_is_no_programs_failure_and_is_replaced(deployed: Deployed) -> None:
    async def lose() -> None:
        async with RemoteSandbox(deployed.url) as sandbox:
            going = asyncio.create_task(sandbox.run(Program("import time; time.sleep(600)", limits=LONG)))
            await asyncio.sleep(3)
            name = deployed.pod()["metadata"]["name"]
            words = ("-n", deployed.namespace, "delete", "pod", name, "--grace-period=0", "--force")
            await asyncio.to_thread(deployed.kube.run, *words)
            with pytest.raises(SandboxFailed):
                await going

    asyncio.run(lose())
    assert asked(deployed, Program("print(1)"), patience=120).stdout == b"1\n"


# A step ---------------------------------------------------------------------------------------------------------------

_VERIFY = """
import asyncio
from selftaught.blocks import Context
from selftaught.records import Group, Message, Rollout, Task, Turn
from selftaught.sandbox.process import refusal
from selftaught.testing.checks import group_of
from selftaught.verification.unit_tests import UnitTests
check = {"type": "tests", "entry": "double", "hidden": [[[1], 2], [[4], 8]]}
task = Task(messages=(Message(role="user", content="double"),), source="test", check=check)
answers = ["```python\\ndef double(x): return 2 * x\\n```", "```python\\ndef double(x): return 2\\n```"]
print(bool(refusal()), [v.passed for v in asyncio.run(UnitTests().judge(group_of(task, answers), Context()))])
"""


def test_a_step_that_may_hold_no_program_verifies_by_the_sandbox(deployed: Deployed) -> None:
    kube, space = deployed.kube, deployed.namespace
    container = {
        "name": "main",
        "image": f"{REGISTRY}/selftaught/steps:0.1.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _VERIFY],
        "env": [
            {"name": "SELFTAUGHT_SANDBOX_URL", "value": f"http://selftaught-sandbox.{space}.svc.cluster.local:8080"}
        ],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]}
    metadata = {"name": "verify", "labels": {"app.kubernetes.io/component": "steps"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kube.run("apply", "-n", space, "-f", "-", given=json.dumps(pod))
    deadline = time.monotonic() + 300
    while (phase := kube.get("-n", space, "pod", "verify")["status"]["phase"]) in ("Pending", "Running"):
        assert time.monotonic() < deadline
        time.sleep(1)
    said = kube.run("-n", space, "logs", "verify").stdout
    assert (phase, said) == ("Succeeded", "True [True, False]\n"), said
