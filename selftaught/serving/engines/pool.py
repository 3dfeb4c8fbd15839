"""Engines on this machine: supervised processes on loopback, owned by the process that starts them.

One engine a model digest, started on a free port, waited for until it answers as that digest, kept warm while others
are used, and gone when its owner is, even by `kill -9` (`selftaught.serving.engines.launch`). Users' pointer to the
champion is the registry's business.
"""

import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Self

from selftaught.core.errors import BadInput, SelftaughtError
from selftaught.inference.endpoint import served_name
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import (
    DEFAULTS,
    HOST,
    Engine,
    EngineOptions,
    Start,
    Waiting,
    launch,
    reserve,
    uses_vllm,
)
from selftaught.serving.engines.forkserver import ForkServer
from selftaught.serving.engines.sessions import reap


class LocalEngines:
    """The engines of one owner: implements `selftaught.serving.backend.Backend`. Use it as a context manager.

    Notes its engines in `<home>/engines`, where logs are too, and reaps there what a killed owner left. At most `keep`
    engines stay up: one more and the least recently asked for is stopped. With a `forkserver` vLLM is imported once,
    from now on, whatever number of engines is started: for who starts several. Safe to use from several threads.
    """

    def __init__(
        self,
        home: Path,
        *,
        keep: int = 2,
        options: EngineOptions = DEFAULTS,
        waiting: Waiting = lambda name, seconds: None,
        forkserver: bool = False,
    ) -> None:
        self.folder = home / "engines"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep, self._options, self._waiting = keep, options, waiting
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()
        reap(self.folder)
        self._forkserver = ForkServer(self.folder, options) if forkserver and uses_vllm() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def deploy(self, line: str, digest: str, folder: Path, *, port: int = 0) -> Served:
        """Serve the model in `folder`; see `Backend.deploy`. `port` 0 means any free one.

        Raises BadInput when the model cannot be served or the port is taken, Unavailable when the engine is not up in
        time, WrongModel when another server answers on its port, Away when it was killed while starting, or was up and
        answers no more: the next call starts another one.
        """
        with self._lock:
            engine = self._warm(served_name(line, digest)) or self._start(line, digest, folder, port)
        try:
            engine.wait(self._options.ready_within, self._waiting)
        except SelftaughtError:
            self._drop(engine)
            raise
        return engine.served

    def remove(self, line: str, digest: str) -> None:
        """Stop the engine of this version, if there is one."""
        with self._lock:
            engine = self._engines.pop(served_name(line, digest), None)
        if engine is not None:
            engine.stop()

    def _drop(self, engine: Engine) -> None:
        with self._lock:
            if self._engines.get(engine.served.name) is engine:
                self._engines.pop(engine.served.name).stop()

    def close(self) -> None:
        """Stop all engines."""
        if self._forkserver is not None:  # outside the lock: a thread that waits for the import holds it
            self._forkserver.close()
        with self._lock:
            engines, self._engines = list(self._engines.values()), OrderedDict()
        for engine in engines:
            engine.terminate()
        for engine in engines:
            engine.stop()

    def _warm(self, name: str) -> Engine | None:
        engine = self._engines.get(name)
        if engine is not None and engine.died:
            self._engines.pop(name).stop()
            return None
        if engine is not None:
            self._engines.move_to_end(name)
        return engine

    def _start(self, line: str, digest: str, folder: Path, port: int) -> Engine:
        if not (folder / "config.json").is_file():
            raise BadInput(f"{folder}: not a model (no config.json). Is the copy complete?")
        while len(self._engines) >= self._keep:
            self._engines.popitem(last=False)[1].stop()
        reservation = reserve(port)
        url, key = f"http://{HOST}:{reservation.getsockname()[1]}/v1", self._options.key
        served = Served(url=url, line=line, digest=digest, key=key)
        start: Start = self._forkserver.start if self._forkserver else partial(launch, options=self._options)
        try:
            engine = Engine(served, folder, self.folder, reservation=reservation, options=self._options, start=start)
        except BaseException:
            reservation.close()
            raise
        self._engines[engine.served.name] = engine
        return engine
