"""The chart: what it renders is right and strict, wrong values are refused by name, and it runs where nothing may."""

import base64
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from selftaught.serving.upkeep import CRON_JOB
from tests.cluster.kube import CHART, DEV, IMAGES, Kube, containers, render, run, template

pytestmark = pytest.mark.cluster

PROFILES: dict[str, Any] = {"multiUser": True, "runner": {"namespace": "ours"}}
"""Kubeflow Pipelines with the release's tasks in one profile and each team's in its own."""
TEAMS: dict[str, Any] = {
    "kfp": PROFILES,
    "seaweedfs": {"enabled": True},
    "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    "quota": {"pods": "100"},
    "rbac": {"viewers": [{"kind": "Group", "name": "people"}], "operators": [{"kind": "User", "name": "ann"}]},
    "networkPolicies": {"engineClients": ["shop"], "monitoring": "monitoring"},
    "teams": [
        {"name": "support", "quota": {"requests.cpu": "16"}, "viewers": [{"kind": "User", "name": "bob"}]},
        {"name": "search", "namespace": "search", "createNamespace": False, "s3": {"prefix": "other"}},
    ],
    "schedules": [
        {
            "name": "weekly",
            "cron": "0 3 * * 1",
            "timeZone": "Europe/Berlin",
            "line": "support",
            "campaign": "weekly",
            "team": "support",
            "recipe": "name: rft\n",
            "watch": {"cron": "0 6 * * *", "rollBack": True, "webhookSecret": {"name": "alarms", "key": "url"}},
        },
        {
            "name": "daily",
            "cron": "@daily",
            "line": "own",
            "campaign": "daily",
            "recipeConfigMap": {"name": "recipes", "key": "rft.yaml"},
        },
    ],
}
PRODUCTION: dict[str, Any] = {
    "s3": {"endpoint": "https://s3.example.com", "existingSecret": "selftaught-s3"},
    "mlflow": {"replicas": 2, "database": {"existingSecret": "mlflow-database"}, "accounts": {"create": False}},
}
SCALED = {"enabled": True, "prometheus": "http://prometheus-operated.monitoring.svc:9090"}
IRSA: dict[str, Any] = {
    "serviceAccounts": {
        name: {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/models"}}
        for name in ("steps", "engine", "mlflow")
    }
}
EDGE = {"name": "edge/main", "url": "http://gateway.edge.svc.cluster.local", "domain": "models.example.com"}
GATEWAY: dict[str, Any] = {
    "serving": {"route": "gateway", "gateway": EDGE},
    "networkPolicies": {"gateway": "edge"},
    "kfp": PROFILES,
    "teams": [{"name": "support"}],
}
VALUE_SERVER: dict[str, Any] = {"runtime": "selftaught-value-server"}
COMPONENT = "app.kubernetes.io/component"
GIT: dict[str, Any] = TEAMS | {
    "serving": {"route": "git", "git": {"url": "https://git.example.com/ml/lines.git", "path": "clusters/prod"}}
}
SANDBOX: dict[str, Any] = TEAMS | {"sandbox": {"enabled": True}}
KINDS = {
    "sandbox": SANDBOX,
    "defaults": {},
    "teams": TEAMS,
    "production": PRODUCTION,
    "irsa": IRSA,
    "gateway": GATEWAY,
    "git": GIT,
}


@pytest.fixture(params=["trial", *KINDS])
def rendered(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render("-f", str(DEV)) if request.param == "trial" else render(values=KINDS[request.param])


def by_kind(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in items if item["kind"] == kind]


def settings(items: list[dict[str, Any]]) -> dict[str, str]:
    """What the first ConfigMap of settings in `items` says."""
    return next(i["data"] for i in by_kind(items, "ConfigMap") if i["metadata"]["name"] == "selftaught-settings")


# Rendering ----------------------------------------------------------------------------------------------------------


def test_lint() -> None:
    run("helm", "lint", "--strict", "--kube-version", "1.34.0", str(CHART), "-f", str(DEV))


def test_every_container_is_restricted_and_bounded(rendered: list[dict[str, Any]]) -> None:
    found = [(item, *pair) for item in rendered for pair in containers(item)]
    assert found
    for item, container, spec in found:
        where = f"{item['kind']} {item['metadata']['name']}, container {container['name']}"
        assert container["securityContext"] == {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }, where
        foreign = container["name"] == "seaweedfs"
        assert foreign or "runAsUser" not in json.dumps(spec), where
        for bound in ("requests", "limits"):
            assert set(container["resources"][bound]) >= {"cpu", "memory"}, where
        assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]), where


def test_every_object_is_labelled_as_helm_recommends(rendered: list[dict[str, Any]]) -> None:
    wanted = {"name", "instance", "version", "component", "part-of", "managed-by"}
    for item in rendered:
        labels = {key.removeprefix("app.kubernetes.io/") for key in item["metadata"]["labels"]}
        assert labels >= wanted, f"{item['kind']} {item['metadata']['name']}"


