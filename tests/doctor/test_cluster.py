"""What is missing on a cluster is found, with its fix; what may not be looked at is not known, and never missing."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from selftaught.campaign.kfp.schedules import Clock, cron_job
from selftaught.campaign.order import CampaignOrder
from selftaught.cli.main import app
from selftaught.cluster.pod_security import CONTEXT
from selftaught.core import shipped
from selftaught.doctor import cluster as doctor_cluster
from selftaught.doctor.cluster.round_needs import amount, round_of_tasks
from selftaught.doctor.machine import Finding
from selftaught.recipe import Recipe
from selftaught.settings import Settings
from tests import kfp_api
from tests.kubernetes_api import OWN_REVIEWS, REVIEWS, Kubernetes, kubeconfig, serving

ENGINES, TASKS = "/api/v1/namespaces/team-a", "/api/v1/namespaces/kubeflow"
KSERVE = "/apis/serving.kserve.io"
RUNTIMES = f"{KSERVE}/v1alpha1/namespaces/team-a/servingruntimes"
RUNTIME = f"{RUNTIMES}/selftaught-vllm-cpu"
CONTAINERS = f"{KSERVE}/v1alpha1/clusterstoragecontainers"
CONFIG = "/api/v1/namespaces/kserve/configmaps/inferenceservice-config"
DEPLOYMENT = "/apis/apps/v1/namespaces/kubeflow/deployments/ml-pipeline"
SCHEDULES = "/apis/batch/v1/namespaces/team-a/cronjobs"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/team-a/networkpolicies"
RUNNER = "system:serviceaccount:kubeflow:pipeline-runner"
RIGHTS = {(RUNNER, verb, "inferenceservices") for verb in ("get", "list", "create")}


def kinds(*names: str) -> Any:
    return {"kind": "APIResourceList", "resources": [{"name": name} for name in names]}


def of(*items: Any) -> Any:
    return {"kind": "List", "items": list(items)}


def storage(name: str = "default", context: Any = None, **value: Any) -> Any:
    """A ClusterStorageContainer as KServe's manifests have it; fields of the object and its spec in `value`."""
    container = {"name": "storage-initializer", **({"securityContext": context} if context is not None else {})}
    formats = [{"prefix": "gs://"}, {"prefix": "s3://"}, {"regex": "https?://(.+)/(.+)"}]
    spec = {"container": container, "supportedUriFormats": formats, **value.pop("spec", {})}
    return {"metadata": {"name": name}, "spec": spec, **value}


def limits(hard: dict[str, str], **spec: Any) -> Any:
    return {"metadata": {"name": "limits"}, "spec": {"hard": hard, **spec}}


def runtime(**spec: Any) -> Any:
    asked = {"requests": {"cpu": "200m", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "5Gi"}}
    container = {"name": "kserve-container", "image": "registry.example.com/engine:1", "resources": asked}
    return {"metadata": {"name": "selftaught-vllm-cpu"}, "spec": {"containers": [container], **spec}}


