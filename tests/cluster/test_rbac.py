"""What each account may and may not do in the cluster, as the API server itself says."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from selftaught.cluster.client import Cluster
from selftaught.round.distributed.trainjob import TrainJobs
from selftaught.serving.kserve.inference_service import inference_service
from selftaught.serving.upkeep import CRON_JOB, job_of
from selftaught.settings import Settings
from selftaught.state.store import Store
from tests.cluster.kube import DEV, Kube, render, template

pytestmark = pytest.mark.cluster

SERVING = "inferenceservices.serving.kserve.io"
RUNTIMES = "servingruntimes.serving.kserve.io"
LEASES = "leases.coordination.k8s.io"
ROUTES = "httproutes.gateway.networking.k8s.io"
TRAINJOBS = "trainjobs.trainer.kubeflow.org"
STEPS = {
    *((verb, SERVING) for verb in ("get", "list", "watch", "create")),
    *((verb, "deployments.apps") for verb in ("get", "list", "watch")),
    *((verb, "pods") for verb in ("get", "list", "watch")),
    ("get", "pods/log"),
    ("list", "events"),
    ("get", "services"),
    ("list", "services"),
    *((verb, TRAINJOBS) for verb in ("get", "create", "delete")),
}
PROMOTER = STEPS | {
    ("delete", SERVING),
    *((verb, "services") for verb in ("create", "patch")),
    *((verb, LEASES) for verb in ("get", "create", "update")),
    *((verb, ROUTES) for verb in ("get", "create", "update")),
    ("create", "jobs.batch"),
}
READ = ("get", "list", "watch")
SEEN = (
    *(SERVING, RUNTIMES, ROUTES, "deployments.apps", "replicasets.apps", "cronjobs.batch", "jobs.batch"),
    *("pods", "services", "events", "configmaps", "resourcequotas", "limitranges"),
)
VIEWER = {(verb, kind) for kind in SEEN for verb in READ} | {("get", "pods/log"), ("get", LEASES), ("list", LEASES)}
MAY = {
    "selftaught-steps": STEPS,
    "selftaught-promoter": PROMOTER,
    "selftaught-engine": set(),
    "selftaught-mlflow": set(),
    "selftaught-scheduler": set(),
    "selftaught-test": {
        *((verb, RUNTIMES) for verb in ("get", "list")),
        *(("list", kind) for kind in ("cronjobs.batch", "resourcequotas", "networkpolicies.networking.k8s.io")),
    },
    "default": set(),
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
KINDS = (
    *(SERVING, RUNTIMES, LEASES, ROUTES, TRAINJOBS),
    *("deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps"),
    *("pods", "pods/log", "pods/exec", "pods/portforward", "pods/eviction", "services", "services/proxy", "endpoints"),
    *("secrets", "configmaps", "serviceaccounts", "serviceaccounts/token", "persistentvolumeclaims", "events"),
    *("jobs.batch", "cronjobs.batch", "resourcequotas", "limitranges", "networkpolicies.networking.k8s.io"),
    *("roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io", "ingresses.networking.k8s.io"),
    "poddisruptionbudgets.policy",
)
CLUSTER = (
    *("nodes", "namespaces", "persistentvolumes", "customresourcedefinitions.apiextensions.k8s.io"),
    *("clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io"),
    "clusterservingruntimes.serving.kserve.io",
)
ELSEWHERE = {
    "selftaught-test": ({("list", "resourcequotas")}, {("get", "clusterservingruntimes.serving.kserve.io")}),
}
"""What an account may do in the namespace of KFP's tasks, and what in the entire cluster: nothing but this."""
PEOPLE = {"vera": VIEWER, "otto": PROMOTER - {("create", "jobs.batch")}}
OPERATOR = "otto"


@pytest.fixture(scope="module")
def trainer(kube: Kube) -> Iterator[None]:
    """A cluster that knows TrainJobs, nobody of whom runs."""
    if kube.run("get", f"crd/{TRAINJOBS}", check=False).returncode == 0:
        yield
        return
    kube.run("apply", "-f", str(Path(__file__).parent / "crds" / "trainjobs.yaml"))
    kube.run("wait", "--for=condition=Established", "--timeout=60s", f"crd/{TRAINJOBS}")
    yield
    kube.run("delete", f"crd/{TRAINJOBS}")


