"""One engine: a vLLM server in a session of its own, from the command that starts it to the reason that it died.

Where vLLM is not installed, `selftaught.serving.engines.transformers_server` replaces it: same arguments, same
answers. How many engines there are, and which, is `selftaught.serving.engines.pool`'s business.
"""

import errno
import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from selftaught.core.authorities import trusted
from selftaught.core.crashes import cause, last_lines
from selftaught.core.environment import without_secrets
from selftaught.core.errors import Away, BadInput, SelftaughtError, Unavailable, WrongModel
from selftaught.core.loopback import KEY, bearer, new_key
from selftaught.serving.backend import Served
from selftaught.serving.engines.sessions import PidFile, Process
from selftaught.settings import Settings

HOST = "127.0.0.1"
VLLM = "selftaught.serving.engines.vllm_server"
TRANSFORMERS = "selftaught.serving.engines.transformers_server"
SILENT = 30.0
"""Seconds without an answer after which an engine that was up is given up for another one."""

Waiting = Callable[[str, float], None]
"""Called several times a second with the name that is being started and the seconds so far."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How engines are run. `context` is the longest prompt and answer together (tokens).

    `dtype`, `tensor_parallel` (GPUs), `memory_share` (of a GPU's), `eager` (not compiled) and `step` (tokens that are
    computed at a time at most) are vLLM's, which chooses for itself what is 0.

    Without a `seed` every start draws its own: an engine that takes over from a killed one must not repeat its stream.
    They answer who has the `key`, which is this process's own.
    """

    context: int = 1024
    sequences: int = 128
    kv_cache_gib: int = 2
    seed: int | None = None
    ready_within: float = 300.0
    key: str = field(default_factory=new_key, repr=False)
    dtype: str = "auto"
    tensor_parallel: int = 1
    memory_share: float = 0
    eager: bool = True
    step: int = 0
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The options that the settings of this machine say."""
        return cls(
            context=settings.engine_context,
            dtype=settings.engine_dtype,
            tensor_parallel=settings.engine_tensor_parallel,
            memory_share=settings.engine_memory_share,
            eager=settings.engine_eager,
        )


DEFAULTS = EngineOptions()

Start = Callable[[list[str], Path], Process]
"""Runs the server that is a module and its arguments, its log in a file; returns the leader of the server's session."""


class Engine:
    """One server process: started when made, ended by `stop`. `folder` is for its log and pid file."""

    def __init__(
        self,
        served: Served,
        model: Path,
        folder: Path,
        *,
        reservation: socket.socket,
        options: EngineOptions,
        start: Start,
    ) -> None:
        self.served, self.model = served, model
        port = int(reservation.getsockname()[1])
        self._reservation = reservation
        self._begin, self._up = time.monotonic(), False
        stem = folder / f"{self.served.name}.{os.getpid()}"
        self.log = stem.with_name(f"{stem.name}.log")
        self._pid_file = stem.with_name(f"{stem.name}.json")
        self._leader = start(_command(self.served, model, port, options), self.log)
        owner = Process.of(os.getpid())
        noted = PidFile(name=served.name, digest=served.digest, port=port, engine=self._leader, owner=owner)
        try:
            noted.write(self._pid_file)
        except OSError:  # an engine that is not noted would outlive whoever could stop it
            self._leader.terminate()
            raise

    @property
    def died(self) -> bool:
        """Whether the process has ended."""
        return not self._leader.alive

    def wait(self, seconds: float, waiting: Waiting) -> None:
        """Return once the engine answers as its own digest; raises as `LocalEngines.deploy` says."""
        begin = time.monotonic() if self._up else self._begin
        with httpx.Client(timeout=5.0, trust_env=False, verify=trusted()) as client:
            while not self._answers(client):
                elapsed = time.monotonic() - begin
                if self._up and (self.died or elapsed > SILENT):
                    raise Away(f"{self.served.name}: its engine was up, and answers no more. See {self.log}.")
                if self.died:
                    raise why(self.model, self.log)
                if elapsed > seconds:
                    raise Unavailable(f"{self.served.name}: not up after {seconds:.0f} s. See {self.log}.")
                waiting(self.served.name, elapsed)
                time.sleep(0.2)
        self._up = True

    def _answers(self, client: httpx.Client) -> bool:
        try:
            listed = client.get(f"{self.served.url}/models", headers=bearer(self.served.key)).raise_for_status()
        except httpx.HTTPError:  # an engine that is dying answers 500
            return False
        names = [model["id"] for model in listed.json()["data"]]
        if self.served.name not in names:
            raise WrongModel(f"{self.served.url} serves {', '.join(names)}, not {self.served.name}. Free the port.")
        return True

    def terminate(self) -> None:
        """Ask the process to end, without waiting."""
        self._leader.terminate()

    def stop(self) -> None:
        """End the process and all its descendants, and forget them."""
        self.terminate()
        self._leader.wait()
        self._leader.kill_session()
        self._pid_file.unlink(missing_ok=True)
        self._reservation.close()