def sound() -> dict[str, Any]:
    """A cluster on which a round runs."""
    return {
        "/version": {"major": "1", "minor": "34+", "gitVersion": "v1.34.4"},
        f"{KSERVE}/v1beta1": kinds("inferenceservices", "inferenceservices/status"),
        f"{KSERVE}/v1alpha1": kinds("servingruntimes", "clusterstoragecontainers"),
        CONFIG: {"data": {"deploy": '{"defaultDeploymentMode": "Standard"}'}},
        ENGINES: {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        CONTAINERS: of(storage(context=json.loads(CONTEXT))),
        RUNTIMES: of(runtime()),
        RUNTIME: runtime(),
        POLICIES: of({}, {}),
        SCHEDULES: of(),
        f"{ENGINES}/resourcequotas": of(limits({"limits.memory": "10Gi", "pods": "2"})),
        f"{TASKS}/resourcequotas": of(),
        f"{TASKS}/configmaps/selftaught-settings": {"metadata": {}, "data": {}},
        f"{TASKS}/secrets/selftaught-promoter-token": {"metadata": {}, "data": {"token": "c2VjcmV0"}},
        DEPLOYMENT: {"spec": {"template": {"spec": {"containers": [{"image": "ghcr.io/kfp-api-server:2.17.0"}]}}}},
    }


@pytest.fixture(scope="module")
def kfp() -> Iterator[kfp_api.Kfp]:
    with kfp_api.serving(kfp_api.Kfp()) as api:
        yield api


@pytest.fixture
def cluster(tmp_path: Path, kfp: kfp_api.Kfp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    """A sound cluster, and the profile of it."""
    with serving(Kubernetes(objects=sound(), rights=set(RIGHTS))) as api:
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", api.url)))
        monkeypatch.setenv("SELFTAUGHT_SERVING", "kserve")
        monkeypatch.setenv("SELFTAUGHT_NAMESPACE", "team-a")
        monkeypatch.setenv("SELFTAUGHT_STORE", "s3://models")
        monkeypatch.setenv("SELFTAUGHT_KFP", kfp.url)
        yield api


SERVERS = {"bucket", "mlflow account"}
"""What no API of the cluster says."""


def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor_cluster.checks(Settings.load())}


def test_on_a_sound_cluster_nothing_is_missing(cluster: Kubernetes):
    assert [one for one in findings().values() if one.name not in SERVERS and not one.ok] == []
    assert findings()["kubernetes"].detail.startswith("v1.34.4, as person")


def test_what_runs_on_this_machine_alone_is_asked_nothing_of_a_cluster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert doctor_cluster.checks(Settings.load()) == []


def test_nothing_is_written_and_no_secret_is_read(cluster: Kubernetes):
    """But for the reviews, which make nothing; of a Secret its name alone comes over the wire."""
    found = findings()
    assert {path for method, path in cluster.asked if method != "GET"} == {REVIEWS}
    assert "c2VjcmV0" not in repr(found)


READ = sound().keys() - {RUNTIMES, "/version"}
"""All that is read of a sound cluster, where nobody has to say who is asked or which other runtimes there are."""


@pytest.mark.parametrize("path", [*sorted(READ), REVIEWS])
def test_what_this_account_may_not_look_at_is_not_known_and_not_missing(cluster: Kubernetes, path: str):
    """Every object in turn: no finding turns bad, and the one that needs it names the right."""
    cluster.forbidden.add(path)
    found = findings()
    assert [one for one in found.values() if one.name not in SERVERS and one.ok is False] == []
    verb = "post" if path == REVIEWS else "get"
    unknown = [one for one in found.values() if one.ok is None]
    assert unknown and all(f'User "person" cannot {verb} {path}' in one.detail and one.fix for one in unknown)


def test_an_api_server_that_is_away_is_one_finding(cluster: Kubernetes, tmp_path: Path):
    kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:9")
    found = findings()
    assert (found["kubernetes"].ok, "does not answer" in found["kubernetes"].detail) == (False, True)
    assert set(found) == {*SERVERS, "kubeflow", "kubernetes"}


def test_no_kubeconfig_is_one_finding(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert findings()["kubernetes"].ok is False
    assert findings()["kubernetes"].fix.startswith("set KUBECONFIG")


def test_an_older_kubernetes_is_told(cluster: Kubernetes):
    cluster.objects["/version"] = {"major": "1", "minor": "29", "gitVersion": "v1.29.1"}
    assert findings()["kubernetes"].ok is False


# KServe ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "kind"), [("v1beta1", "inferenceservices"), ("v1alpha1", "servingruntimes")])
def test_a_cluster_without_kserve_lacks_its_kinds(cluster: Kubernetes, version: str, kind: str):
    del cluster.objects[f"{KSERVE}/{version}"]
    assert (findings()["kserve"].ok, findings()["kserve"].detail) == (False, f"no {kind}")
    assert "docs/cluster-install.md" in findings()["kserve"].fix


@pytest.mark.parametrize(
    ("deploy", "ok"),
    [
        ('{"defaultDeploymentMode": "RawDeployment"}', True),
        ('{"defaultDeploymentMode": "Knative"}', True),
        ('{"defaultDeploymentMode": "Serverless"}', None),
        ("{}", True),
        ("{", None),
    ],
)
def test_the_default_mode_matters_where_kserve_may_not_take_ours(cluster: Kubernetes, deploy: str, ok: bool | None):
    cluster.objects[CONFIG] = {"data": {"deploy": deploy}}
    assert findings()["kserve mode"].ok is ok


@pytest.mark.parametrize("lack", ["runAsNonRoot", "allowPrivilegeEscalation", "capabilities", "seccompProfile"])
def test_an_initializer_that_restricted_refuses_is_named_with_what_it_lacks(cluster: Kubernetes, lack: str):
    context = {key: value for key, value in json.loads(CONTEXT).items() if key != lack}
    cluster.objects[CONTAINERS] = of(storage(context=json.loads(CONTEXT)), storage("own", context))
    found = findings()["storage initializer"]
    assert (found.ok, f"own lacks {lack}" in found.detail) == (False, True)
    assert found.fix.startswith("kubectl patch clusterstoragecontainer own --type merge -p '")
    data = json.loads(found.fix.partition("'")[2].rstrip("'"))
    assert data["spec"]["container"]["securityContext"] == json.loads(CONTEXT)


@pytest.mark.parametrize(
    "idle",
    [
        storage("idle", disabled=True),
        storage("idle", spec={"workloadType": "localModelDownloadJob"}),
        storage("idle", spec={"supportedUriFormats": [{"prefix": "hf://"}, {"regex": "https?://(.+)"}]}),
    ],
)
def test_a_container_that_fetches_no_s3_is_left_alone(cluster: Kubernetes, idle: Any):
    cluster.objects[CONTAINERS]["items"].append(idle)
    assert findings()["storage initializer"].ok


@pytest.mark.parametrize("level", ["baseline", "privileged", None])
def test_a_namespace_that_is_less_strict_takes_any_initializer(cluster: Kubernetes, level: str | None):
    cluster.objects[CONTAINERS] = of(storage())
    assert findings()["storage initializer"].ok is False
    cluster.objects[ENGINES] = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level} if level else {}}}
    assert findings()["storage initializer"].ok


