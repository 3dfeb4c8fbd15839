"""The fork server: a process that has imported vLLM once and forks an engine whenever its owner asks for one.

Importing takes longer than all the rest of a small model's start, and it does not depend on the model. What is forked
is what `selftaught.serving.engines.engine.launch` would have started: a session of its own with its own log, supervised
by the same code, watching the same owner, and no part of the fork server's life. The fork server itself is run by
`launch` and so ends with its owner. It serves nothing, keeps no list of what it forked, and starts no threads of
Python's, which would not be there after a fork. Linux only.
"""

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path

from selftaught.serving.engines import vllm_server
from selftaught.serving.engines.engine import EngineOptions, launch
from selftaught.serving.engines.launch import supervise
from selftaught.serving.engines.sessions import Process

LONGEST = 1 << 16
"""Bytes of a request: a server's arguments as JSON, with the log that it writes to as a file descriptor."""


class ForkServer:
    """The owner's end: importing from when it is made until `close`. Not to be asked from two threads at once."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        self._options = options
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The import may take as long as a full start would.
        self._channel.settimeout(options.ready_within)
        with theirs:
            command = ["selftaught.serving.engines.forkserver", str(os.getpid())]
            self._leader = launch(command, folder / f"forkserver.{os.getpid()}.log", options, theirs.fileno())

    def start(self, command: list[str], log: Path) -> Process:
        """Fork the engine that `command` (module and arguments) would start; waits until vLLM is imported.

        Without a fork server (it was killed, or has been closed) the engine is launched afresh: slower, and nothing
        else.
        """
        try:
            with log.open("wb") as output:
                socket.send_fds(self._channel, [json.dumps(command[1:]).encode()], [output.fileno()])
            return Process.of(int(self._channel.recv(LONGEST)))
        except (OSError, ValueError):
            self.close()
            return launch(command, log, self._options)

    def close(self) -> None:
        """End the fork server; the engines that it forked stay."""
        self._leader.terminate()
        self._leader.wait()
        self._channel.close()


def main(owner: int) -> None:
    """Fork an engine of `owner` for each request on standard input, a socket, until its other end is closed."""
    owner_fd = os.pidfd_open(owner)
    channel = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    vllm_server.prepare()
    print("forkserver: ready to fork engines", flush=True)
    gc.freeze()  # a collection in a fork would copy every page that it looks at
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended engines are not to stay as zombies
    while True:
        request, logs, _, _ = socket.recv_fds(channel, LONGEST, 1)
        if not request:
            return
        if (leader := os.fork()) == 0:
            channel.close()
            _lead(owner_fd, logs[0], json.loads(request))
            return
        os.close(logs[0])
        channel.send(str(leader).encode())


def _lead(owner_fd: int, log: int, arguments: list[str]) -> None:
    """Be what the launcher of an engine is, instead of a copy of the fork server."""
    import setproctitle  # comes with vLLM

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    setproctitle.setproctitle(" ".join([sys.executable, "-m", vllm_server.__name__, *arguments]))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for here, there in ((nothing, sys.stdin), (log, sys.stdout), (log, sys.stderr)):
        os.dup2(here, there.fileno())
    os.close(nothing)
    os.close(log)
    supervise(owner_fd, lambda: vllm_server.main(arguments))


if __name__ == "__main__":
    main(int(sys.argv[1]))