@pytest.fixture(scope="module")
def team(namespaces: Callable[[str], str]) -> str:
    """The namespace of a team beside the release."""
    return namespaces("chart-team")


@pytest.fixture(scope="module")
def installed(kube: Kube, namespaces: Callable[[str], str], team: str, trainer: None) -> Iterator[tuple[str, str]]:
    """A namespace with the chart's accounts and Roles, and the one of KFP's tasks."""
    namespace, tasks = namespaces("chart-rbac"), namespaces("chart-tasks")
    viewers, operators = [[{"kind": "User", "name": name}] for name in PEOPLE]
    values = {
        "rbac": {"viewers": viewers, "operators": operators},
        "kfp": {"enabled": True, "multiUser": True, "runner": {"namespace": tasks}},
        "training": {"trainJob": {"enabled": True, "nodes": 2}},
        "teams": [{"name": "team", "namespace": team, "createNamespace": False}],
        "serving": {
            "route": "gateway",
            "gateway": {"name": "edge/main", "url": "http://edge", "domain": "example.com"},
        },
    }
    only = [
        word
        for name in ("rbac", "serviceaccounts", "tests", "admission", "schedules")
        for word in ("-s", f"templates/{name}.yaml")
    ]
    rendered = template("-f", str(DEV), *only, "--skip-tests", values=values, namespace=namespace)
    kube.run("apply", "-f", "-", given=rendered.stdout)
    kube.run("create", "serviceaccount", "pipeline-runner", "-n", tasks)
    yield namespace, tasks
    kinds = ("inferenceservices", "trainjobs", "jobs")
    policies = [f"selftaught-{kind}.{space}" for kind in kinds for space in (namespace, team)]
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        kube.run("delete", kind, *policies)


@pytest.fixture(scope="module")
def can(kube: Kube) -> Callable[..., bool]:
    """Whether somebody may do something: the API server's answer to a SubjectAccessReview."""
    from kubernetes import client, config

    api = client.AuthorizationV1Api(config.new_client_from_config(kube.config))

    def ask(user: str, verb: str, kind: str, namespace: str | None) -> bool:
        resource, _, group = kind.partition(".")
        resource, _, sub = resource.partition("/")
        asked = client.V1ResourceAttributes(
            group=group, resource=resource, subresource=sub or None, verb=verb, namespace=namespace
        )
        groups = ["system:authenticated"]
        if user.startswith("system:serviceaccount:"):
            groups += ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]
        spec = client.V1SubjectAccessReviewSpec(user=user, groups=groups, resource_attributes=asked)
        review = api.create_subject_access_review(client.V1SubjectAccessReview(spec=spec))
        return bool(review.status.allowed)

    return ask


