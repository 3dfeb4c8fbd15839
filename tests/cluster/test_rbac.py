"""What each account may and may not do in the cluster, as the API server itself says."""

from collections.abc import Callable

import pytest

from tests.cluster.kube import DEV, Kube, template

pytestmark = pytest.mark.cluster

SERVING = "inferenceservices.serving.kserve.io"
RUNTIMES = "servingruntimes.serving.kserve.io"
LEASES = "leases.coordination.k8s.io"
ROUTES = "httproutes.gateway.networking.k8s.io"
STEPS = {
    *((verb, SERVING) for verb in ("get", "list", "watch", "create")),
    *((verb, "deployments.apps") for verb in ("get", "list", "watch")),
    *((verb, "pods") for verb in ("get", "list", "watch")),
    ("get", "pods/log"),
    ("list", "events"),
    ("get", "services"),
    ("list", "services"),
}
PROMOTER = STEPS | {
    ("delete", SERVING),
    *((verb, "services") for verb in ("create", "patch", "update")),
    *((verb, LEASES) for verb in ("get", "create", "update", "patch", "delete")),
    *((verb, ROUTES) for verb in ("get", "create", "update")),
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
    "selftaught-test": {("list", RUNTIMES)},
    "default": set(),
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
KINDS = (
    *(SERVING, RUNTIMES, LEASES, ROUTES),
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
PEOPLE = {"vera": VIEWER, "otto": PROMOTER}


@pytest.fixture(scope="module")
def installed(kube: Kube, namespaces: Callable[[str], str]) -> tuple[str, str]:
    """A namespace with the chart's accounts and Roles, and the one of KFP's tasks."""
    namespace, tasks = namespaces("chart-rbac"), namespaces("chart-tasks")
    viewers, operators = [[{"kind": "User", "name": name}] for name in PEOPLE]
    values = {
        "rbac": {"viewers": viewers, "operators": operators},
        "kfp": {"enabled": True, "runner": {"namespace": tasks}},
        "serving": {
            "route": "gateway",
            "gateway": {"name": "edge/main", "url": "http://edge", "domain": "example.com"},
        },
    }
    only = [word for name in ("rbac", "serviceaccounts", "tests") for word in ("-s", f"templates/{name}.yaml")]
    rendered = template("-f", str(DEV), *only, "--skip-tests", values=values, namespace=namespace)
    kube.run("apply", "-f", "-", given=rendered.stdout)
    kube.run("create", "serviceaccount", "pipeline-runner", "-n", tasks)
    return namespace, tasks


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
    assert granted(can, user, tasks) == set()
    assert {(verb, kind) for kind in (*CLUSTER, *KINDS) for verb in VERBS if can(user, verb, kind, None)} == set()


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
