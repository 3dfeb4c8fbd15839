"""Checks of what rounds need from Kubeflow Pipelines: its API, its version, and the namespace and account of tasks."""

import re
from typing import Any
from urllib.parse import urlsplit

import httpx

from selftaught.campaign.kfp.client import TOKEN, TOKEN_FILE, bearer, kubeflow
from selftaught.core.errors import SelftaughtError, without_credentials
from selftaught.doctor.cluster.api import Api, unknown
from selftaught.doctor.cluster.round_needs import round_of_tasks
from selftaught.doctor.machine import Finding
from selftaught.settings import Settings

OLDEST = (2, 17)
NAME = "kubeflow"
ADDRESS = "set SELFTAUGHT_KFP to the URL of the Kubeflow Pipelines API (service ml-pipeline, port 8888)"
SIGN_IN = f"give it a token by {TOKEN_FILE} or {TOKEN}, and the profile by SELFTAUGHT_KFP_NAMESPACE"
LOG = "read the log of its API server: kubectl logs deployment/ml-pipeline"
RULES = "helm upgrade with kfp.enabled=true and kfp.runner the account that tasks run as"


def api(settings: Settings) -> Finding:
    """Whether it answers, has one user or many as the settings say, and takes this account."""
    url = without_credentials(settings.kfp)
    try:
        answer = httpx.get(f"{settings.kfp}/apis/v2beta1/healthz", headers=_headers(), timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(NAME, False, f"{url} does not answer ({error})", ADDRESS)
    if answer.status_code in (301, 302, 303, 307, 308, 401, 403):
        return Finding(NAME, False, f"{url} asks who this is ({answer.status_code})", SIGN_IN)
    many = _many(answer)
    if many is None:
        return Finding(NAME, False, f"{url} answers, but is not a Kubeflow Pipelines API", ADDRESS)
    users = "many users" if many else "one user"
    if many != bool(settings.kfp_namespace):
        fix = "set SELFTAUGHT_KFP_NAMESPACE to the profile of the runs" if many else "unset SELFTAUGHT_KFP_NAMESPACE"
        return Finding(NAME, False, f"{url} has {users}", fix)
    return _accepted(settings, f"{url} has {users}; tasks run in {tasks_namespace(settings)}")


def version(api: Api, settings: Settings) -> Finding:
    """The version of its API server, which its API does not tell, by the image."""
    home = _home(settings)
    deployment = api.read(f"/apis/apps/v1/namespaces/{home}/deployments/ml-pipeline")
    if deployment is None:
        return unknown(f"{NAME} version", f"no Deployment ml-pipeline in {home}", "none, where it runs elsewhere")
    image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    numbers = re.search(r":v?(\d+)\.(\d+)", image)
    if numbers is None:
        return unknown(f"{NAME} version", f"the image {image} names none", "name it by a release's tag")
    right = (int(numbers[1]), int(numbers[2])) >= OLDEST
    return Finding(f"{NAME} version", right, f"{image} (tested with 2.17)", "upgrade Kubeflow Pipelines to 2.17")


def runner(api: Api, settings: Settings) -> Finding:
    """Whether the account of the tasks may do what steps do with engines and trainings."""
    account = f"{tasks_namespace(settings)}:{'default-editor' if settings.kfp_namespace else 'pipeline-runner'}"
    name, who = f"{NAME} runner", f"{account} in {settings.namespace}"
    wanted = [("serving.kserve.io", "inferenceservices", verb) for verb in ("get", "list", "create")]
    wanted += [("serving.kserve.io", "inferenceservices", "delete")] if settings.one_engine else []
    wanted += [("trainer.kubeflow.org", "trainjobs", "create")] if settings.train_nodes > 1 else []
    answers = {f"{one[2]} {one[1]}": api.may(account, settings.namespace, *one) for one in wanted}
    if refused := [right for right, may in answers.items() if may is False]:
        return Finding(name, False, f"{who} may not {', '.join(refused)}", RULES)
    if None in answers.values():
        return unknown(name, f"the API server cannot tell what {who} may", RULES)
    return Finding(name, True, f"{who} may {', '.join(answers)}")


def tasks(api: Api, settings: Settings) -> Finding:
    """Whether the tasks' namespace has what their Pods do not start without."""
    space = tasks_namespace(settings)
    wanted = round_of_tasks().starts_with
    missing = [f"{kind} {name}" for kind, name in wanted if not api.there(f"/api/v1/namespaces/{space}/{kind}/{name}")]
    if missing:
        return Finding(f"{NAME} tasks", False, f"{space} has no {', no '.join(missing)}", RULES)
    return Finding(f"{NAME} tasks", True, f"{space} has {', '.join(' '.join(one) for one in wanted)}")


def tasks_namespace(settings: Settings) -> str:
    """The namespace in which tasks run: the profile, else where Kubeflow Pipelines is."""
    return settings.kfp_namespace or _home(settings)


def _home(settings: Settings) -> str:
    """Its own namespace: that of its Service's name, else the usual one."""
    host = (urlsplit(settings.kfp).hostname or "").split(".")
    return host[1] if len(host) > 2 and host[2] == "svc" else "kubeflow"


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if (token := bearer()) else {}


def _many(answer: httpx.Response) -> bool | None:
    """Whether it has many users; None where the answer is none of Kubeflow Pipelines'."""
    try:
        body: Any = answer.json()
        return bool(body.get("multi_user")) if answer.is_success else None
    except (ValueError, AttributeError):
        return None


def _accepted(settings: Settings, detail: str) -> Finding:
    """Whether the account may list experiments, which submitting does first."""
    try:
        with kubeflow(settings) as client:
            client.list_experiments(page_size=1, namespace=settings.kfp_namespace or None)
    except SelftaughtError as error:
        words = str(error)
        return Finding(NAME, False, words, SIGN_IN if TOKEN in words else LOG)
    return Finding(NAME, True, detail)
