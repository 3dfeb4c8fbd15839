"""What GitOps applies: rendered files are those of the chart and the pipelines, and every overlay is right."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from manifests.render import KFP_NAMESPACE, rendered
from selftaught.state.weights import DIGEST
from tests.cluster.kube import REPOSITORY, Kube, run

pytestmark = pytest.mark.cluster

MANIFESTS = REPOSITORY / "manifests"
BUILDS = ("overlays/dev", "overlays/prod")
KFP = "pipelines.kubeflow.org/v2beta1"
NOT_KUBERNETES = {KFP, "serving.kserve.io/v1alpha1", "serving.kserve.io/v1beta1", "monitoring.coreos.com/v1"}


def build(kube: Kube, path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(kube.run("kustomize", str(MANIFESTS / path)).stdout))


def test_rendered_files_are_what_the_chart_and_the_pipelines_give(kube: Kube) -> None:
    for path, text in rendered().items():
        assert path.read_text() == text, f"{path} is old: run `python manifests/render.py`"


@pytest.mark.parametrize("path", BUILDS)
def test_a_build_is_what_the_cluster_takes(kube: Kube, tmp_path: Path, path: str) -> None:
    items = [item for item in build(kube, path) if item["apiVersion"] not in NOT_KUBERNETES]
    location = kube.schemas(tmp_path, items)
    run("kubeconform", "-strict", "-schema-location", location, given=yaml.safe_dump_all(items))


@pytest.mark.parametrize("path", BUILDS)
def test_a_build_holds_no_secret_values(kube: Kube, path: str) -> None:
    for item in build(kube, path):
        assert item["kind"] != "Secret" or not item.keys() & {"data", "stringData"}, item["metadata"]["name"]


@pytest.mark.parametrize("path", ["overlays/dev", "overlays/prod"])
def test_the_platform_is_admitted_under_restricted(kube: Kube, namespaces: Callable[[str], str], path: str) -> None:
    """In a namespace of the test's, because a dry run does not make the one that the overlay brings."""
    namespace = namespaces("chart-gitops")
    kinds = {"Deployment", "CronJob", "ServingRuntime", "NetworkPolicy", "LimitRange", "PersistentVolumeClaim", "Role"}
    items = [item for item in build(kube, path) if item["kind"] in kinds]
    for item in items:
        item["metadata"]["namespace"] = namespace
    done = kube.run("apply", "--dry-run=server", "-f", "-", given=yaml.safe_dump_all(items))
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("path", BUILDS)
def test_a_pipeline_version_is_named_by_its_content_and_holds_the_compiled_pipeline(path: str) -> None:
    items = list(yaml.safe_load_all((MANIFESTS / path / "pipelines.yaml").read_text()))
    versions = [item for item in items if item["kind"] == "PipelineVersion"]
    names = {item["metadata"]["name"] for item in items if item["kind"] == "Pipeline"}
    compiled = [yaml.safe_load_all(path.read_text()) for path in (REPOSITORY / "pipelines/compiled").glob("*")]
    specs = {spec["pipelineInfo"]["name"]: without_images(spec) for spec in (next(documents) for documents in compiled)}
    assert set(specs) == names == {version["spec"]["pipelineName"] for version in versions}
    for version in versions:
        name = version["spec"]["pipelineName"]
        assert re.fullmatch(rf"{name}-[0-9.]+-[0-9a-f]{{8}}", version["metadata"]["name"])
        assert without_images(version["spec"]["pipelineSpec"]) == specs[name]
        assert version["metadata"]["namespace"] == KFP_NAMESPACE


def test_pipelines_are_objects_that_an_api_server_with_kfps_types_takes(kube: Kube, namespaces: Callable[[str], str]):
    """Strictly, and a version that is there already is as it was: its name is its content."""
    space = namespaces("pipelines")
    types = Path(__file__).parent / "crds" / "pipelines.yaml"
    names = [f"crd/{item['metadata']['name']}" for item in yaml.safe_load_all(types.read_text())]
    if kube.run("get", *names, check=False).returncode:
        kube.run("apply", "-f", str(types))
        kube.run("wait", "--for=condition=Established", "--timeout=60s", *names)
    items = list(yaml.safe_load_all((MANIFESTS / "overlays" / "dev" / "pipelines.yaml").read_text()))
    for item in items:
        item["metadata"]["namespace"] = space
    for _ in range(2):
        kube.run("apply", "--server-side", "--validate=strict", "-f", "-", given=yaml.safe_dump_all(items))
    kept = {item["metadata"]["name"]: item for item in kube.get("pipelineversions", "-n", space)["items"]}
    for item in items:
        if item["kind"] == "PipelineVersion":
            assert kept[item["metadata"]["name"]]["spec"] == item["spec"]
            assert kept[item["metadata"]["name"]]["metadata"]["generation"] == 1


