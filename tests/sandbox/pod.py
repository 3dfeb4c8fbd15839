"""A sandbox server as a pod has it, without a cluster: an ordinary user, no new privileges, no namespaces for anyone.

It is started with `SECRET` in its environment. The filter in front of it refuses what the runtime's default profile
does. Where the tests run as root, the server is nobody with one capability, to read whatever it is asked to: it has to
find an interpreter that may lie in root's home, and so no mode of a file stands between a program and it.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from selftaught.sandbox.family import Process, descendants

SECRET = "hunter2-of-the-server"
RESTRICTED = """
import errno
from selftaught.sandbox import kernel, syscalls
column = list(syscalls.ARCHITECTURES).index(kernel.MACHINE)
names = "unshare setns mount umount2 pivot_root chroot fsopen fsmount move_mount open_tree mount_setattr bpf".split()
denied = syscalls._denied([syscalls._DENIED[name] for name in names], column, errno.EPERM)
new = [syscalls._op(syscalls._HAS, syscalls._CLONE_NEW, 0, 1), syscalls._op(syscalls._RETURN, 0x50000 | errno.EPERM)]
clone = syscalls._argument(syscalls._CLONE, column, 0, new)
clone3 = syscalls._denied([syscalls._CLONE3], column, errno.ENOSYS)
first, last = syscalls._op(syscalls._LOAD, 0), syscalls._op(syscalls._RETURN, syscalls._ALLOW)
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.set_filter(b"".join([first, *denied, *clone, *clone3, last]))
"""
"""What a Python program begins with, to go on without privileges to come, namespaces or mounts."""
_SERVER = (
    RESTRICTED
    + """
import runpy
runpy.run_module("selftaught.sandbox.server", run_name="__main__")
"""
)
_AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"),
    *(f"--{which}=-all,+dac_read_search" for which in ("bounding-set", "inh-caps", "ambient-caps")),
)


@dataclass(frozen=True, slots=True)
class Pod:
    """A server that runs."""

    url: str
    server: int
    """Its process."""
    scratch: tuple[Path, ...]

    def processes(self) -> list[Process]:
        """The server's workers, and what programs have left running."""
        return [each for each in descendants(self.server) if each.alive]


@contextmanager
def pod_like(workers: int) -> Iterator[Pod]:
    """A server with so many `workers`, until the block ends. Skips where the tests are root's and cannot be another."""
    if not os.geteuid() and not shutil.which("setpriv"):
        pytest.skip("setpriv is not on PATH, and the server must not be root's")
    with ExitStack() as stack:
        scratch = tuple(stack.enter_context(_volume()) for _ in range(workers))
        port = _free_port()
        command = [sys.executable, "-c", _SERVER, *(f"--scratch={each}" for each in scratch), f"--port={port}"]
        server = subprocess.Popen(
            [*(() if os.geteuid() else _AS_NOBODY), *command, "--host=127.0.0.1"],
            env={"AWS_SECRET_ACCESS_KEY": SECRET, "PYTHONPATH": str(Path(__file__).parents[2])},
            cwd="/",
        )
        try:
            _wait(f"http://127.0.0.1:{port}", server)
            yield Pod(f"http://127.0.0.1:{port}", server.pid, scratch)
        finally:
            server.terminate()
            server.wait(60)


@contextmanager
def _volume() -> Iterator[Path]:
    """A folder that anyone may write to, on a volume of its own where that can be had."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name, "scratch")
        folder.mkdir()
        Path(name).chmod(0o755)
        mounted = (
            not os.geteuid()
            and not subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=256m,nosuid,nodev", "scratch", folder], check=False
            ).returncode
        )
        folder.chmod(0o777)
        yield folder
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {server.poll()}")