def test_kserves_built_in_initializer_is_not_judged(cluster: Kubernetes):
    cluster.objects[CONTAINERS] = of()
    assert findings()["storage initializer"].ok is None


def test_a_runtime_that_is_not_there_is_told_with_those_that_are(cluster: Kubernetes):
    del cluster.objects[RUNTIME]
    cluster.objects[RUNTIMES] = of({"metadata": {"name": "selftaught-vllm-cuda"}})
    assert findings()["runtime"].ok is False
    assert "(there: selftaught-vllm-cuda)" in findings()["runtime"].detail


def test_a_runtime_of_the_whole_cluster_is_one_too(cluster: Kubernetes):
    del cluster.objects[RUNTIME]
    cluster.objects[f"{KSERVE}/v1alpha1/clusterservingruntimes/selftaught-vllm-cpu"] = runtime()
    assert "registry.example.com/engine:1" in findings()["runtime"].detail
    assert findings()["runtime"].ok


def test_a_disabled_runtime_serves_nothing(cluster: Kubernetes):
    cluster.objects[RUNTIME] = runtime(disabled=True)
    assert findings()["runtime"].ok is False


# Kubeflow Pipelines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "list", "create"])
def test_a_right_that_the_runner_lacks_is_named(cluster: Kubernetes, verb: str):
    cluster.rights.discard((RUNNER, verb, "inferenceservices"))
    found = findings()["kubeflow runner"]
    assert (found.ok, f"may not {verb} inferenceservices" in found.detail) == (False, True)
    assert "kfp.runner" in found.fix


