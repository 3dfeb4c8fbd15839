"""kubectl and helm as functions, the chart as they see it, and schemas that a cluster gives of its own objects."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "selftaught"
DEV = CHART / "values-dev.yaml"
REGISTRY = os.environ.get("SELFTAUGHT_TEST_REGISTRY", "localhost")
S3_IMAGE = os.environ.get("SELFTAUGHT_TEST_S3_IMAGE", "localhost/seaweedfs:test")
IMAGES = {
    "images": {"registry": REGISTRY},
    "seaweedfs": {"image": dict(zip(("repository", "tag"), S3_IMAGE.rsplit(":", 1), strict=True))},
}
"""Values that name the images of a test cluster."""


@dataclass(frozen=True, slots=True)
class Kube:
    """A cluster, by its kubeconfig."""

    config: str

    @classmethod
    def connect(cls) -> "Kube":
        """The cluster of KUBECONFIG; skips where it, kubectl or helm are missing."""
        missing = [tool for tool in ("kubectl", "helm") if not shutil.which(tool)]
        if missing or "KUBECONFIG" not in os.environ:
            pytest.skip(f"no cluster: {', '.join([*missing, *(['KUBECONFIG'] * ('KUBECONFIG' not in os.environ))])}")
        return cls(os.environ["KUBECONFIG"])

    def run(self, *words: str, given: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run kubectl; with `check`, its failure is the test's."""
        return _run("kubectl", "--kubeconfig", self.config, *words, given=given, check=check)

    def get(self, *words: str) -> Any:
        """What `kubectl get … -o json` gives."""
        return json.loads(self.run("get", *words, "-o", "json").stdout)

    def helm(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run helm; see `run`."""
        return _run("helm", "--kubeconfig", self.config, *words, check=check)

    def schemas(self, folder: Path, objects: list[dict[str, Any]]) -> str:
        """Write the cluster's schema of every kind in `objects`, strict; returns kubeconform's schema location."""
        for version in sorted({item["apiVersion"] for item in objects}):
            path = f"apis/{version}" if "/" in version else f"api/{version}"
            served = self.run("get", "--raw", f"/openapi/v3/{path}", check=False)
            if served.returncode == 0:
                for name, schema in _strict(json.loads(served.stdout)):
                    (folder / f"{name}.json").write_text(json.dumps(schema))
        return f"{folder}/{{{{.ResourceKind}}}}-{{{{.Group}}}}-{{{{.ResourceAPIVersion}}}}.json"


def _run(*words: str, given: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    if check and done.returncode:
        pytest.fail(f"{' '.join(words)[:300]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done


def _strict(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON Schemas of an OpenAPI document's objects, in which a field that is not in them is a mistake."""
    definitions = json.loads(json.dumps(document["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/"))
    for schema in definitions.values():
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            # kubeconform takes the core group for one called v1.
            file = f"{kind['kind'].lower()}-{kind['group'] or kind['version']}-{kind['version']}"
            yield file, {"$ref": f"#/$defs/{name}", "$defs": definitions}


def render(*words: str, values: dict[str, Any] | None = None, namespace: str = "selftaught") -> list[dict[str, Any]]:
    """The chart's objects as `helm template` gives them. `values` come after the files in `words`."""
    return list(filter(None, yaml.safe_load_all(template(*words, values=values, namespace=namespace).stdout)))


def template(
    *words: str, values: dict[str, Any] | None = None, namespace: str = "selftaught", check: bool = True
) -> "subprocess.CompletedProcess[str]":
    """`helm template` of the chart; see `render`."""
    # Helm's built-in guess of the cluster's version can be older than the chart takes.
    command = ["helm", "template", "selftaught", str(CHART), "-n", namespace, "--kube-version", "1.34.0", *words]
    given = yaml.safe_dump(values) if values else None
    return _run(*command, *(["-f", "-"] if given else []), given=given, check=check)


def containers(item: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every container in an object with the Pod spec that it is in, however deep."""
    for key, value in item.items():
        if key == "containers" and isinstance(value, list):
            for container in [*item.get("initContainers", []), *value]:
                yield container, item
        elif isinstance(value, dict):
            yield from containers(value)
