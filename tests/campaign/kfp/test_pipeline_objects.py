"""The objects by which KFP's Kubernetes-native mode is given pipelines: of its types, and named as submitted."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from selftaught.campaign.kfp.versions import compiled
from tests.documents import documents
from tests.rounds import REPOSITORY

CRDS = REPOSITORY / "tests" / "cluster" / "crds" / "pipelines.yaml"
OBJECTS = documents(REPOSITORY / "manifests" / "overlays" / "dev" / "pipelines.yaml")
VERSIONS = [each for each in OBJECTS if each["kind"] == "PipelineVersion"]
OBJECT_BYTES = 1_500_000
"""What etcd takes of one object."""
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def types() -> dict[str, Any]:
    """Each kind's schema, in which a field that is not named is a mistake, as the API server has it strictly."""
    data = (each["spec"] for each in documents(CRDS))
    return {spec["names"]["kind"]: strict(spec["versions"][0]["schema"]["openAPIV3Schema"]) for spec in data}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    properties = {name: strict(each) for name, each in schema.get("properties", {}).items()}
    return {**schema, **({"properties": properties, "additionalProperties": False} if properties else {})}


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item["metadata"]["name"])
def test_an_object_is_of_its_type(item: dict[str, Any]):
    jsonschema.validate(item, types()[item["kind"]])
    assert item["apiVersion"] == "pipelines.kubeflow.org/v2beta1"
    assert re.fullmatch(SUBDOMAIN, item["metadata"]["name"])
    assert len(yaml.safe_dump(item)) < OBJECT_BYTES


def test_a_wrong_field_would_be_found():
    wrong = {**VERSIONS[0], "spec": {**VERSIONS[0]["spec"], "pipelinespec": {}}}
    with pytest.raises(jsonschema.ValidationError, match="pipelinespec"):
        jsonschema.validate(wrong, types()["PipelineVersion"])


def test_every_compiled_pipeline_has_a_version_that_submissions_find_by_its_name():
    files = sorted((REPOSITORY / "pipelines" / "compiled").glob("*.yaml"))
    assert {each["metadata"]["name"] for each in VERSIONS} == {compiled(file, {}).version for file in files}
    assert {each["spec"]["pipelineName"] for each in VERSIONS} == {
        each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Pipeline"
    }


@pytest.mark.parametrize("item", VERSIONS, ids=lambda item: item["metadata"]["name"])
def test_a_version_holds_the_compiled_pipeline_whole(item: dict[str, Any]):
    file = next(path for path in compiled_files() if compiled(path, {}).version == item["metadata"]["name"])
    assert [item["spec"]["pipelineSpec"], item["spec"]["platformSpec"]] == list(yaml.safe_load_all(file.read_text()))


def compiled_files() -> list[Path]:
    return sorted((REPOSITORY / "pipelines" / "compiled").glob("*.yaml"))