def test_where_one_engine_fits_the_runner_has_to_delete(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_ONE_ENGINE", "true")
    assert "may not delete inferenceservices" in findings()["kubeflow runner"].detail


def test_the_runner_itself_asks_for_itself(cluster: Kubernetes):
    """A task may not review others' rights, and need not."""
    cluster.user = RUNNER
    cluster.forbidden.add(REVIEWS)
    assert findings()["kubeflow runner"].ok
    assert ("POST", OWN_REVIEWS) in cluster.asked


def test_a_profiles_tasks_run_as_its_own_editor(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    cluster.objects["/api/v1/namespaces/profile/resourcequotas"] = of()
    monkeypatch.setenv("SELFTAUGHT_KFP_NAMESPACE", "profile")
    assert "profile:default-editor in team-a may not" in findings()["kubeflow runner"].detail
    assert findings()["kubeflow tasks"].detail.startswith("profile has no configmaps selftaught-settings")


@pytest.mark.parametrize("missing", ["configmaps/selftaught-settings", "secrets/selftaught-promoter-token"])
def test_what_tasks_do_not_start_without_is_missed(cluster: Kubernetes, missing: str):
    del cluster.objects[f"{TASKS}/{missing}"]
    found = findings()["kubeflow tasks"]
    assert (found.ok, found.detail) == (False, f"kubeflow has no {missing.replace('/', ' ')}")


@pytest.mark.parametrize(("tag", "ok"), [("2.17.3", True), ("v3.0.0", True), ("2.4.1", False), ("master", None)])
def test_an_older_kubeflow_is_told_and_one_without_a_number_is_not_judged(cluster: Kubernetes, tag: str, ok: bool):
    containers = [{"image": f"registry.example.com:5000/api-server:{tag}"}]
    cluster.objects[DEPLOYMENT] = {"spec": {"template": {"spec": {"containers": containers}}}}
    assert findings()["kubeflow version"].ok is ok


def test_users_of_kubeflow_as_the_settings_do_not_say(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    cluster.objects["/api/v1/namespaces/profile/resourcequotas"] = of()
    monkeypatch.setenv("SELFTAUGHT_KFP_NAMESPACE", "profile")
    assert findings()["kubeflow"].ok is False
    assert findings()["kubeflow"].fix == "unset SELFTAUGHT_KFP_NAMESPACE"


def test_a_kubeflow_of_many_users_needs_a_profile(
    cluster: Kubernetes, kfp: kfp_api.Kfp, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kfp, "multi_user", True)
    cluster.objects["/api/v1/namespaces/profile/resourcequotas"] = of()
    assert findings()["kubeflow"].fix.startswith("set SELFTAUGHT_KFP_NAMESPACE")
    monkeypatch.setenv("SELFTAUGHT_KFP_NAMESPACE", "profile")
    assert findings()["kubeflow"].detail.endswith("has many users; tasks run in profile")


def test_no_password_of_an_address_is_shown(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_KFP", cluster.url.replace("://", "://me:hunter2@"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@127.0.0.1:9/mlflow")
    assert "hunter2" not in repr(findings())
    assert "127.0.0.1:9" in findings()["mlflow account"].detail


@pytest.mark.parametrize(("status", "fix"), [(401, "TOKEN"), (403, "TOKEN"), (500, "kubectl logs")])
def test_a_kubeflow_that_refuses_is_told(
    cluster: Kubernetes, kfp: kfp_api.Kfp, monkeypatch: pytest.MonkeyPatch, status: int, fix: str
):
    monkeypatch.setattr(kfp, "refuses", status)
    found = findings()["kubeflow"]
    assert (found.ok, "refuses it" in found.detail, fix in found.fix) == (False, True, True)


def test_a_server_that_is_no_kubeflow_is_told(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_KFP", cluster.url)
    assert "is not a Kubeflow Pipelines API" in findings()["kubeflow"].detail


def test_tasks_run_where_the_name_of_kubeflows_service_says(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    cluster.objects["/api/v1/namespaces/pipelines/resourcequotas"] = of()
    monkeypatch.setenv("SELFTAUGHT_KFP", "http://ml-pipeline.pipelines.svc.cluster.local:1")
    assert "pipelines:pipeline-runner" in findings()["kubeflow runner"].detail


# Quotas ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hard", "said"),
    [
        ({"limits.memory": "10Gi"}, ""),
        ({"limits.memory": "9.9Gi"}, "allows limits.memory 9.9Gi, a round takes 10Gi"),
        ({"requests.cpu": "400m"}, ""),
        ({"cpu": "399m"}, "allows cpu 399m, a round takes 0.4"),
        ({"memory": "4095Mi"}, "allows memory 4095Mi, a round takes 4Gi"),
        ({"pods": "2"}, ""),
        ({"count/pods": "1"}, "allows count/pods 1, a round takes 2"),
        ({"requests.nvidia.com/gpu": "0", "count/secrets": "1"}, ""),
    ],
)
def test_two_engines_are_held_against_the_quota_of_their_namespace(
    cluster: Kubernetes, hard: dict[str, str], said: str
):
    cluster.objects[f"{ENGINES}/resourcequotas"] = of(limits(hard))
    found = findings()["quota"]
    assert (found.ok, said in found.detail) == (not said, True)


def test_where_one_engine_fits_it_takes_half(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    cluster.objects[f"{ENGINES}/resourcequotas"] = of(limits({"limits.memory": "5Gi"}))
    assert findings()["quota"].ok is False
    monkeypatch.setenv("SELFTAUGHT_ONE_ENGINE", "true")
    assert findings()["quota"].ok


def test_a_task_counts_in_its_namespace_and_with_the_engines_where_that_is_theirs(
    cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch
):
    """The largest task is the training: 12Gi, as `pipelines/placements/cpu.yaml` has it."""
    cluster.objects[f"{TASKS}/resourcequotas"] = of(limits({"limits.memory": "11Gi"}))
    assert "limits in kubeflow allows limits.memory 11Gi, a round takes 12Gi" in findings()["quota"].detail
    cluster.objects[f"{ENGINES}/resourcequotas"] = of(limits({"limits.memory": "21Gi"}))
    monkeypatch.setenv("SELFTAUGHT_KFP_NAMESPACE", "team-a")
    assert findings()["quota"].detail == "limits in team-a allows limits.memory 21Gi, a round takes 22Gi"


def test_a_quota_with_a_scope_is_not_looked_at(cluster: Kubernetes):
    cluster.objects[f"{ENGINES}/resourcequotas"] = of(limits({"pods": "0"}, scopes=["Terminating"]))
    assert findings()["quota"].ok


def test_no_task_of_a_shipped_pipeline_asks_for_more_than_is_held_against_the_quota():
    largest = round_of_tasks().largest
    for file in shipped.pipelines().glob("*.yaml"):
        pipeline = next(yaml.safe_load_all(file.read_text()))
        for executor in pipeline["deploymentSpec"]["executors"].values():
            asked = executor["container"]["resources"]
            assert amount(asked["resourceMemoryLimit"]) <= largest["limits.memory"]
            assert amount(asked["resourceCpuRequest"]) <= largest["requests.cpu"]


# Servers and the command ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "ok"), [("s3://models", True), ("minio://models", True), ("/tmp/store", False), ("file:///s", False)]
)
def test_a_store_that_no_pod_sees_is_told(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch, store: str, ok: bool):
    monkeypatch.setenv("SELFTAUGHT_STORE", store)
    assert findings()["bucket"].ok is ok


def test_a_registry_in_a_file_is_told(cluster: Kubernetes):
    assert findings()["mlflow account"].ok is False


def test_what_is_not_known_does_not_make_the_command_fail(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch):
    """And its mark is neither of the others'."""
    cluster.forbidden.add(POLICIES)
    known = [one for one in findings().values() if one.name not in SERVERS]
    monkeypatch.setattr("selftaught.doctor.machine.checks", list)
    monkeypatch.setattr("selftaught.doctor.cluster.checks", lambda settings: known)
    shown = CliRunner().invoke(app, ["doctor"])
    assert (shown.exit_code, "? network policies: not known" in shown.stderr) == (0, True)
    data = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert data == [asdict(one) for one in known]


# Schedules ------------------------------------------------------------------------------------------------------------


def scheduled(home: Path, line: str, image: str) -> Any:
    """What `selftaught schedule` makes for a line."""
    found = Settings(home=home, store="s3://models", tracking_uri="http://mlflow", image_steps=image)
    return cron_job(found, CampaignOrder(Recipe.load(shipped.recipes() / "rft.yaml"), line, "weekly"), Clock("@daily"))


def test_schedules_that_an_upgrade_left_behind_are_named(
    cluster: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SELFTAUGHT_IMAGE_STEPS", "steps:2")
    charts = {"metadata": {"labels": {"app.kubernetes.io/component": "scheduler"}}}
    old, new = scheduled(tmp_path, "old", "steps:1"), scheduled(tmp_path, "new", "steps:2")
    cluster.objects[SCHEDULES] = of(old, new, charts)
    found = findings()["schedules"]
    assert (found.ok, found.detail) == (False, "old's runs steps:1; the release has steps:2")
    assert "selftaught schedule RECIPE --line old" in found.fix
    cluster.objects[SCHEDULES] = of(new, charts)
    assert findings()["schedules"].ok


def test_without_the_releases_image_nothing_is_known_of_schedules(cluster: Kubernetes, tmp_path: Path):
    cluster.objects[SCHEDULES] = of(scheduled(tmp_path, "old", "steps:1"))
    assert findings()["schedules"].ok is None
