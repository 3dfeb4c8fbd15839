"""A stand-in for an API server, as a process that can be killed and started again: `python -m … FOLDER PORT`.

Its objects are files in FOLDER, so they outlive it, as etcd does. It checks resource versions and nothing else. What
KServe and the kubelets make of an InferenceService is `tests.small_cluster`'s: this says of a Deployment what that has
noted of its pod, and leads on to it what is asked of a Service through the API server's proxy.
"""

import json
import sys
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

SELECTOR = "serving.kserve.io/inferenceservice"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.urlsplit(self.path).path
        if "/proxy/" in path:
            return self.send(*self.led_on(path, body))
        if "/deployments/" in path:
            return self.send(*self.deployment(path.rpartition("/")[2]))
        if path.endswith("/pods"):
            return self.send(200, {"kind": "PodList", "items": []})
        return self.send(*getattr(self, f"of_{self.command}")(path, json.loads(body or b"null")))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def of_GET(self, path: str, body: Any) -> tuple[int, Any]:
        if self.file(path).exists():
            return 200, json.loads(self.file(path).read_text())
        listed = [json.loads(file.read_text()) for file in sorted(self.folder.glob(f"{quoted(path + '/')}*"))]
        return (200, {"items": listed}) if path.endswith("s") else (404, {"message": f"{path} not found"})

    def of_POST(self, path: str, body: Any) -> tuple[int, Any]:
        path = f"{path}/{body['metadata']['name']}"
        return (409, {"message": "it exists"}) if self.file(path).exists() else self.kept(path, body, 1)

    def of_PUT(self, path: str, body: Any) -> tuple[int, Any]:
        now = self.of_GET(path, None)[1]["metadata"]["resourceVersion"]
        stale = body["metadata"].get("resourceVersion", now) != now
        return (409, {"message": "it has changed"}) if stale else self.kept(path, body, int(now) + 1)

    def of_PATCH(self, path: str, body: Any) -> tuple[int, Any]:
        now = self.of_GET(path, None)[1]
        now["spec"] |= body["spec"]
        return self.kept(path, now, int(now["metadata"]["resourceVersion"]) + 1)

    def of_DELETE(self, path: str, body: Any) -> tuple[int, Any]:
        self.file(path).unlink(missing_ok=True)
        return 200, {}

    def kept(self, path: str, body: Any, version: int) -> tuple[int, Any]:
        body["metadata"]["resourceVersion"] = str(version)
        new = self.folder / f".{quoted(path)}"
        new.write_text(json.dumps(body))
        new.rename(self.file(path))
        return 200, body

    def file(self, path: str) -> Path:
        return self.folder / quoted(path)

    def pod(self, name: str) -> Any:
        """What is noted of the pod of the version `name`."""
        try:
            return json.loads((self.folder / "pods" / name).read_text())
        except FileNotFoundError:
            return {"port": 0, "ready": False, "was_up": False}

    def deployment(self, name: str) -> tuple[int, Any]:
        pod = self.pod(name.removesuffix("-predictor"))
        reason = "NewReplicaSetAvailable" if pod["was_up"] else "ReplicaSetUpdated"
        progressing = {"type": "Progressing", "status": "True", "reason": reason}
        counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": int(pod["ready"])}
        spec: Any = {"replicas": 1, "selector": {}, "template": {}}
        status = {"observedGeneration": 1, "conditions": [progressing], **counts}
        return 200, {"metadata": {"name": name, "generation": 1}, "spec": spec, "status": status}

    def led_on(self, path: str, body: bytes) -> tuple[int, Any]:
        """What the pod behind a Service says; a Service of KServe's, or one that the platform has made."""
        head, _, rest = path.partition(":80/proxy/")
        name, known = head.rpartition("/")[2], self.of_GET(head, None)
        version = known[1]["spec"]["selector"][SELECTOR] if known[0] == 200 else name.removesuffix("-predictor")
        asked = urllib.request.Request(f"http://127.0.0.1:{self.pod(version)['port']}/{rest}", body or None)
        try:
            with urllib.request.urlopen(asked) as answer:
                return 200, json.loads(answer.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())
        except (URLError, OSError, ValueError) as error:
            return 503, {"message": f"error trying to reach service: {error}"}

    def send(self, status: int, value: Any) -> None:
        answer = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def quoted(path: str) -> str:
    return urllib.parse.quote(path, safe="")


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    ThreadingHTTPServer.request_queue_size = 2048  # a step asks its engine through it
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