def account(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def granted(can: Callable[..., bool], user: str, namespace: str) -> set[tuple[str, str]]:
    return {(verb, kind) for kind in KINDS for verb in VERBS if can(user, verb, kind, namespace)}


@pytest.mark.parametrize("name", MAY)
def test_an_account_may_do_what_it_must_and_nothing_else(installed, can, name: str) -> None:
    namespace, _ = installed
    assert granted(can, account(namespace, name), namespace) == MAY[name]


@pytest.mark.parametrize("name", PEOPLE)
def test_people_may_do_what_their_role_says_and_nothing_else(installed, can, name: str) -> None:
    namespace, _ = installed
    assert granted(can, name, namespace) == PEOPLE[name]


def test_the_tasks_of_kfp_may_do_what_steps_may_and_its_promoter_what_the_promoter_may(installed, can) -> None:
    namespace, tasks = installed
    assert granted(can, account(tasks, "pipeline-runner"), namespace) == STEPS
    assert granted(can, account(tasks, "selftaught-promoter"), namespace) == PROMOTER


@pytest.mark.parametrize("name", MAY)
def test_no_account_reaches_beyond_its_namespace(installed, can, name: str) -> None:
    namespace, tasks = installed
    user = account(namespace, name)
    in_tasks, everywhere = ELSEWHERE.get(name, (set(), set()))
    assert granted(can, user, tasks) == in_tasks
    found = {(verb, kind) for kind in (*CLUSTER, *KINDS) for verb in VERBS if can(user, verb, kind, None)}
    assert found == everywhere


@pytest.mark.parametrize("name", [name for name in MAY if MAY[name]])
def test_a_team_and_the_release_have_nothing_in_each_others_namespace(installed, team, can, name: str) -> None:
    namespace, _ = installed
    found = [granted(can, account(there, name), here) for there, here in ((namespace, team), (team, namespace))]
    in_tasks, _ = ELSEWHERE.get(name, (set(), set()))
    assert all(each <= in_tasks for each in found), found
    if name in ("selftaught-steps", "selftaught-promoter"):
        assert granted(can, account(team, name), team) == MAY[name]


def test_refusals_are_real(kube: Kube, installed: tuple[str, str]) -> None:
    """The matrix asks what would be; this does it."""
    namespace, _ = installed

    def as_account(name: str, *words: str) -> str:
        return kube.run(*words, "-n", namespace, f"--as={account(namespace, name)}", check=False).stderr

    assert "forbidden" in as_account("selftaught-steps", "get", "secrets")
    assert "forbidden" in as_account("selftaught-steps", "delete", "inferenceservice", "any")
    assert "forbidden" in as_account("selftaught-promoter", "get", "secret", "selftaught-promoter-token")
    assert "forbidden" in as_account("selftaught-scheduler", "get", "pods")
    assert as_account("selftaught-steps", "get", "inferenceservices") in (
        "",
        f"No resources found in {namespace} namespace.\n",
    )


def test_only_pods_that_talk_to_the_api_server_get_a_token(kube: Kube, installed: tuple[str, str]) -> None:
    accounts = kube.get("serviceaccounts", "-n", installed[0])["items"]
    mounted = {i["metadata"]["name"] for i in accounts if i.get("automountServiceAccountToken", True)}
    assert mounted == {"selftaught-steps", "selftaught-promoter", "default"}


def test_the_promoters_token_is_filled_where_the_promote_task_runs(kube: Kube, installed: tuple[str, str]) -> None:
    for namespace in installed:
        secret = kube.get("secret", "selftaught-promoter-token", "-n", namespace)
        assert set(secret["data"]) == {"ca.crt", "namespace", "token"}


# What they may create has to be what the platform creates ------------------------------------------------------------

LETTERS = "3f9a1c2e" + "0" * 56


def served(namespace: str, store: str) -> dict[str, Any]:
    """A version's InferenceService as a step makes it."""
    found = Settings(
        home=Path(), store=store, tracking_uri="none", namespace=namespace, engine_account="selftaught-engine"
    )
    return inference_service(found, f"{store}/models/{LETTERS}", "support", LETTERS)


def changed(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """`body` with one value set, or taken out where it is None."""
    made = copy.deepcopy(body)
    *parents, last = path.split("|")
    at = made
    for key in parents:
        at = at.setdefault(key, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return made


IMAGE = [{"name": "kserve-container", "image": "evil"}]
SECRET = [{"name": "admin", "secret": {"secretName": "selftaught-mlflow-admin"}}]
MODEL = "spec|predictor|model"
EVIL = [
    ("spec|predictor|containers", IMAGE),
    ("spec|predictor|initContainers", IMAGE),
    ("spec|predictor|volumes", SECRET),
    ("spec|predictor|serviceAccountName", "selftaught-promoter"),
    ("spec|predictor|serviceAccountName", None),
    ("spec|predictor|serviceAccount", "selftaught-promoter"),
    ("spec|predictor|automountServiceAccountToken", True),
    ("spec|predictor|hostNetwork", True),
    ("spec|predictor|labels", {"serving.kserve.io/inferenceservice": "support-00000000"}),
    ("spec|predictor|annotations", {"serving.kserve.io/x": "y"}),
    ("spec|predictor|workerSpec", {"containers": IMAGE}),
    ("spec|predictor|autoScaling", {"metrics": []}),
    ("spec|transformer", {"containers": IMAGE}),
    ("spec|explainer", {"containers": IMAGE}),
    (f"{MODEL}|image", "evil"),
    (f"{MODEL}|command", ["sh"]),
    (f"{MODEL}|volumeMounts", [{"name": "admin", "mountPath": "/admin"}]),
    (f"{MODEL}|securityContext", {"privileged": True}),
    (f"{MODEL}|lifecycle", {"postStart": {"exec": {"command": ["sh"]}}}),
    (f"{MODEL}|runtime", "theirs"),
    (f"{MODEL}|runtime", None),
    (f"{MODEL}|storageUri", f"s3://elsewhere/models/{LETTERS}"),
    (f"{MODEL}|storageUri", "pvc://claim/models"),
    (f"{MODEL}|storage", {"key": "theirs", "path": "models"}),
    (f"{MODEL}|args", ["--served-model-name", "support-3f9a1c2e", "support", "--trust-remote-code"]),
    (f"{MODEL}|args", ["--served-model-name", "other-3f9a1c2e", "other"]),
    (f"{MODEL}|env", [{"name": "LD_PRELOAD", "value": "/mnt/models/evil.so"}]),
    (f"{MODEL}|env", [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "selftaught-s3", "key": "x"}}}]),
    (f"{MODEL}|env", None),
    ("metadata|name", "support"),
    ("metadata|labels|app", "isvc.support-predictor"),
    ("metadata|annotations|serving.kserve.io/secretName", "selftaught-mlflow-admin"),
    ("metadata|annotations|selftaught.io/digest", "b" * 64),
]


