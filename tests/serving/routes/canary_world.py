"""A line on loopback: engines that count their answers as vLLM does, and an API server that keeps what it is sent.

The API server keeps HTTPRoutes and Services with their resource versions, and says which pods there are and what the
gateway says of a route. It checks nothing else: that real ones take the objects is for tests/cluster to show.
"""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator

from selftaught.serving.middleware.counting import Counting
from tests.gateway import Gateway

SPACE = "lines"


@dataclass
class Engine:
    """A pod that answers for the version `name`: with the status `wrong` where there is one."""

    name: str
    address: str
    wrong: int = 0
    restarts: int = 0
    ready: bool = True
    breaks_at: int = 0
    """The share of the requests with which it restarts."""
    counts: bool = True
    """Whether it counts apart what carries the mark of a step."""

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        def models() -> dict[str, Any]:
            return {"data": [{"id": self.name}]}

        @app.post("/v1/completions")
        def completions(asked: dict[str, Any]) -> Response:
            right = 400 if asked.get("bad") else 200
            return Response(json.dumps({"model": self.name}), self.wrong or right)

        registry = CollectorRegistry()
        Instrumentator(registry=registry).instrument(app).expose(app)
        if self.counts:
            app.add_middleware(Counting, registry=registry)
        return app

    @property
    def pod(self) -> dict[str, Any]:
        container = {"name": "engine", "image": "", "imageID": "", "ready": True, "restartCount": self.restarts}
        ready = {"type": "Ready", "status": str(self.ready)}
        status = {"podIP": self.address, "conditions": [ready], "containerStatuses": [container]}
        return {"metadata": {"name": f"pod-{self.address}"}, "status": status}


def said(generation: int, **changed: Any) -> list[dict[str, Any]]:
    """The status of a route's one parent at its `generation`: taken, but for the condition that is `changed`."""
    good = {"status": "True", "reason": "Good", "message": "", "observedGeneration": generation}
    conditions = [{"type": kind, **good, **changed.get(kind, {})} for kind in ("Accepted", "ResolvedRefs")]
    return [{"parentRef": {"name": "main", "namespace": "edge"}, "conditions": conditions}]


@dataclass
class World:
    """The cluster that `kubeconfig` leads to. Assigning to an engine changes what its users get."""

    engines: list[Engine]
    port: int
    kubeconfig: Path
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: list[dict[str, int]] = field(default_factory=list)
    """The weights of every HTTPRoute that was accepted."""
    meanwhile: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    """What others do to a kept object, each once, before the next write to it comes in."""
    says: Callable[[int], list[dict[str, Any]]] = said
    """What the gateways say of an HTTPRoute of this generation, by parent."""
    url: str = ""
    stable: str = ""

    def route(self, line: str) -> dict[str, Any] | None:
        return self.kept.get(f"/apis/gateway.networking.k8s.io/v1/namespaces/{SPACE}/httproutes/{line}")

    def address(self, service: str) -> str:
        engine = next(engine for engine in self.engines if service == f"{engine.name}-predictor")
        return f"http://{engine.address}:{self.port}"

    def selected(self, line: str) -> dict[str, Any]:
        """A Service as a route of one backend."""
        (service,) = (kept for path, kept in self.kept.items() if "/services/" in path)
        name = service["spec"]["selector"]["serving.kserve.io/inferenceservice"]
        backend = {"name": f"{name}-predictor", "weight": 1}
        return {"spec": {"hostnames": [self.stable], "rules": [{"backendRefs": [backend]}]}}

    def handle(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        path, _, query = path.partition("?")
        if path.endswith("/pods"):
            name = re.search(r"inferenceservice(?:=|%3D)([a-z0-9-]+)", query)[1]
            return 200, {"items": [self._pod(engine) for engine in self.engines if engine.name == name]}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
        known = self.kept.get(path)
        if method == "PUT" and self.meanwhile:
            self.meanwhile.pop(0)(known)
        if method != "POST" and known is None:
            return 404, {"message": f"{path} not found"}
        if method == "GET" and "/httproutes/" in path:
            return 200, {**known, "status": {"parents": self.says(known["metadata"]["generation"])}}
        if method == "GET":
            return 200, known
        if method == "PUT" and body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            return 409, {"message": "the object has been modified"}
        return 200, self._keep(path, known or {}, body)

    def _pod(self, engine: Engine) -> dict[str, Any]:
        pod, share = engine.pod, self.written[-1].get(f"{engine.name}-predictor") if self.written else None
        engine.restarts += share == engine.breaks_at  # after it was seen, so that it happens while it is watched
        return pod

    def _keep(self, path: str, known: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        spec = known.get("spec", {}) | body["spec"]
        if "/services/" in path:
            spec["clusterIP"] = self.stable
        else:
            rules = spec["rules"]
            self.written.append({each["name"]: each["weight"] for each in rules[0]["backendRefs"]})
        version = str(int(known.get("metadata", {}).get("resourceVersion", "0")) + 1)
        generation = known.get("metadata", {}).get("generation", 0) + (spec != known.get("spec"))
        metadata = {**known.get("metadata", {}), **body.get("metadata", {}), "resourceVersion": version}
        metadata |= {"generation": generation}
        self.kept[path] = {**known, **body, "metadata": metadata, "spec": spec}
        return self.kept[path]


class _Handler(BaseHTTPRequestHandler):
    world: World

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else {}
        status, said = self.world.handle(self.command, self.path, body)
        found = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def world(names: list[str], folder: Path) -> Iterator[World]:
    """A cluster with an engine for each of `names`, a gateway, and a stable Service's proxy."""
    with ExitStack() as stack:
        engines = [Engine(name, f"127.0.0.{number}", counts="cccc" not in name) for number, name in enumerate(names, 2)]
        made = World(engines, _free_port(), folder / "kubeconfig")
        for engine in engines:
            stack.enter_context(_served(engine, made.port))
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"world": made}))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(server.shutdown)
        made.kubeconfig.write_text(_kubeconfig(server.server_address[1]))
        made.url = stack.enter_context(Gateway(made.route, made.address).serving())
        made.stable = stack.enter_context(Gateway(made.selected, made.address).serving()).removeprefix("http://")
        yield made


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@contextmanager
def _served(engine: Engine, port: int) -> Iterator[None]:
    listening = socket.create_server((engine.address, port))
    server = uvicorn.Server(uvicorn.Config(engine.app(), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield
    server.should_exit = True
    thread.join(10)


def _kubeconfig(port: int) -> str:
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    cluster = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    users = [{"name": "me", "user": {"token": "any"}}]
    return json.dumps({"current-context": "here", "contexts": [context], "clusters": [cluster], "users": users})