def test_whatever_runs_by_the_clock_may_reach_what_it_asks(rendered: list[dict[str, Any]]) -> None:
    """Egress is denied first: its Pods have to be among those that the policy of steps lets out."""
    (out,) = {
        tuple(item["spec"]["podSelector"]["matchExpressions"][0]["values"])
        for item in by_kind(rendered, "NetworkPolicy")
        if item["metadata"]["name"] == "selftaught-steps"
    }
    for item in by_kind(rendered, "CronJob"):
        labels = item["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/component"] in out, item["metadata"]["name"]


def test_only_a_watch_that_may_roll_back_has_the_promoters_account() -> None:
    jobs = {item["metadata"]["name"]: item for item in by_kind(render(values=TEAMS), "CronJob")}
    accounts = {
        name: item["spec"]["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"]
        for name, item in jobs.items()
    }
    assert accounts["selftaught-weekly"] == "selftaught-scheduler"
    assert accounts["selftaught-weekly-watch"] == "selftaught-promoter"
    steadfast = TEAMS["schedules"][0] | {"watch": {"cron": "@daily"}}
    (watch,) = [
        item
        for item in by_kind(render(values=TEAMS | {"schedules": [steadfast]}), "CronJob")
        if item["metadata"]["name"].endswith("-watch")
    ]
    assert watch["spec"]["jobTemplate"]["spec"]["template"]["spec"]["serviceAccountName"] == "selftaught-steps"


def test_whom_nobody_has_given_a_permission_has_none_in_mlflow() -> None:
    response = {entry["name"]: entry.get("value") for entry in environment(render(), "selftaught-mlflow")}
    assert response["MLFLOW_AUTH_DEFAULT_PERMISSION"] == "NO_PERMISSIONS"


@pytest.mark.parametrize(
    ("serving", "expected"), [({}, r"\d{1,2} \* \* \* \*"), ({"oneEngine": True}, r"\*/5 \* \* \* \*")]
)
def test_a_team_is_put_in_order_once_an_hour_and_often_where_one_engine_fits(serving: dict, expected: str) -> None:
    jobs = by_kind(render(values=TEAMS | {"serving": serving}), "CronJob")
    crons = [job["spec"]["schedule"] for job in jobs if job["metadata"]["name"] == CRON_JOB]
    assert len(crons) == 3, "the release's own and two teams'"
    assert all(re.fullmatch(expected, cron) for cron in crons), crons


