"""Pipeline versions: a compiled pipeline is one version of a Pipeline in Kubeflow Pipelines, created once and reused.

A version is named by its pipeline, the release, and the digest of what it holds: the compiled IR, its platform part and
the images that it runs. It holds no recipe: each run is given its own. KFP's versions never change once made, so equal
names are equal pipelines, whoever made them, and a release, other placements or other images make another. The name is
a DNS name, for in its Kubernetes-native mode KFP keeps versions as objects of one namespace.
"""

import copy
import hashlib
import importlib.metadata
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from selftaught.campaign.kfp.client import every, kubeflow, made_once
from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput
from selftaught.settings import Settings

MADE = "Made by `selftaught submit`"
"""How the description of a version begins that is ours to remove."""


MODEL_KEYS = "selftaught-model-keys"
"""The Secret that holds the keys of models behind URLs, each under the name of its variable."""
ASKING = frozenset({"prepare", "sample", "mcts", "verify", "evaluate"})
"""The tasks that ask models, and the one that refuses a round whose keys are missing."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled pipeline: the IR, and its platform part where it has one."""

    documents: tuple[Mapping[str, Any], ...]

    @property
    def pipeline(self) -> str:
        """The name of the Pipeline that it is a version of."""
        return str(self.documents[0]["pipelineInfo"]["name"])

    @property
    def version(self) -> str:
        """The version's name."""
        release = re.sub("[^a-z0-9.]+", "-", importlib.metadata.version("selftaught").lower())
        digest = hashlib.sha256(canonical(list(self.documents))).hexdigest()
        return f"{self.pipeline}-{release}-{digest[:8]}"

    @property
    def description(self) -> str:
        """What the pipeline does, in its own words."""
        return str(self.documents[0]["pipelineInfo"].get("description", ""))

    @property
    def images(self) -> list[str]:
        """What it runs."""
        executors = self.documents[0]["deploymentSpec"]["executors"].values()
        return sorted({str(each["container"]["image"]) for each in executors})


@dataclass(frozen=True, slots=True)
class Version:
    """A version that KFP has. `runs` counts the runs of it that KFP knows, `made` is in seconds since the epoch."""

    pipeline: str
    id: str
    name: str
    made: float = 0.0
    runs: int = 0


def compiled(source: Path, images: Mapping[str, str]) -> Compiled:
    """The pipeline in the file `source`, with `images` instead of the tags that it was compiled with.

    Raises BadInput when there is no such file.
    """
    if not source.exists():
        raise BadInput(f"{source}: no compiled pipeline. Run this in a checkout, or give --pipelines.")
    documents = list(yaml.safe_load_all(source.read_text(encoding="utf-8")))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        tagged = executor["container"]["image"]
        executor["container"]["image"] = images.get(tagged.rpartition("/")[2].partition(":")[0], tagged)
    return Compiled(tuple(documents))


def with_model_keys(pipeline: Compiled, variables: Sequence[str]) -> Compiled:
    """`pipeline` with `variables` of the Secret of model keys in the environment of the tasks that ask models.

    It holds their names and no key; without any it is `pipeline` itself. What the Secret lacks, `prepare` refuses.
    """
    documents = copy.deepcopy(list(pipeline.documents))
    secret = {
        "keyToEnv": [{"envVar": name, "secretKey": name} for name in variables],
        "optional": True,
        "secretName": MODEL_KEYS,
        "secretNameParameter": {"runtimeValue": {"constant": MODEL_KEYS}},
    }
    for executors in _on_kubernetes(documents) if variables else ():
        asking = (
            ASKING if "exec-verify" in executors else {*ASKING, "train"}
        )  # which verifies itself, in an online round
        for name, executor in executors.items():
            if name.removeprefix("exec-").partition("-")[0] in asking:
                executor.setdefault("secretAsEnv", []).append(secret)
    return Compiled(tuple(documents))


def with_pull_secrets(pipeline: Compiled, names: Sequence[str]) -> Compiled:
    """`pipeline`, whose tasks pull their images with the Secrets `names`; without any it is `pipeline` itself."""
    documents = copy.deepcopy(list(pipeline.documents))
    secrets = [{"secretName": name, "secretNameParameter": {"runtimeValue": {"constant": name}}} for name in names]
    for executors in _on_kubernetes(documents) if names else ():
        for executor in executors.values():
            executor["imagePullSecret"] = secrets
    return Compiled(tuple(documents))


