"""Render what kustomize cannot make itself: the platform from the Helm chart, and KFP's objects from the compiled IR.

    python manifests/render.py

Needs helm on PATH and no cluster. The results are in git, so that a change of the chart, of values or of a pipeline is
read in a pull request as what it changes in the cluster, and so that a GitOps controller needs kustomize alone. A test
compares them.
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from selftaught.campaign.kfp.versions import compiled, with_pull_secrets

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CHART = ROOT / "charts" / "selftaught"
COMPILED = ROOT / "pipelines" / "compiled"
KFP_NAMESPACE = "kubeflow"
SETTINGS = "selftaught-settings"
NOTICE = "# Rendered by manifests/render.py. Do not edit.\n"


def main() -> None:
    """Write every rendered file."""
    for path, text in rendered().items():
        path.write_text(text)


def rendered() -> dict[Path, str]:
    """Each rendered file with its text."""
    files: dict[Path, str] = {}
    for overlay in sorted((HERE / "overlays").iterdir()):
        chart = platform(overlay)
        pipelines = yaml.dump_all(list(_pipelines(images(chart), pull_secrets(chart))), sort_keys=False, width=120)
        files |= {overlay / "platform.yaml": NOTICE + chart, overlay / "pipelines.yaml": NOTICE + pipelines}
    return files


def platform(overlay: Path) -> str:
    """The chart's objects with the values of an overlay."""
    values = [word for file in (HERE / "base", overlay) for word in ("-f", str(file / "values.yaml"))]
    command = ["helm", "template", "selftaught", str(CHART), "-n", "selftaught", "--kube-version", "1.34.0"]
    return subprocess.run([*command, "--skip-tests", *values], capture_output=True, text=True, check=True).stdout


def images(chart: str) -> dict[str, str]:
    """What the images of the pipelines are called where `chart` is applied, by registry and, if any, digest."""
    settings = _settings(chart)
    return {"steps": settings["SELFTAUGHT_IMAGE_STEPS"], "trainer": settings["SELFTAUGHT_IMAGE_TRAINER"]}


def pull_secrets(chart: str) -> list[str]:
    """The Secrets that these images are pulled with."""
    return [name for name in _settings(chart).get("SELFTAUGHT_PULL_SECRETS", "").split(",") if name]


def _settings(chart: str) -> dict[str, str]:
    return next(item for item in yaml.safe_load_all(chart) if item and item["metadata"]["name"] == SETTINGS)["data"]


def _pipelines(called: dict[str, str], secrets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A Pipeline and its PipelineVersion for each compiled pipeline, with the images as they are `called`.

    KFP's versions do not change once made, so a version is named by its content, as `selftaught submit` does it.
    """
    for path in sorted(COMPILED.glob("*.yaml")):
        pipeline = with_pull_secrets(compiled(path, called), secrets)
        spec, *platform_spec = pipeline.documents
        name = pipeline.pipeline
        labels = {"app.kubernetes.io/name": "selftaught", "app.kubernetes.io/part-of": "selftaught"}
        metadata = {"name": name, "namespace": KFP_NAMESPACE, "labels": labels}
        description = pipeline.description
        yield {**_kind("Pipeline"), "metadata": metadata, "spec": {"description": description}}
        yield {
            **_kind("PipelineVersion"),
            "metadata": {**metadata, "name": pipeline.version},
            "spec": {
                "pipelineName": name,
                "description": description,
                "pipelineSpec": spec,
                **({"platformSpec": platform_spec[0]} if platform_spec else {}),
            },
        }


def _kind(kind: str) -> dict[str, str]:
    return {"apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": kind}


if __name__ == "__main__":
    main()
