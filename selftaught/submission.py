"""Rounds on a cluster: submit one to Kubeflow Pipelines, have them run by the clock, say how a line is.

A round is one run of the compiled pipeline; which round is due is found out by its first task, so a schedule needs no
state. Every line has an experiment of its own, in which at most one run is active. What a run does is the pipeline's
business.

Who asks is told as KFP's own client tells it: by the service account token that Kubeflow mounts for its API
(KF_PIPELINES_SA_TOKEN_PATH, renewed by the kubelet), or by a token of another kind (KFP_EXISTING_TOKEN); a KFP with one
user asks for neither.

Facts of Kubeflow Pipelines 2.17 that this goes by: `[[ScheduledTime]]` is not substituted and a second firing would be
answered from the cache throughout, so schedules turn caching off; a schedule that fell behind would fire for every
missed time, so catch-up is off; cron has six fields, the first of which is seconds.
"""

import os
import re
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from selftaught.campaign import Order
from selftaught.errors import BadInput, NothingNew, Unavailable
from selftaught.round.fresh import quiet
from selftaught.round.history import due
from selftaught.round.job import Workplace

TOKEN_FILE, TOKEN = "KF_PIPELINES_SA_TOKEN_PATH", "KFP_EXISTING_TOKEN"
MOUNTED = "/var/run/secrets/kubeflow/pipelines/token"
"""Where Kubeflow mounts the token unless TOKEN_FILE says otherwise."""
ACTIVE = {"PENDING", "RUNNING", "PAUSED", "CANCELING"}
_FIELD = r"[-0-9A-Za-z*/,?]+"
_CRON = re.compile(rf"({_FIELD} )?{_FIELD}( {_FIELD}){{4}}")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run or a schedule that Kubeflow Pipelines has taken."""

    id: str
    name: str
    experiment: str


def submit(place: Workplace, order: Order) -> Submitted:
    """Submit the round of the order's campaign that is due.

    Raises BadInput when the line has no champion yet or a run of it is active, NothingNew when there are no fresh tasks
    for it, Unavailable when Kubeflow Pipelines does not answer.
    """
    _require_champion(place, order)
    number, attempt = due(place.tracker.rounds(order.line, order.campaign))
    if reason := quiet(place, order.recipe, order.line, order.campaign, number, attempt):
        raise NothingNew(reason)
    with _client(place) as client, _package(place, order, number) as package:
        experiment = client.create_experiment(_experiment(order.line)).experiment_id
        if active := [run for run in _all(client.list_runs, "runs", experiment) if run.state in ACTIVE]:
            raise BadInput(
                f"{order.line}: run {active[0].run_id} is {active[0].state.lower()}. Wait for it, or terminate it."
            )
        name = f"{order.line} {order.campaign}"
        run = client.create_run_from_pipeline_package(
            str(package), arguments=_arguments(order), run_name=name, experiment_id=experiment
        )
        return Submitted(str(run.run_id), name, experiment)


def schedule(place: Workplace, order: Order, cron: str) -> Submitted:
    """Run the order's campaign by the clock, one round at a time, in the place of the line's schedule before.

    `cron` has five fields, or six with seconds first. Raises as `submit` does, and BadInput for a wrong `cron`.
    """
    if not _CRON.fullmatch(cron.strip()):
        raise BadInput(f"cron '{cron}': five fields, such as '0 3 * * 1' for Mondays at 3, or six with seconds first.")
    _require_champion(place, order)
    number, _ = due(place.tracker.rounds(order.line, order.campaign))
    with _client(place) as client, _package(place, order, number) as package:
        experiment = client.create_experiment(_experiment(order.line)).experiment_id
        before = _all(client.list_recurring_runs, "recurring_runs", experiment)
        made = client.create_recurring_run(
            experiment,
            f"{order.line} {order.campaign} {order.recipe.digest[:8]}",
            cron_expression=cron.strip() if len(cron.split()) == 6 else f"0 {cron.strip()}",
            max_concurrency=1,
            no_catchup=True,
            params=_arguments(order),
            pipeline_package_path=str(package),
            enable_caching=False,
        )
        for old in before:  # last: a kill leaves two schedules rather than none, and the next call one
            client.delete_recurring_run(old.recurring_run_id)
        return Submitted(str(made.recurring_run_id), str(made.display_name), experiment)


def runs(place: Workplace, line: str) -> list[dict[str, str]]:
    """The runs of the line that Kubeflow Pipelines knows, newest first: id, name, state and when they were made."""
    with _client(place) as client:
        experiment = client.create_experiment(_experiment(line)).experiment_id
        listed = _all(client.list_runs, "runs", experiment)
        rows = [
            {
                "id": run.run_id,
                "name": run.display_name,
                "state": run.state,
                "created": f"{run.created_at:%Y-%m-%d %H:%M}",
            }
            for run in listed
        ]
    return sorted(rows, key=lambda row: row["created"], reverse=True)


def _require_champion(place: Workplace, order: Order) -> None:
    if place.tracker.resolve(order.line, "champion") is None:
        raise BadInput(f"{order.line}: has no champion yet. Bring the recipe's model in first: `selftaught adopt`.")


def _arguments(order: Order) -> dict[str, Any]:
    return {
        "recipe": order.recipe.as_argument(),
        "line": order.line,
        "campaign": order.campaign,
        "number": 0,
        "attempt": 0,
        "shards": list(range(order.shards)),
    }


def _experiment(line: str) -> str:
    return f"selftaught/{line}"


@contextmanager
def _package(place: Workplace, order: Order, number: int) -> Generator[Path]:
    """The compiled pipeline of round `number`, with the images that the settings name."""
    source = order.pipeline(number)
    if not source.exists():
        raise BadInput(f"{source}: no compiled pipeline. Run this in a checkout, or give --pipelines.")
    documents = list(yaml.safe_load_all(source.read_text(encoding="utf-8")))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        container = executor["container"]
        container["image"] = _image(container["image"], place.settings.images)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / source.name
        package.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        yield package


def _image(tagged: str, images: Mapping[str, str]) -> str:
    """What `selftaught/<name>:<tag>` is called on this cluster."""
    return images.get(tagged.partition("/")[2].partition(":")[0], tagged)


@contextmanager
def _client(place: Workplace) -> Generator[Any]:
    """A client of Kubeflow Pipelines whose refusals are told."""
    url = place.settings.kfp
    if not url:
        raise BadInput("SELFTAUGHT_KFP: not set. Set it to the URL of the Kubeflow Pipelines API.")
    import kfp
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    refused = cast("type[Exception]", kfp_server_api.ApiException)
    namespace = place.settings.kfp_namespace or "kubeflow"  # which to the client says that there is one user
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it is for version 2, it says each time
            client = kfp.Client(
                host=url, namespace=namespace, existing_token=os.environ.get(TOKEN), credentials=_credentials()
            )
        yield client
    except refused as error:
        words = " ".join(str(getattr(error, "body", None) or error).split())[:300]
        raise BadInput(f"{url}: Kubeflow Pipelines refuses it: {words}{_fix(error)}") from None
    except (HTTPError, ConnectionError, OSError) as error:
        raise Unavailable(f"{url}: Kubeflow Pipelines does not answer ({error}). Is SELFTAUGHT_KFP right?") from None


def _credentials() -> Any:
    """The mounted token, read anew for each request; None where there is none. Raises BadInput where it is missing."""
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    path = os.environ.get(TOKEN_FILE, MOUNTED)
    if Path(path).is_file():
        return ServiceAccountTokenVolumeCredentials(path)
    if TOKEN_FILE in os.environ:
        raise BadInput(f"{TOKEN_FILE}: {path}: no such file. Name the file of a token, or unset it.")
    return None


def _fix(refused: Any) -> str:
    if refused.status not in (401, 403):
        return ""
    return f". Give it a token by {TOKEN_FILE} or {TOKEN}, and the profile by SELFTAUGHT_KFP_NAMESPACE."


def _all(listing: Any, name: str, experiment: str) -> list[Any]:
    """Everything that `listing` gives of an experiment, page after page."""
    found: list[Any] = []
    token = ""
    while True:
        page = listing(page_token=token, page_size=100, experiment_id=experiment)
        found += getattr(page, name) or []
        token = page.next_page_token
        if not token:
            return found