def without_images(spec: dict[str, Any]) -> dict[str, Any]:
    for executor in spec["deploymentSpec"]["executors"].values():
        executor["container"].pop("image")
    return spec


def images(path: Path) -> set[str]:
    """Every image that a file names, as a container's or as a setting."""
    return set(re.findall(r"(?:image|SELFTAUGHT_IMAGE_\w+): (\S+)", path.read_text()))


def test_production_names_its_images_by_registry_and_digest() -> None:
    for name in ("platform.yaml", "pipelines.yaml"):
        named = images(MANIFESTS / "overlays" / "prod" / name)
        assert named
        for image in named:
            assert re.fullmatch(r"registry\.example\.com/selftaught/[a-z-]+@sha256:[0-9a-f]{64}", image), image


def test_no_image_is_looked_for_in_a_registry_that_nobody_named() -> None:
    """A name without a host is Docker Hub's, where anybody may have taken it."""
    for path in [*MANIFESTS.rglob("overlays/*/p*.yaml"), *(REPOSITORY / "pipelines" / "compiled").glob("*.yaml")]:
        for image in images(path):
            assert image.split("/")[0] in {"localhost", "registry.example.com"}, f"{path}: {image}"


def test_a_lines_pointer_leads_to_a_version_in_git_and_each_version_is_named_by_its_digest() -> None:
    for folder in (path for path in (MANIFESTS / "lines").iterdir() if path.is_dir()):
        line = folder.name
        items = [yaml.safe_load(path.read_text()) for path in folder.rglob("*.yaml")]
        served = {item["metadata"]["name"]: item for item in items if item["kind"] == "InferenceService"}
        (pointer,) = [item for item in items if item["kind"] == "Service"]
        assert pointer["metadata"]["name"] == line
        assert pointer["spec"]["selector"]["serving.kserve.io/inferenceservice"] in served
        for name, item in served.items():
            digest = item["metadata"]["annotations"]["selftaught.io/digest"]
            model = item["spec"]["predictor"]["model"]
            assert name == f"{line}-{digest[:8]}" and (folder / "served" / f"{name}.yaml").exists()
            assert model["storageUri"].endswith(f"/models/{digest}")
            assert model["args"] == ["--served-model-name", name, line]
            assert model["env"] == [{"name": DIGEST, "value": digest}]


@pytest.mark.parametrize("path", BUILDS)
def test_what_a_gitops_controller_has_applied_it_finds_as_it_was(
    kube: Kube, namespaces: Callable[[str], str], path: str
) -> None:
    """Argo CD's and Flux's three-way merge is server-side apply: once the cluster has filled in its defaults and its
    controllers have written theirs (a token into its Secret, an image of a Job, a status), another apply would change
    nothing. Without Pods, and so without the CronJobs' firing: they are not what is compared.
    """
    namespace, clusters = namespaces("chart-gitops"), {"Namespace", "PodMonitor", "ClusterRole", "ClusterRoleBinding"}
    owner = ("--server-side", "--field-manager=gitops")
    items = [item for item in build(kube, path) if item["kind"] not in clusters and item["apiVersion"] != KFP]
    items = [item for item in items if not item["kind"].startswith("ValidatingAdmission")]
    for item in items:
        item["metadata"]["namespace"] = namespace
        if item["kind"] == "Deployment":
            item["spec"]["replicas"] = 0
        if item["kind"] == "CronJob":
            item["spec"]["suspend"] = True
    ours = list({(item["kind"], item["metadata"]["name"]): item for item in items}.values())
    text = yaml.safe_dump_all(ours)
    kube.run("apply", *owner, "-f", "-", given=text)
    kube.run(
        "wait", "-n", namespace, "--for=jsonpath={.data.token}", "secret/selftaught-promoter-token", "--timeout=90s"
    )
    done = kube.run("diff", *owner, "-f", "-", given=text, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
