"""A real git server for the tests: git's own `http-backend` on a free loopback port, and bare repositories behind it.

Start it with `git_server(folder)`. It asks for a user name and a token, and can be made to lose its answers to pushes.
"""

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

USERNAME, TOKEN = "promoter", "a-token-for-tests-only"
PERSON = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com"}
PERSON |= {"GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.com"}


def git(*words: str, at: Path) -> str:
    """What git prints; a person's git, with nobody's configuration."""
    if not shutil.which("git"):
        pytest.skip("git is not on PATH")
    environment = {**os.environ, **PERSON, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *words], cwd=at, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare repository with the branch `main`, as a person who has a checkout of it sees it."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Bare":
        """An empty layout: a README in `lines/`, and two commits, so that there is a history to leave behind."""
        git("init", "--bare", "--initial-branch=main", str(folder), at=folder.parent)
        git("config", "http.receivepack", "true", at=folder)
        repository = cls(folder)
        repository.write({"lines/README.md": "Lines.\n"})
        repository.write({"README.md": "Ours.\n"})
        return repository

    def write(self, files: dict[str, str]) -> None:
        """A person's commit that writes `files`."""
        with self.checkout() as checkout:
            for path, text in files.items():
                (checkout / path).parent.mkdir(parents=True, exist_ok=True)
                (checkout / path).write_text(text)

    def revert(self, commit: str = "HEAD") -> None:
        """A person's `git revert`."""
        with self.checkout() as checkout:
            git("revert", "--no-edit", commit, at=checkout)

    @contextmanager
    def checkout(self) -> Iterator[Path]:
        """A checkout whose changes are committed and pushed when the block ends."""
        checkout = self.folder.with_name(f"{self.folder.name}-{threading.get_ident()}")
        git("clone", "--quiet", str(self.folder), str(checkout), at=self.folder.parent)
        yield checkout
        git("add", "--all", at=checkout)
        if git("status", "--porcelain", at=checkout):
            git("commit", "--quiet", "--message", "by hand", at=checkout)
        git("push", "--quiet", "origin", "HEAD:main", at=checkout)
        shutil.rmtree(checkout)

    def read(self, path: str) -> str:
        return git("show", f"main:{path}", at=self.folder)

    def files(self, folder: str = ".") -> set[str]:
        return set(git("ls-tree", "-r", "--name-only", "main", folder, at=self.folder).split())

    def commits(self) -> list[str]:
        """Subjects, the newest first."""
        return git("log", "--format=%s", "main", at=self.folder).splitlines()


@dataclass
class GitServer:
    """A running server. `lost` is how many of its next answers to pushes do not arrive."""

    url: str
    lost: int = 0
    token: str = TOKEN


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    behaviour: GitServer

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        known = base64.b64encode(f"{USERNAME}:{self.behaviour.token}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {known}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        head, _, content = self._backend(body).partition(b"\r\n\r\n")
        if self.path.endswith("/git-receive-pack") and self.behaviour.lost:
            self.behaviour.lost -= 1
            return
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _backend(self, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_USER": USERNAME,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        return done.stdout

    def log_message(self, format: str, *args: object) -> None:
        """Quietly."""


@contextmanager
def git_server(folder: Path) -> Iterator[GitServer]:
    """A server of the repositories in `folder`, up in the block."""
    found = GitServer("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"folder": folder, "behaviour": found}))
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