@pytest.fixture(scope="module")
def applied(kube: Kube, installed: tuple[str, str]) -> Callable[..., str]:
    """What the API server says of an object that an account creates (a dry run, which admission sees as well)."""

    def apply(body: dict[str, Any], user: str) -> str:
        words = ("create", "--dry-run=server", "-n", installed[0], f"--as={user}", "-f", "-")
        return kube.run(*words, given=json.dumps(body), check=False).stderr

    deadline = time.monotonic() + 60
    evil = changed(served(installed[0], "s3://selftaught"), *EVIL[0])
    while "ValidatingAdmissionPolicy" not in apply(evil, account(installed[0], "selftaught-steps")):
        assert time.monotonic() < deadline, "the policy is not in force"
        time.sleep(0.5)
    return apply


def store_of() -> str:
    """Where the trial's models are."""
    (settings,) = (
        item for item in render("-f", str(DEV)) if item["kind"] == "ConfigMap" and "SELFTAUGHT_STORE" in item["data"]
    )
    return settings["data"]["SELFTAUGHT_STORE"]


@pytest.fixture(scope="module")
def makers(installed: tuple[str, str]) -> list[str]:
    namespace, tasks = installed
    steps, promoter = (account(namespace, f"selftaught-{name}") for name in ("steps", "promoter"))
    return [steps, promoter, account(tasks, "pipeline-runner"), account(tasks, "selftaught-promoter")]


def test_what_the_platform_makes_is_let_through(installed, applied, makers: list[str]) -> None:
    body, users = served(installed[0], store_of()), [*makers, OPERATOR]
    assert [applied(body, user) for user in users] == [""] * len(users)


@pytest.mark.parametrize(("path", "value"), EVIL, ids=[path.replace("|", ".") for path, _ in EVIL])
def test_an_inference_service_is_no_pod_of_ones_own(installed, applied, makers: list[str], path: str, value) -> None:
    body = changed(served(installed[0], store_of()), path, value)
    for user in (*makers, OPERATOR):
        said = applied(body, user)
        assert "ValidatingAdmissionPolicy 'selftaught-inferenceservices" in said, (user, said)


TRAINER = "spec|trainer"
EVIL_TRAINJOBS = [
    ("spec|podTemplateOverrides", [{"targetJobs": [{"name": "node"}], "spec": {"volumes": SECRET}}]),
    ("spec|podSpecOverrides", [{"targetJobs": [{"name": "node"}], "serviceAccountName": "selftaught-promoter"}]),
    ("spec|initializer", {"model": {"storageUri": "s3://elsewhere", "env": []}}),
    ("spec|labels", {"app": "isvc.support-predictor"}),
    ("spec|annotations", {"team": "support"}),
    (f"{TRAINER}|image", "evil"),
    (f"{TRAINER}|command", ["sh"]),
    (f"{TRAINER}|env", [{"name": "LD_PRELOAD", "value": "/mnt/models/evil.so"}]),
    (f"{TRAINER}|resourcesPerNode", {"limits": {"nvidia.com/gpu": 64}}),
    (f"{TRAINER}|args", ["another"]),
    (f"{TRAINER}|args", None),
    ("spec|runtimeRef|name", "theirs"),
    ("spec|runtimeRef|kind", "ClusterTrainingRuntime"),
    ("spec|runtimeRef|kind", None),
    ("spec|runtimeRef|apiGroup", "example.com"),
    ("metadata|labels|team", "support"),
    ("metadata|annotations", {"team": "support"}),
]


