"""A stand-in for the API server of Kubeflow Pipelines: its v2beta1 JSON over HTTP, as far as the platform asks for it.

Held to what the real one does where the platform goes by it: names of pipelines and of a pipeline's versions are
unique (409), a version is uploaded as a file and never changed, a run names a version that is there (404), lists come
in pages, an unknown filter is refused. With `kubernetes` it keeps pipelines as objects of a cluster does: a name is a
DNS name, and versions of all pipelines share one namespace. Nothing is run: a run stays PENDING until a test says.
"""

import json
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

Row = dict[str, Any]
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LISTS = {"recurringruns": "recurringRuns"}
_VERSIONS = re.compile(r"pipelines/([^/]+)/versions(?:/([^/]+))?")


class Refused(Exception):
    """A request that the server refuses, with its status and its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass
class Kfp:
    """What there is, what was asked, and how the server is to behave."""

    url: str = ""
    kubernetes: bool = False
    multi_user: bool = False
    experiments: list[Row] = field(default_factory=list[Row])
    pipelines: list[Row] = field(default_factory=list[Row])
    versions: list[Row] = field(default_factory=list[Row])
    runs: list[Row] = field(default_factory=list[Row])
    recurringruns: list[Row] = field(default_factory=list[Row])
    asked: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])
    """Method, kind, and the body (of a GET or DELETE the path)."""
    tokens: list[str | None] = field(default_factory=list[str | None])
    """The Authorization header of each request."""
    refuses: int = 0
    """The status with which every request but for its health is refused; 0: none is."""
    after: Callable[[], object] = lambda: None
    """Called after each request."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, method: str, kind: str) -> list[Any]:
        """What was sent with `method` to `kind`, oldest first."""
        return [body for asked, of, body in self.asked if (asked, of) == (method, kind)]

    def end(self, run: str, state: str = "SUCCEEDED") -> None:
        """The run has come to an end."""
        next(row for row in self.runs if row["run_id"] == run)["state"] = state

    def answer(self, method: str, address: str, body: Any) -> Any:
        """What the server says."""
        parts = urlsplit(address)
        path = unquote(parts.path).removeprefix("/apis/v2beta1/")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        with self._lock:
            self.asked.append((method, path.partition("/")[0], body if method == "POST" else address))
            if self.refuses and path != "healthz":
                raise Refused(self.refuses, "refused")
            return self._answered(method, path, query, body)

    def _answered(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        if versions := _VERSIONS.fullmatch(path):
            return self._of_versions(method, versions[1], versions[2], query)
        if path == "healthz":
            return {"multi_user": self.multi_user}
        if path == "pipelines/upload_version":
            return self._upload(query, body)
        kind, _, one = path.partition("/")
        return self._of_rows(method, kind, one, query, body)

    def _of_rows(self, method: str, kind: str, one: str, query: Mapping[str, str], body: Any) -> Any:
        rows: list[Row] = getattr(self, kind)
        key = {"recurringruns": "recurring_run_id"}.get(kind, f"{kind[:-1]}_id")
        if method == "GET":
            return _the(rows, key, one) if one else _page(_LISTS.get(kind, kind), _wanted(rows, query), query)
        if method == "DELETE":
            rows.remove(_the(rows, key, one))
            return {}
        if one.endswith(":terminate"):
            _the(rows, key, one.removesuffix(":terminate"))["state"] = "CANCELING"
            return {}
        return self._make(kind, rows, key, body)

    def _make(self, kind: str, rows: list[Row], key: str, body: Row) -> Row:
        if kind == "pipelines":
            body |= {"name": body.get("name") or body["display_name"]}
            self._named(body["name"], rows, body.get("namespace"))
        if kind == "runs":
            body |= {"state": "PENDING"}
            if reference := body.get("pipeline_version_reference"):
                _the(self.versions, "pipeline_version_id", reference["pipeline_version_id"])
        made = {**body, key: f"{kind[0]}{next(self._numbers)}", "created_at": datetime.now(UTC).isoformat()}
        rows.append(made)
        return made

    def _upload(self, query: Mapping[str, str], body: bytes) -> Row:
        _the(self.pipelines, "pipeline_id", query["pipelineid"])
        rows = self.versions if self.kubernetes else _where(self.versions, "pipeline_id", query["pipelineid"])
        self._named(query["name"], rows)
        spec, *platform = yaml.safe_load_all(body)
        made = {
            "pipeline_version_id": f"v{next(self._numbers)}",
            "pipeline_id": query["pipelineid"],
            "name": query["name"],
            "display_name": query["name"],
            "description": query.get("description", ""),
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec,
            "created_at": datetime.now(UTC).isoformat(),
        }
        self.versions.append(made)
        return made

    def _of_versions(self, method: str, pipeline: str, version: str | None, query: Mapping[str, str]) -> Any:
        rows = _where(self.versions, "pipeline_id", pipeline)
        if version is None:
            return _page("pipeline_versions", _wanted(rows, query), query)
        found = _the(rows, "pipeline_version_id", version)
        if method == "DELETE":
            self.versions.remove(found)
            return {}
        return found

    def _named(self, name: str, rows: list[Row], namespace: str | None = None) -> None:
        if self.kubernetes and not _SUBDOMAIN.fullmatch(name):
            raise Refused(400, f"Invalid name {name}")
        if any((row["name"], row.get("namespace")) == (name, namespace) for row in rows):
            raise Refused(409, f"{name} already exists")


def _where(rows: list[Row], key: str, value: str) -> list[Row]:
    return [row for row in rows if row.get(key) == value]


def _the(rows: list[Row], key: str, value: str) -> Row:
    found = _where(rows, key, value)
    if not found:
        raise Refused(404, f"{key} {value} not found")
    return found[0]


def _wanted(rows: list[Row], query: Mapping[str, str]) -> list[Row]:
    for key in ("experiment_id", "namespace"):
        if key in query:
            rows = [row for row in rows if row.get(key, query[key]) == query[key]]
    for predicate in json.loads(unquote(query.get("filter") or "{}")).get("predicates", []):
        if predicate["operation"] not in ("EQUALS", 1):
            raise Refused(400, f"unknown operation {predicate['operation']}")
        response = predicate.get("stringValue") or predicate.get("string_value")
        rows = [row for row in rows if row.get(predicate["key"]) == response]
    return rows


def _page(name: str, rows: list[Row], query: Mapping[str, str]) -> Row:
    start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
    rest = rows[start + size :]
    return {name: rows[start : start + size], **({"next_page_token": str(start + size)} if rest else {})}


@contextmanager
def serving(kfp: Kfp, host: str = "127.0.0.1", port: int = 0) -> Generator[Kfp]:
    """`kfp`, answering at its URL."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kfp.tokens.append(self.headers.get("Authorization"))
            try:
                status, fields = 200, kfp.answer(self.command, self.path, self._body(content))
            except Refused as refused:
                status, fields = refused.status, {"error": str(refused), "code": 0, "message": str(refused)}
            kfp.after()
            answer = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _body(self, content: bytes) -> Any:
            kind = self.headers.get("Content-Type") or ""
            if not kind.startswith("multipart/"):
                return json.loads(content) if content else None
            parts = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content)
            return next(p.get_payload(decode=True) for p in parts.get_payload() if "uploadfile" in str(p.items()))  # type: ignore[union-attr]

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    kfp.url = f"http://{host}:{server.server_port}"
    try:
        yield kfp
    finally:
        server.shutdown()
        server.server_close()
