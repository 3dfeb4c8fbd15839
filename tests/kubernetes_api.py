"""A stand-in for the Kubernetes API server: objects at their paths over HTTP, which it refuses to some as RBAC does.

Only what is read: it knows no kinds, and a list is an object like any other. Reviews are answered from the rights that
a test states. Refusals and what is not there are worded as the API server words them.
"""

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.certificates import Certificates

REVIEWS = "/apis/authorization.k8s.io/v1/namespaces/team-a/localsubjectaccessreviews"
"""Of the namespace `team-a`: whoever reviews rights there needs no right in the entire cluster."""
OWN_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
OWN_NAME = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass
class Kubernetes:
    """What there is, who asks, what they may not, and what accounts may (account, verb, resource)."""

    url: str = ""
    user: str = "person"
    objects: dict[str, Any] = field(default_factory=dict[str, Any])
    forbidden: set[str] = field(default_factory=set[str])
    rights: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Method and path of each request, but of those for its version and for who asks."""

    def answer(self, method: str, path: str, accept: str, body: Any) -> tuple[int, Any]:
        """Status and object."""
        if path == OWN_NAME:
            return 201, {"status": {"userInfo": {"username": self.user}}}
        self.asked.append((method, path))
        if path in self.forbidden:
            words = f'User "{self.user}" cannot {method.lower()} {path}'
            return 403, {"kind": "Status", "message": f"forbidden: {words}", "code": 403}
        if method == "POST":
            return 201, {**body, "status": {"allowed": self._allowed(body["spec"])}}
        if path not in self.objects:
            return 404, {"kind": "Status", "message": f"{path} not found", "code": 404}
        full = self.objects[path]
        return 200, {"metadata": full["metadata"]} if "PartialObjectMetadata" in accept else full

    def _allowed(self, spec: Any) -> bool:
        asked = spec["resourceAttributes"]
        return (spec.get("user", self.user), asked["verb"], asked["resource"]) in self.rights


@contextmanager
def serving(cluster: Kubernetes, certificates: Certificates | None = None) -> Generator[Kubernetes]:
    """`cluster`, answering at its URL; over TLS with `certificates`, as pods find it."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            accept = self.headers.get("Accept", "")
            status, data = cluster.answer(self.command, self.path, accept, json.loads(content or b"null"))
            answer = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server, certificates.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    cluster.url = f"http{'s' if certificates else ''}://127.0.0.1:{server.server_port}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(file: Path, url: str, token: str = "token", authority: str = "") -> Path:
    """A kubeconfig in `file` that leads to the API server at `url`; `authority` is its certificate's, in base 64."""
    cluster = {"server": url, **({"certificate-authority-data": authority} if authority else {})}
    fields = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(yaml.safe_dump(fields))
    return file
