"""A model hub for tests: the few addresses that huggingface_hub asks to make a repository and commit to it.

Recorded from the client (2.4): `hf_api.create_repo`, `repo_info`, `create_commit`; `_commit_api._fetch_upload_modes`,
`_send_commit`; `lfs.post_lfs_batch_info`, `lfs_upload`. Large files go by LFS's basic transfer (the client leaves Xet
alone with HF_HUB_DISABLE_XET). It checks who asks, and the SHA-256 of what it is given.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import yaml

WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
LARGE = (".safetensors", ".parquet")


@dataclass
class Repository:
    """What a repository holds after each of its commits."""

    private: bool = True
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}"

    @property
    def card(self) -> dict[str, Any]:
        found = re.match(r"---\n(.*?)\n---\n", self.files.get("README.md", b"").decode(), re.DOTALL)
        return yaml.safe_load(found[1]) if found else {}


@dataclass
class Hub:
    """Repositories by kind and name (`models/owner/name`). `asked` are the requests, `broken` the ones that fail."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict[str, Repository])
    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    asked: list[str] = field(default_factory=list[str])
    broken: dict[str, int] = field(default_factory=dict[str, int])
    hidden: set[str] = field(default_factory=set[str])
    """Repositories that are there, and that nobody may see."""


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            body, path = _body(self), self.path.partition("?")[0]
            who = self.headers.get("Authorization", "").removeprefix("Bearer ")
            hub.asked.append(f"{self.command} {path}")
            self._say(*(_refused(hub, self.command, path, who) or _answer(hub, path, body)))

        do_GET = do_POST = do_PUT = _take  # noqa: N815 (the names that http.server asks for)

        def _say(self, status: int, fields: Mapping[str, Any], code: str = "", error: str = "") -> None:
            data = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (("X-Error-Code", code), ("X-Error-Message", error)):
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    return Handler


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in request.headers.get("Transfer-Encoding", ""):
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    read = bytearray()
    while size := int(request.rfile.readline(), 16):
        read += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return bytes(read)


Said = tuple[int, Mapping[str, Any]] | tuple[int, Mapping[str, Any], str, str]


def _refused(hub: Hub, verb: str, path: str, who: str) -> Said | None:
    """What is out of order, or not for whoever asks; large files go where an address is right enough."""
    if status := next((status for part, status in hub.broken.items() if part in path), 0):
        return status, {"error": "out of order"}, "", "out of order"
    if path.startswith("/lfs/"):
        return None
    if who not in (WRITER, READER):
        return 401, {}, "", "Invalid credentials in Authorization header"
    if verb == "POST" and who == READER and path != "/api/validate-yaml":
        return 403, {}, "", "you must use a write token"
    return None


def _answer(hub: Hub, path: str, body: bytes) -> Said:
    if path.startswith("/lfs/"):
        return 200, _object(hub, path, body)
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    if path == "/api/repos/create":
        return _created(hub, json.loads(body))
    if re.fullmatch(r"/(?:datasets/)?[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
        return 200, {"transfer": "basic", "objects": [_upload(hub, each) for each in json.loads(body)["objects"]]}
    return _of_a_repository(hub, path, body)


def _of_a_repository(hub: Hub, path: str, body: bytes) -> Said:
    asked = re.fullmatch(r"/api/((?:models|datasets)/[^/]+/[^/]+)(?:/(\w+)/main)?", path)
    assert asked, path
    name, action = asked.groups()
    there = hub.repositories.get(name)
    if there is None or name in hub.hidden:
        return 404, {}, "RepoNotFound", "Repository not found"
    if action == "preupload":
        return 200, {"files": [_mode(each["path"]) for each in json.loads(body)["files"]]}
    if action == "commit":
        return _committed(hub, name, [json.loads(line) for line in body.splitlines()])
    siblings = [{"rfilename": each} for each in there.files]
    fields = {"id": name.partition("/")[2], "sha": there.sha, "private": there.private, "siblings": siblings}
    return 200, {**fields, "cardData": there.card, "tags": [], "downloads": 0, "likes": 0}


def _created(hub: Hub, fields: Mapping[str, Any]) -> Said:
    name = f"{fields['type']}s/{fields['organization']}/{fields['name']}"
    if name in hub.repositories:
        return 409, {}, "", "You already created this repo"
    hub.repositories[name] = Repository(private=fields.get("visibility") == "private")
    return 200, {"url": _page(hub, name)}


def _page(hub: Hub, name: str) -> str:
    return f"{hub.url}/{name.removeprefix('models/')}"


def _mode(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}


def _upload(hub: Hub, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What to do with a large file; nothing, where it is there."""
    if fields["oid"] in hub.objects:
        return dict(fields)
    href = f"{hub.url}/lfs/{fields['oid']}"
    return {**fields, "actions": {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}}


def _object(hub: Hub, path: str, body: bytes) -> Mapping[str, Any]:
    oid = path.split("/")[2]
    if path.endswith("/verify"):
        assert json.loads(body) == {"oid": oid, "size": len(hub.objects[oid])}
    else:
        assert hashlib.sha256(body).hexdigest() == oid
        hub.objects[oid] = body
    return {}


def _committed(hub: Hub, name: str, lines: list[Any]) -> Said:
    header, *operations = lines
    there = hub.repositories[name]
    if header["value"].get("parentCommit", there.sha) != there.sha:
        return 412, {}, "", "A commit has happened since"
    files = dict(there.files)
    for operation in operations:
        value = operation["value"]
        match operation["key"]:
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            case "deletedFile":
                del files[value["path"]]
    there.commits.append(files)
    return 200, {"success": True, "commitOid": there.sha, "commitUrl": f"{_page(hub, name)}/commit/{there.sha}"}
