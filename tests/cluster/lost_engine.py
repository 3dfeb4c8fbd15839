"""An engine that is lost while it is asked: the recorded one, which holds the third request to a path until it dies.

    python engine.py ARGUMENTS

It is not healthy before it is given a path (`POST /control/arm`, the path as body), so each process that starts is
found by its test first. `GET /control` says who it is and whether it holds a request; `POST /control/release` has it go
on, `POST /control/grow` has it take memory until the kernel ends it.
"""

import os
import threading
import uuid

import api_server

BOOT = uuid.uuid4().hex


class Engine(api_server.Handler):
    """The simulated engine's answers, behind a gate that `lock` guards."""

    path_held, asked, holding = "", 0, False
    lock, free = threading.Lock(), threading.Event()

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send({}, 200 if Engine.path_held else 503)
        elif self.path == "/control":
            self.send({"boot": BOOT, "armed": Engine.path_held, "holding": Engine.holding and not self.free.is_set()})
        else:
            self.hold()
            super().do_GET()

    def do_POST(self) -> None:
        if self.path.startswith("/control/"):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            {"arm": self.arm, "release": lambda _: self.free.set(), "grow": grow}[self.path.split("/")[-1]](body)
            self.send({})
        else:
            self.hold()
            super().do_POST()

    def arm(self, path: str) -> None:
        with self.lock:
            Engine.path_held, Engine.asked, Engine.holding = path, 0, False
            self.free.clear()

    def hold(self) -> None:
        with self.lock:
            Engine.asked += self.path == Engine.path_held
            if self.path != Engine.path_held or Engine.asked < 3:
                return
            Engine.holding = True
        self.free.wait()


def grow(_: str) -> None:
    """Take memory, and use it, until there is no more."""
    taken: list[bytes] = []
    while True:
        taken.append(os.urandom(2**22))


if __name__ == "__main__":
    api_server.Handler = Engine
    api_server.main()