def _on_kubernetes(documents: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The Kubernetes settings of each task, by its executor's name; none in a pipeline that has no such part."""
    for document in documents[1:]:
        yield document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def ensure(client: Any, pipeline: Compiled, namespace: str) -> Version:
    """The version in KFP that `pipeline` is, made with its Pipeline where it is not there; `namespace` as KFP's."""
    parent = made_once(
        lambda: _called(pipeline.pipeline, every(client.list_pipelines, "pipelines", namespace=namespace or None)),
        lambda: _make_pipeline(client, pipeline, namespace),
    )
    found = made_once(
        lambda: _called(pipeline.version, _listed(client, parent.pipeline_id)),
        lambda: _upload(client, pipeline, parent.pipeline_id),
    )
    return Version(str(parent.pipeline_id), str(found.pipeline_version_id), pipeline.version)


def names(client: Any, namespace: str) -> dict[str, str]:
    """The name of every version that KFP has, by its id."""
    pipelines = every(client.list_pipelines, "pipelines", namespace=namespace or None)
    versions = (each for pipeline in pipelines for each in _listed(client, pipeline.pipeline_id))
    return {str(each.pipeline_version_id): _name(each) for each in versions}


class Versions:
    """The versions that submissions have made in the KFP that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._seen: dict[str, Version] = {}

    def made(self) -> Sequence[Version]:
        """All of them but the newest of each pipeline, which is the one that KFP's page starts."""
        space = self.settings.kfp_namespace
        with kubeflow(self.settings) as client:
            pipelines = every(client.list_pipelines, "pipelines", namespace=space or None)
            listed = [list(_ours(_listed(client, each.pipeline_id))) for each in pipelines]
            used = [_version_of(run) for run in every(client.list_runs, "runs", namespace=space or None)]
        made = [
            Version(
                str(each.pipeline_id),
                str(each.pipeline_version_id),
                _name(each),
                each.created_at.timestamp(),
                used.count(str(each.pipeline_version_id)),
            )
            for versions in listed
            for each in sorted(versions, key=lambda version: version.created_at)[:-1]
        ]
        self._seen = {each.name: each for each in made}
        return made

    def remove(self, name: str) -> None:
        """Remove the version of this name of those that `made` has listed; one that is gone already is not an error."""
        import kfp_server_api

        version = self._seen[name]
        with kubeflow(self.settings) as client:
            try:
                client.delete_pipeline_version(version.pipeline, version.id)
            except cast("type[Exception]", kfp_server_api.ApiException) as error:
                if cast(Any, error).status != 404:
                    raise


def _ours(versions: Sequence[Any]) -> Iterator[Any]:
    return (each for each in versions if str(each.description or "").startswith(MADE))


def _version_of(run: Any) -> str:
    """The id of the version that a run is of; empty where it holds a pipeline of its own."""
    reference = run.pipeline_version_reference
    return str(reference.pipeline_version_id) if reference else ""


def _listed(client: Any, pipeline: str) -> list[Any]:
    return every(client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline)


def _called(name: str, rows: Sequence[Any]) -> Any:
    return next((row for row in rows if name in (row.name, row.display_name)), None)


def _name(version: Any) -> str:
    return str(version.name or version.display_name)


def _make_pipeline(client: Any, pipeline: Compiled, namespace: str) -> Any:
    import kfp_server_api

    made = kfp_server_api.V2beta1Pipeline(
        name=pipeline.pipeline,
        display_name=pipeline.pipeline,
        description=pipeline.description,
        namespace=namespace or None,
    )
    return client.pipelines.pipeline_service_create_pipeline(made)


def _upload(client: Any, pipeline: Compiled, parent: str) -> Any:
    words = f"{MADE}. Each run is given its recipe. Images: {', '.join(pipeline.images)}."
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        package.write_text(yaml.safe_dump_all([dict(each) for each in pipeline.documents]), encoding="utf-8")
        return client.upload_pipeline_version(str(package), pipeline.version, pipeline_id=parent, description=words)