def reserve(port: int) -> socket.socket:
    """A socket bound to `port` (0: any free one) that keeps it from others until the engine listens there.

    Engines bind with SO_REUSEADDR as this does, and the kernel lets two such sockets share a port while at most one
    of them listens; it gives a port that is held like this to nobody who asks for any free one.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reservation.bind((HOST, port))
    except OSError as error:
        reservation.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise BadInput(f"port {port} on {HOST}: {os.strerror(error.errno)}. Choose another, or 0 for any.") from None
    return reservation


def server_module() -> str:
    """The Python module that serves models here."""
    return VLLM if importlib.util.find_spec("vllm") else TRANSFORMERS


def uses_vllm() -> bool:
    """Whether engines are vLLM's here."""
    return server_module() == VLLM


def _command(served: Served, model: Path, port: int, options: EngineOptions) -> list[str]:
    module = server_module()
    arguments = {
        "--model": str(model),
        "--host": HOST,
        "--port": str(port),
        "--max-model-len": str(options.context),
        "--max-num-seqs": str(options.sequences),
        "--seed": str(secrets.randbits(31) if options.seed is None else options.seed),
        "--dtype": options.dtype,
    }
    flat = [word for pair in arguments.items() for word in pair]
    names = ["--served-model-name", served.name, served.line]
    return [module, *flat, *names, *(_vllm_flags(options) if module == VLLM else ())]


def _vllm_flags(options: EngineOptions) -> tuple[str, ...]:
    several = options.tensor_parallel > 1
    return (
        *VLLM_FLAGS,
        # Compiling takes longer than a small model's complete round.
        *(["--enforce-eager"] if options.eager else []),
        # The worker runs inside the engine's process: one start-up fewer.
        *("--distributed-executor-backend", "mp" if several else "uni"),
        *(["--tensor-parallel-size", str(options.tensor_parallel)] if several else []),
        *(["--gpu-memory-utilization", str(options.memory_share)] if options.memory_share else []),
        *(["--max-num-batched-tokens", str(options.step)] if options.step else []),
    )


OVERRIDES = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Everything that vLLM takes from a model's generation_config unless a request says it, as if there were none."""

VLLM_FLAGS = (
    # Requests alone decide how tokens are drawn, not what a model's authors recommend for chatting.
    *("--override-generation-config", json.dumps(OVERRIDES)),
    # Prompts share prefixes of a few dozen tokens; the default block of 128 would cache none of them.
    *("--block-size", "32"),
    "--disable-uvicorn-access-log",
    # A round's requests come after users', and keep to what users leave; who shows no key is not a user.
    *("--scheduling-policy", "priority"),
    *("--middleware", "selftaught.serving.middleware.users.UsersFirst"),
    *("--middleware", "selftaught.core.loopback.Keyed"),
)


VLLM_ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}
"""What vLLM runs with here, in whichever process."""


def _environment(options: EngineOptions) -> dict[str, str]:
    """The engine's environment: this one's, with what measured fastest on CPU."""
    return (
        without_secrets()
        | VLLM_ENVIRONMENT
        | {
            "OMP_NUM_THREADS": str(options.threads),
            "VLLM_CPU_KVCACHE_SPACE": str(options.kv_cache_gib),
            KEY: options.key,
        }
    )


def launch(command: list[str], log: Path, options: EngineOptions, stdin: int = subprocess.DEVNULL) -> Process:
    """Run a Python module with its arguments in a session that ends with this process; returns the session's leader."""
    launcher = [sys.executable, "-m", "selftaught.serving.engines.launch", str(os.getpid())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*launcher, sys.executable, "-m", *command],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(options),
            start_new_session=True,
        )
    leader = Process.of(process.pid)
    threading.Thread(target=process.wait, daemon=True).start()  # or it stays a zombie: nobody else waits for a child
    return leader


def why(model: Path, log: Path) -> SelftaughtError:
    """What an engine that died while starting died of: the first cause in its log, or else its last lines."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if words := cause(text):
        return BadInput(f"{model}: cannot be served: {words}. The engine's log: {log}")
    killed = "the engine was killed while starting (out of memory?)"
    return Away(f"{model}: {killed}: {last_lines(text)}. Its log: {log}")