def environment(items: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """What the containers of the object of this name are given."""
    (item,) = (item for item in items if item["kind"] == "Deployment" and item["metadata"]["name"] == name)
    return [entry for container, _ in containers(item) for entry in container.get("env", [])]


def test_by_git_the_promoter_alone_has_the_token_and_nobody_may_move_a_service() -> None:
    items = render(values=GIT)
    for item in by_kind(items, "CronJob"):
        pod = item["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        named = {each.get("secretRef", {}).get("name") for each in pod["containers"][0]["envFrom"]}
        assert ("selftaught-git" in named) == (pod["serviceAccountName"] == "selftaught-promoter")
    for role in by_kind(items, "Role"):
        verbs = {verb for rule in role["rules"] if "services" in rule["resources"] for verb in rule["verbs"]}
        assert verbs <= {"get", "list", "watch"}, role["metadata"]["name"]


def test_a_team_with_a_key_of_its_own_is_given_no_copy_of_the_releases() -> None:
    teams = [{"name": "support", "s3": {"existingSecret": "selftaught-s3"}}, {"name": "sales"}]
    items = render(values={"s3": {"accessKey": "key", "secretKey": "secret"}, "teams": teams, "kfp": PROFILES})
    made = {each["metadata"]["namespace"] for each in by_kind(items, "Secret") if "AWS_ACCESS_KEY_ID" in str(each)}
    assert made == {"selftaught", "ours", "selftaught-sales"}
    engines = {
        each["metadata"]["namespace"]: [secret["name"] for secret in each["secrets"]]
        for each in by_kind(items, "ServiceAccount")
        if each["metadata"]["name"] == "selftaught-engine"
    }
    assert engines["selftaught-support"] == engines["selftaught-sales"] == ["selftaught-s3"]


def test_a_sandbox_has_nothing_and_writes_nowhere_but_in_its_scratch() -> None:
    items = render(values=SANDBOX | {"sandbox": {"enabled": True, "workers": 3, "scratch": "32Mi"}})
    (deployment,) = (i for i in by_kind(items, "Deployment") if i["metadata"]["name"] == "selftaught-sandbox")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert "serviceAccountName" not in pod and not {"env", "envFrom"} & set(container)
    volumes = {each["name"]: each["emptyDir"] for each in pod["volumes"]}
    written = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"] if "readOnly" not in each}
    scratch = [f"/scratch/{worker}" for worker in range(3)]
    assert written == {each: {"medium": "Memory", "sizeLimit": "32Mi"} for each in scratch}
    assert container["args"] == [f"--scratch={each}" for each in scratch]


def test_nothing_leaves_a_sandbox_and_steps_alone_come_in() -> None:
    items = render(values=SANDBOX)
    own = [item for item in by_kind(items, "NetworkPolicy") if item["metadata"]["namespace"] == "selftaught"]
    labels = {COMPONENT: "sandbox", "app.kubernetes.io/name": "selftaught", "app.kubernetes.io/instance": "selftaught"}
    held = {item["metadata"]["name"]: item["spec"] for item in own if selects(item["spec"]["podSelector"], labels)}
    assert set(held) == {"selftaught-deny-all", "selftaught-sandbox"}
    assert not any(spec.get("egress") for spec in held.values())
    (rule,) = held["selftaught-sandbox"]["ingress"]
    for source in rule["from"]:
        (names,) = source["namespaceSelector"]["matchExpressions"]
        assert set(names["values"]) == {"selftaught", "ours", "selftaught-support", "search"}
        assert not selects(source["podSelector"], labels) and not selects(source["podSelector"], {})
    for who in ("steps", "tasks"):
        (policy,) = (item for item in own if item["metadata"]["name"] == f"selftaught-{who}")
        assert any(
            selects(to.get("podSelector", {"matchLabels": {"none": ""}}), labels)
            for rule in policy["spec"]["egress"]
            for to in rule["to"]
        )


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a Pod with `labels` is selected."""

    def holds(each: dict[str, Any]) -> bool:
        value = labels.get(each["key"])
        match each["operator"]:
            case "In":
                return value in each["values"]
            case "NotIn":
                return value not in each["values"]
            case _:
                return value is not None

    named = selector.get("matchLabels", {}).items() <= labels.items()
    return named and all(map(holds, selector.get("matchExpressions", [])))


def test_tasks_are_told_of_the_sandbox_through_the_compiled_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.cluster import OPTIONAL
    from selftaught.settings import Settings

    url = settings(render(values=SANDBOX))["SELFTAUGHT_SANDBOX_URL"]
    assert "SELFTAUGHT_SANDBOX_URL" in OPTIONAL and "SELFTAUGHT_SANDBOX_URL" not in settings(render())
    monkeypatch.setenv("SELFTAUGHT_SANDBOX_URL", url)
    assert Settings.load().sandbox_url == "http://selftaught-sandbox.selftaught.svc.cluster.local:8080"


def test_by_git_a_teams_lines_lie_in_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from selftaught.settings import Settings

    settings = {
        item["metadata"]["namespace"]: item["data"]
        for item in by_kind(render(values=GIT), "ConfigMap")
        if item["metadata"]["name"] == "selftaught-settings"
    }
    paths = {namespace: data["SELFTAUGHT_GIT_PATH"] for namespace, data in settings.items()}
    assert paths["selftaught"] == "clusters/prod"
    assert paths["selftaught-support"] == "clusters/prod/support"
    for name, value in settings["selftaught"].items():
        monkeypatch.setenv(name, value)
    loaded = Settings.load()
    assert (loaded.route, loaded.git_url, loaded.follow_within) == ("git", GIT["serving"]["git"]["url"], 900)


def test_objects_have_names_of_their_own(rendered: list[dict[str, Any]]) -> None:
    names = [(i["kind"], i["metadata"].get("namespace"), i["metadata"]["name"]) for i in rendered]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", ["production", "irsa"])
def test_production_holds_no_secret_but_what_the_cluster_fills(kind: str) -> None:
    values = KINDS[kind] | {"mlflow": PRODUCTION["mlflow"]}
    made = by_kind(render(values=values), "Secret")
    assert {item["type"] for item in made} == {"kubernetes.io/service-account-token"}
    assert all("data" not in item and "stringData" not in item for item in made)


def test_passwords_are_drawn_and_equal_in_all_copies() -> None:
    def passwords() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for item in by_kind(render(values=TEAMS), "Secret"):
            data = item.get("stringData", {})
            if "MLFLOW_TRACKING_PASSWORD" in data:
                found.setdefault(data["MLFLOW_TRACKING_USERNAME"], set()).add(data["MLFLOW_TRACKING_PASSWORD"])
            response = {key: base64.b64decode(value).decode() for key, value in item.get("data", {}).items()}
            for key in (key for key in response if key.endswith(".username")):
                found.setdefault(response[key], set()).add(response[key.replace("username", "password")])
        return found

    first, second = passwords(), passwords()
    accounts = {f"{team}{part}" for team in ("", "support-", "search-") for part in ("steps", "promoter")}
    assert set(first) == {*accounts, "admin"}
    assert all(len(copies) == 1 for copies in first.values())
    assert not set.union(*first.values()) & set.union(*second.values())


def test_another_team_is_no_new_start_of_mlflow() -> None:
    """It is one more account in a volume that changes while the server runs."""

    def deployment(teams: list[dict[str, Any]]) -> dict[str, Any]:
        (mlflow,) = by_kind(render(values={"teams": teams, "kfp": PROFILES}), "Deployment")
        return mlflow

    sales = {"name": "sales", "s3": {"prefix": "elsewhere"}}
    assert deployment([]) == deployment(TEAMS["teams"]) == deployment([*TEAMS["teams"], sales])
    volumes = {each["name"]: each for each in deployment([])["spec"]["template"]["spec"]["volumes"]}
    named = {next(iter(source.values()))["name"] for source in volumes["accounts"]["projected"]["sources"]}
    items = {item["metadata"]["name"]: item for item in render(values=TEAMS) if item["metadata"]["name"] in named}
    assert set(items) == named
    stores = json.loads(items["selftaught-mlflow-stores"]["data"]["stores.json"])
    assert stores["steps.search"].endswith("/other")
    files = set(items["selftaught-mlflow-teams"]["data"])
    assert files == {f"{part}.{file}" for part in stores if "." in part for file in ("username", "password")}


def test_settings_are_what_the_library_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from selftaught.settings import Settings

    data = settings(render("-f", str(DEV)))
    assert set(data) >= {
        "SELFTAUGHT_PROFILE",
        "SELFTAUGHT_STORE",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
        "MLFLOW_TRACKING_URI",
        "SELFTAUGHT_SERVING",
        "SELFTAUGHT_NAMESPACE",
        "SELFTAUGHT_RUNTIME",
        "SELFTAUGHT_ENGINE_ACCOUNT",
        "SELFTAUGHT_GRACE",
    }
    for name, value in data.items():
        monkeypatch.setenv(name, value)
    loaded = Settings.load()
    assert (loaded.store, loaded.tracking_uri) == (data["SELFTAUGHT_STORE"], data["MLFLOW_TRACKING_URI"])


def test_what_scales_a_version_reaches_the_tasks_that_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the compiled pipeline, which hands on no settings but those that it names."""
    from pipelines.cluster import OPTIONAL
    from selftaught.settings import Settings

    found = settings(render(values={"serving": {"replicas": 2, "autoscaling": SCALED}}))
    for name in OPTIONAL:
        monkeypatch.delenv(name, raising=False)
        if name in found:
            monkeypatch.setenv(name, found[name])
    loaded = Settings.load()
    scaled = (loaded.replicas, loaded.max_replicas, loaded.requests_per_replica, loaded.prometheus)
    assert scaled == (2, 4, 64, SCALED["prometheus"])
    assert not set(settings(render())) & {"SELFTAUGHT_MAX_REPLICAS", "SELFTAUGHT_PROMETHEUS"}


def test_every_client_of_the_store_finds_its_bucket_alike() -> None:
    """Ours, MLflow's, and KServe's storage initializer, which takes no other word than `true`."""
    where = {"addressing": "virtual", "region": "eu-central-1"}
    items = render(values={"s3": where | {"accessKey": "key", "secretKey": "secret"}})
    ours = settings(items)
    assert (ours["SELFTAUGHT_S3_ADDRESSING"], ours["AWS_REGION"]) == ("virtual", "eu-central-1")
    served = next(i for i in by_kind(items, "Secret") if i["metadata"]["name"] == "selftaught-s3")
    metadata = served["metadata"]["annotations"]
    assert metadata["serving.kserve.io/s3-usevirtualbucket"] == "true"
    assert metadata["serving.kserve.io/s3-region"] == "eu-central-1"
    (server,) = (c for i in items for c, _ in containers(i) if c["name"] == "mlflow")
    environment = {variable["name"]: variable.get("value") for variable in server["env"]}
    assert environment["MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE"] == "virtual"
    assert environment["AWS_DEFAULT_REGION"] == "eu-central-1"


def test_a_schedule_says_who_it_is_to_a_kubeflow_with_many_users() -> None:
    """In the team's own profile, with a token for KFP alone, where KFP's client looks for it."""
    from selftaught.campaign.kfp.client import MOUNTED

    items = render(values=TEAMS)
    metadata = {
        i["metadata"]["namespace"]: i for i in by_kind(items, "ConfigMap") if "settings" in i["metadata"]["name"]
    }
    assert metadata["selftaught-support"]["data"]["SELFTAUGHT_KFP_NAMESPACE"] == "selftaught-support"
    assert metadata["selftaught"]["data"]["SELFTAUGHT_KFP_NAMESPACE"] == "ours"
    for job in (i for i in by_kind(items, "CronJob") if i["metadata"]["labels"][COMPONENT] == "scheduler"):
        spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == str(Path(MOUNTED).parent))
        (volume,) = (v for v in spec["volumes"] if v["name"] == mount["name"])
        (source,) = volume["projected"]["sources"]
        assert source["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"
        assert source["serviceAccountToken"]["path"] == Path(MOUNTED).name
    bound = {i["metadata"]["namespace"]: i["subjects"] for i in by_kind(items, "RoleBinding") if is_schedulers(i)}
    assert {space: subject["namespace"] for space, (subject,) in bound.items()} == {
        "ours": "selftaught",
        "selftaught-support": "selftaught-support",
        "search": "search",
    }
    assert not any(is_schedulers(i) for i in by_kind(render(values={}), "RoleBinding"))


def is_schedulers(item: dict[str, Any]) -> bool:
    return item["metadata"]["name"] == "selftaught-scheduler"


def test_a_team_has_all_that_the_release_has_but_the_shared_servers() -> None:
    items = render(values=TEAMS)

    def of(namespace: str) -> set[tuple[str, str]]:
        return {(i["kind"], i["metadata"]["name"]) for i in items if i["metadata"].get("namespace") == namespace}

    shared = {"selftaught-mlflow", "selftaught-s3", "selftaught-test", "selftaught-bucket", "selftaught-s3-server"}
    own = {(kind, name) for kind, name in of("selftaught") if name not in shared}
    own -= {(kind, name) for kind, name in own if name.startswith(("selftaught-test", "selftaught-mlflow-"))}
    own -= {("CronJob", "selftaught-daily")}
    for namespace in ("selftaught-support", "search"):
        missing = own - of(namespace) - {("RoleBinding", "selftaught-operator"), ("RoleBinding", "selftaught-viewer")}
        assert missing <= {("ResourceQuota", "selftaught")}, namespace
    (created,) = by_kind(items, "Namespace")
    assert created["metadata"]["name"] == "selftaught-support"
    assert created["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert ("CronJob", "selftaught-weekly") in of("selftaught-support")


def test_an_image_digest_wins_over_its_tag_and_a_registry_goes_before() -> None:
    digest = f"sha256:{'0' * 64}"
    values = {"images": {"registry": "registry.example.com/ml", "steps": {"digest": digest}}}
    images = {c["image"] for item in render(values=values) for c, _ in containers(item)}
    assert f"registry.example.com/ml/selftaught/steps@{digest}" in images
    assert "registry.example.com/ml/selftaught/engine:0.1.0" in images


def test_engines_do_not_close_idle_connections_before_a_gateway_does() -> None:
    """Go's transport, and so Traefik, keeps them for 90 s; a POST on one that is being closed is answered with 502."""
    runtimes = by_kind(render(values={"runtimes": {"cuda": {"enabled": True}}}), "ServingRuntime")
    servers = [each["spec"]["containers"][0] for each in runtimes if "vllm" in each["metadata"]["name"]]
    kept = [{each["name"]: each.get("value") for each in server["env"]} for server in servers]
    assert len(kept) == 2
    assert all(int(each["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) > 90 for each in kept)


def test_runtimes_have_only_fields_that_kserve_knows() -> None:
    """KServe's webhook is not here; its SDK's types are. What they do not know, a cluster drops without a word."""
    import kserve
    from kubernetes import client

    def unknown(value: Any, type_: str, at: str) -> list[str]:
        if type_.startswith("list["):
            return [u for i, each in enumerate(value) for u in unknown(each, type_[5:-1], f"{at}[{i}]")]
        model = getattr(kserve, type_, None) or getattr(client, type_, None)
        if model is None:
            return []
        fields = {json_name: name for name, json_name in model.attribute_map.items()}
        wrong = [f"{at}.{key}" for key in value if key not in fields]
        known = [(key, each) for key, each in value.items() if key in fields]
        return wrong + [
            u for key, each in known for u in unknown(each, model.openapi_types[fields[key]], f"{at}.{key}")
        ]

    runtimes = by_kind(render(values=TEAMS), "ServingRuntime")
    assert {r["metadata"]["name"] for r in runtimes} == {
        "selftaught-vllm-cpu",
        "selftaught-vllm-cuda",
        "selftaught-value-server",
    }
    newer = {".spec.containers[0].lifecycle.preStop.sleep"}  # Kubernetes 1.30; the client of kfp's pin is older
    for runtime in runtimes:
        (container,) = runtime["spec"]["containers"]
        assert container["name"] == "kserve-container"
        lifecycle = container["lifecycle"]["preStop"]
        assert lifecycle == {"sleep": {"seconds": 10}}
        assert set(unknown(runtime, "V1alpha1ServingRuntime", "")) <= newer


# Mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"s3": {"bucket": "My_Bucket"}}, "/s3/bucket"),
        ({"s3": {"endpoint": "s3.example.com"}}, "/s3/endpoint"),
        ({"s3": {"endpoint": "https://s3.example.com/path"}}, "/s3/endpoint"),
        ({"s3": {"prefix": "/models/"}}, "/s3/prefix"),
        ({"s3": {"bukket": "models"}}, "'bukket'"),
        ({"images": {"steps": {"digest": "sha256:12"}}}, "/images/steps/digest"),
        ({"images": {"steps": {"pullPolicy": "Sometimes"}}}, "/images/steps/pullPolicy"),
        ({"images": {"stepz": {}}}, "'stepz'"),
        ({"images": {"registry": "https://registry.example.com"}}, "/images/registry"),
        ({"mlflow": {"replicas": 0}}, "/mlflow/replicas"),
        ({"mlflow": {"defaultPermission": "EDIT"}}, "/mlflow/defaultPermission"),
        ({"mlflow": {"allowedHosts": ["*"]}}, "/mlflow/allowedHosts/0"),
        ({"mlflow": {"allowedHosts": ["*.*:5000"]}}, "/mlflow/allowedHosts/0"),
        ({"mlflow": {"resources": {"limits": {"memory": "2 GB"}}}}, "/mlflow/resources/limits/memory"),
        ({"serving": {"runtime": "vllm"}}, "/serving/runtime"),
        ({"serving": {"terminationGracePeriodSeconds": 5}}, "/serving/terminationGracePeriodSeconds"),
        ({"serving": {"graceSeconds": "10m"}}, "/serving/graceSeconds"),
        ({"serving": {"gateway": {"name": "main"}}}, "/serving/gateway/name"),
        ({"serving": {"canary": {"steps": [50, 100]}}}, "/serving/canary/steps/1"),
        ({"serving": {"git": {"url": "https://ann:token@git.example.com/x"}}}, "/serving/git/url"),
        ({"serving": {"git": {"author": "Selftaught"}}}, "/serving/git/author"),
        ({"runtimes": {"cuda": {"gpuMemoryUtilization": 1.5}}}, "/runtimes/cuda/gpuMemoryUtilization"),
        ({"kfp": {"url": "ml-pipeline:8888"}}, "/kfp/url"),
        ({"rbac": {"viewers": [{"kind": "Team", "name": "people"}]}}, "/rbac/viewers/0"),
        ({"networkPolicies": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "/networkPolicies/apiServer/cidrs/0"),
        ({"networkPolicies": {"s3": {"ports": [70000]}}}, "/networkPolicies/s3/ports/0"),
        ({"networkPolicies": {"proxy": {"cidrs": ["10.0.0.1"]}}}, "/networkPolicies/proxy/cidrs/0"),
        ({"sandbox": {"workers": 0}}, "/sandbox/workers"),
        ({"sandbox": {"scratch": "64 MB"}}, "/sandbox/scratch"),
        ({"teams": [{"namespace": "a"}]}, "/teams/0"),
        ({"teams": [{"name": "Team A"}]}, "/teams/0/name"),
        ({"schedules": [TEAMS["schedules"][0] | {"cron": "weekly"}]}, "/schedules/0/cron"),
        ({"schedules": [TEAMS["schedules"][0] | {"watch": {}}]}, "/schedules/0/watch"),
        ({"schedules": [TEAMS["schedules"][0] | {"line": "2nd"}]}, "/schedules/0/line"),
        ({"schedules": [TEAMS["schedules"][0] | {"timeZone": "CET+1"}]}, "/schedules/0/timeZone"),
        ({"quota": {"pods": "many"}}, "/quota/pods"),
        # Between fields: the chart's own words.
        ({"seaweedfs": {"enabled": True}, "s3": {"endpoint": "https://s3.example.com"}}, "seaweedfs.enabled"),
        ({"s3": {"accessKey": "key"}}, "s3.accessKey and s3.secretKey"),
        ({"mlflow": {"enabled": False}}, "mlflow.trackingUri"),
        ({"mlflow": {"replicas": 2}}, "mlflow.database.existingSecret"),
        ({"runtimes": {"cpu": {"enabled": False}}}, "runtimes.cpu.enabled"),
        ({"serving": VALUE_SERVER, "runtimes": {"valueServer": {"enabled": False}}}, "runtimes.valueServer.enabled"),
        ({"serving": VALUE_SERVER | {"route": "gateway", "gateway": EDGE}}, "no /metrics"),
        ({"serving": {"route": "gateway", "gateway": EDGE | {"url": ""}}}, "serving.gateway.url"),
        ({"serving": {"route": "gateway", "gateway": EDGE, "oneEngine": True}}, "serving.oneEngine"),
        ({"serving": {"oneEngine": True, "replicas": 2}}, "serving.oneEngine"),
        ({"s3": {"addressing": "paths"}}, "/s3/addressing"),
        ({"serving": {"autoscaling": {"enabled": True}}}, "serving.autoscaling.prometheus"),
        ({"serving": {"replicas": 4, "autoscaling": SCALED}}, "serving.autoscaling.maxReplicas"),
        ({"serving": {"route": "git"}}, "serving.git.url"),
        ({"serving": GIT["serving"] | {"oneEngine": True}}, "serving.oneEngine"),
        ({"teams": [{"name": "us", "namespace": "selftaught"}]}, "selftaught is the namespace of two"),
        ({"teams": [{"name": "us", "runner": {"namespace": "kubeflow"}}]}, "runner.namespace"),
        ({"kfp": {"multiUser": True}}, "kfp.multiUser"),
        ({"teams": [{"name": "us"}]}, "teams.us: Kubeflow Pipelines for a single user"),
        ({"teams": [{"name": "mlflow"}]}, "/teams/0/name"),
        ({"serving": {"canary": {"steps": [50, 25]}}}, "serving.canary.steps: 25 after 50"),
        ({"schedules": [TEAMS["schedules"][1] | {"name": "x" * 36}]}, "/schedules/0/name"),
        ({"schedules": [TEAMS["schedules"][1] | {"name": "upkeep-gc"}]}, "schedules.upkeep-gc"),
        ({"schedules": [TEAMS["schedules"][1] | {"name": name} for name in ("twice", "twice")]}, "schedules.twice"),
        ({"schedules": [TEAMS["schedules"][0] | {"team": "nobody"}]}, "schedules.weekly.team"),
        ({"schedules": [TEAMS["schedules"][1] | {"recipe": "name: rft"}]}, "recipe or recipeConfigMap"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_refused_by_the_name_of_its_field(values: dict[str, Any], named: str) -> None:
    done = template(values=values, check=False)
    assert done.returncode != 0
    assert named in done.stderr


# The API server's own judgement --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["trial", *KINDS])
def test_kubeconform_finds_nothing_wrong(kube: Kube, tmp_path: Path, kind: str) -> None:
    items = render("-f", str(DEV)) if kind == "trial" else render(values=KINDS[kind])
    if "/apis/monitoring.coreos.com/v1" not in kube.run("get", "--raw", "/").stdout:
        items = [item for item in items if item["kind"] != "PodMonitor"]
    location = kube.schemas(tmp_path, items)
    command = ["kubeconform", "-strict", "-summary", "-schema-location", location]

    def judged(given: list[dict[str, Any]]) -> "subprocess.CompletedProcess[str]":
        return run(*command, given=yaml.safe_dump_all(given), check=False)

    done = judged(items)
    assert done.returncode == 0, done.stdout + done.stderr
    misspelt = json.loads(json.dumps(by_kind(items, "Deployment")[0]))
    misspelt["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    assert judged([misspelt]).returncode != 0


@pytest.mark.parametrize("kind", ["trial", "production", "irsa"])
def test_the_api_server_takes_it_all_without_a_warning(kube: Kube, namespaces: Callable[[str], str], kind: str) -> None:
    namespace = namespaces("chart-dry")
    values = {} if kind == "trial" else KINDS[kind] | {"kfp": {"enabled": False}}
    files = ["-f", str(DEV)] if kind == "trial" else []
    text = template(*files, values=values, namespace=namespace).stdout
    # A Pod is judged with its service account, which a dry run does not make.
    accounts = by_kind(list(yaml.safe_load_all(text)), "ServiceAccount")
    kube.run("apply", "-f", "-", given=yaml.safe_dump_all(accounts))
    done = kube.run("apply", "--dry-run=server", "-n", namespace, "-f", "-", given=text)
    assert "PodSecurity" not in done.stderr and "would violate" not in done.stderr
    assert "Warning" not in done.stderr


# For real -----------------------------------------------------------------------------------------------------------


def test_install_test_upgrade_uninstall(kube: Kube, namespaces: Callable[[str], str], tmp_path: Path) -> None:
    """A trial with a team, in namespaces that enforce `restricted`; prints how long each part took."""
    namespace, tasks = namespaces("chart-real"), namespaces("chart-kfp")
    team = f"{namespace}-team"
    kfp = {"enabled": True, "multiUser": True, "runner": {"namespace": tasks, "name": "pipeline-runner"}}
    chosen = IMAGES | {"kfp": kfp, "teams": [{"name": "support", "namespace": team, "quota": {"pods": "20"}}]}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(chosen))
    values = ["-f", str(DEV), "-f", str(tmp_path / "values.yaml"), "--wait", "--timeout", "5m"]
    took: dict[str, float] = {}

    def timed(part: str, *words: str) -> str:
        begin = time.monotonic()
        done = kube.helm(*words, "-n", namespace)
        took[part] = round(time.monotonic() - begin, 1)
        return done.stdout

    def passwords() -> dict[tuple[str, str], Any]:
        items = [item for space in (namespace, tasks, team) for item in kube.get("secrets", "-n", space)["items"]]
        made = [item for item in items if item["type"] == "Opaque"]
        return {(i["metadata"]["namespace"], i["metadata"]["name"]): i["data"] for i in made}

    timed("install", "install", "selftaught", str(CHART), *values)
    try:
        shown = helm_test(kube, namespace)
        assert shown.count("Phase:          Succeeded") == 5
        # There is no Kubeflow Pipelines behind the address, and whoever looks at the output reads what to do about it.
        assert "WRONG kubeflow: http://ml-pipeline.kubeflow.svc.cluster.local:8888 does not answer" in shown
        assert "→ set SELFTAUGHT_KFP to the URL of the Kubeflow Pipelines API" in shown
        assert f"ok runtime: selftaught-vllm-cpu: {IMAGES['images']['registry']}/selftaught/engine" in shown
        before, servers = passwords(), running(kube, namespace)
        of_team = before[team, "selftaught-mlflow-steps"]["MLFLOW_TRACKING_PASSWORD"]
        assert before[namespace, "selftaught-mlflow-teams"]["steps.support.password"] == of_team
        assert before[tasks, "selftaught-mlflow-steps"] == before[namespace, "selftaught-mlflow-steps"]
        assert kept_beside_ones_own(kube, namespace, tmp_path, chosen) >= {
            ("PersistentVolumeClaim", "selftaught-mlflow"),
            ("PersistentVolumeClaim", "selftaught-s3"),
            *(("Secret", f"selftaught-{name}") for name in ("s3", "mlflow-steps", "mlflow-promoter", "mlflow-admin")),
        }
        late = {"name": "late", "namespace": f"{team}-late"}
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(chosen | {"teams": [*chosen["teams"], late]}))
        timed("upgrade", "upgrade", "selftaught", str(CHART), *values, "--set", "serving.graceSeconds=60")
        after = passwords()
        assert all(after[key].items() >= data.items() for key, data in before.items())
        found = after[namespace, "selftaught-mlflow-teams"]
        login = [base64.b64decode(found[f"steps.late.{file}"]).decode() for file in ("username", "password")]
        took["new account"] = accepted(kube, namespace, (login[0], login[1]))
        assert running(kube, namespace) == servers, "the team that came has restarted MLflow"
    finally:
        kube.run("delete", "pod", "-n", namespace, "selftaught-test-doctor", "--ignore-not-found")
        timed("uninstall", "uninstall", "selftaught", "--wait")
    try:
        assert {space: left_in(kube, space) for space in (namespace, tasks, team)} == {
            space: {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
            for space in (namespace, tasks, team)
        }
    finally:
        kube.run("delete", "namespace", team, f"{team}-late", "--wait=false", "--ignore-not-found")
    print(took)


def kept_beside_ones_own(kube: Kube, namespace: str, folder: Path, chosen: dict[str, Any]) -> set[tuple[str, str]]:
    """What an upgrade to storage, a database and accounts of one's own renders, and so does not delete."""
    own = chosen | PRODUCTION | {"seaweedfs": {"enabled": False}}
    (folder / "own.yaml").write_text(yaml.safe_dump(own))
    words = ("upgrade", "selftaught", str(CHART), "-n", namespace, "-f", str(folder / "own.yaml"), "--dry-run=server")
    rendered = kube.helm(*words).stdout.partition("MANIFEST:\n")[2].partition("\nNOTES:")[0]
    items = [item for item in yaml.safe_load_all(rendered) if item and item["metadata"].get("namespace") == namespace]
    secrets = {item["metadata"]["name"]: item for item in items if item["kind"] == "Secret"}
    live = {item["metadata"]["name"]: item for item in kube.get("secrets", "-n", namespace)["items"]}
    assert all(secrets[name]["data"] == live[name]["data"] for name in secrets if "data" in secrets[name])
    return {(item["kind"], item["metadata"]["name"]) for item in items}


def running(kube: Kube, namespace: str) -> set[str]:
    """The Pods of MLflow, by what no other Pod ever has."""
    pods = kube.get("pods", "-n", namespace, "-l", f"{COMPONENT}=mlflow")["items"]
    return {pod["metadata"]["uid"] for pod in pods}


def accepted(kube: Kube, namespace: str, login: tuple[str, str]) -> float:
    """Seconds until MLflow takes an account, which the kubelet brings it."""
    address = kube.get("service", "-n", namespace, "selftaught-mlflow")["spec"]["clusterIP"]
    url, begin = f"http://{address}:5000/api/2.0/mlflow/experiments/search", time.monotonic()
    headers = {"Host": "selftaught-mlflow:5000", "X-MLFLOW-WORKSPACE": "late"}
    while time.monotonic() < begin + 300:
        answer = httpx.post(url, json={"max_results": 1}, auth=login, headers=headers, timeout=60, trust_env=False)
        if answer.status_code == 200:
            return round(time.monotonic() - begin, 1)
        assert answer.status_code in (401, 404), answer.text  # 404: there is no such workspace yet
        time.sleep(1)
    pytest.fail(f"{login[0]} is not accepted")


def helm_test(kube: Kube, namespace: str) -> str:
    """All that `helm test` shows, whether it succeeds or not."""
    done = kube.helm("test", "selftaught", "-n", namespace, "--logs", check=False)
    return done.stdout + done.stderr


def left_in(kube: Kube, namespace: str) -> set[tuple[str, str]]:
    kinds = "all,persistentvolumeclaims,secrets,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"
    more = "poddisruptionbudgets,limitranges,resourcequotas,servingruntimes.serving.kserve.io"
    items = kube.get(f"{kinds},{more}", "-n", namespace)["items"]
    return {(item["kind"], item["metadata"]["name"]) for item in items}