def trainjob() -> dict[str, Any]:
    """A TrainJob as the train step makes it."""
    cluster, store = cast(Cluster, None), cast(Store, None)  # what it is made for and from is not in it
    return TrainJobs(cluster, store, nodes=2, processes=1, ready_within=60).manifest("train-3f9a1c2e")


def test_the_train_steps_trainjob_is_let_through(applied, makers: list[str]) -> None:
    assert [applied(trainjob(), user) for user in makers] == [""] * len(makers)


@pytest.mark.parametrize(("path", "value"), EVIL_TRAINJOBS, ids=[path.replace("|", ".") for path, _ in EVIL_TRAINJOBS])
def test_a_trainjob_is_no_pod_of_ones_own(applied, makers: list[str], path: str, value) -> None:
    body = changed(trainjob(), path, value)
    for user in makers:
        said = applied(body, user)
        assert "ValidatingAdmissionPolicy 'selftaught-trainjobs" in said, (user, said)


def reconciliation(kube: Kube, namespace: str) -> dict[str, Any]:
    """The Job that a promotion starts, from the CronJob as the API server has it."""
    return job_of(kube.get("cronjob", CRON_JOB, "-n", namespace), "support")


POD = "spec|template|spec"
EVIL_JOBS = [
    (f"{POD}|serviceAccountName", "selftaught-engine"),
    (f"{POD}|initContainers", [{"name": "more", "image": "evil"}]),
    (f"{POD}|containers", [{"name": "reconcile", "image": "evil", "command": ["selftaught"], "args": ["reconcile"]}]),
    (f"{POD}|volumes", [{"name": "tmp", "secret": {"secretName": "selftaught-mlflow-admin"}}]),
    (f"{POD}|volumes", [{"name": "tmp", "hostPath": {"path": "/"}}]),
    (f"{POD}|hostNetwork", True),
    ("command", ["sh"]),
    ("args", ["gc", "support"]),
    ("args", None),
    ("env", [{"name": "LD_PRELOAD", "value": "/tmp/evil.so"}]),
    ("envFrom", [{"secretRef": {"name": "selftaught-mlflow-admin"}}]),
    ("envFrom", [{"configMapRef": {"name": "theirs"}}]),
    ("lifecycle", {"postStart": {"exec": {"command": ["sh"]}}}),
]


def test_a_promotion_starts_its_reconciliation_and_steps_start_none(kube, installed, applied, makers) -> None:
    namespace, _ = installed
    steps, promoter, runner, tasks_promoter = makers
    job = reconciliation(kube, namespace)
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["reconcile", "--when-free", "support"]
    assert [applied(job, user) for user in (promoter, tasks_promoter)] == ["", ""]
    for user in (steps, runner):
        assert "cannot create resource" in applied(job, user)
    words = ("get", "cronjob", CRON_JOB, "-n", namespace)
    assert kube.run(*words, f"--as={promoter}").stdout
    assert "forbidden" in kube.run("get", "cronjobs", "-n", namespace, f"--as={promoter}", check=False).stderr


@pytest.mark.parametrize(("path", "value"), EVIL_JOBS, ids=[f"{path.split('|')[-1]}" for path, _ in EVIL_JOBS])
def test_a_job_of_the_promoters_is_that_reconciliation(kube, installed, applied, makers, path: str, value) -> None:
    job = reconciliation(kube, installed[0])
    if "|" in path:
        job = changed(job, path, value)
    else:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        job["spec"]["template"]["spec"]["containers"] = [changed(container, path, value)]
    said = applied(job, makers[1])
    assert "ValidatingAdmissionPolicy 'selftaught-jobs" in said, said


def test_people_with_rights_of_their_own_are_not_held_back(kube: Kube, installed: tuple[str, str]) -> None:
    """As whoever installed the chart is, whom none of its Roles names."""
    body = changed(served(installed[0], store_of()), "spec|predictor|labels", {"team": "support"})
    words = ("create", "--dry-run=server", "-n", installed[0], "-f", "-")
    assert kube.run(*words, given=json.dumps(body), check=False).stderr == ""
