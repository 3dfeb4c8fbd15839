"""Rounds on a cluster: submit one to Kubeflow Pipelines, list a line's runs.

A round is one run of a version of the pipeline (`selftaught.campaign.kfp.versions`). Every line has an experiment of
its own, in which at most one run is active: KFP has no key by which it would take a run once, so who submits has the
line's turn (`selftaught.state.turns`) from before it looks at the runs until its own is made. A run is called by line,
campaign, round and attempt, as the round's run in MLflow is, which names version and run in return. What a run does is
the pipeline's business, and when one is submitted `selftaught.campaign.kfp.schedules`'s.
"""

import time
from dataclasses import dataclass
from typing import Any

from selftaught.campaign.kfp.client import every, experiment_of, kubeflow
from selftaught.campaign.kfp.versions import Version, compiled, ensure, names, with_model_keys
from selftaught.campaign.local import locked_line
from selftaught.campaign.order import CampaignOrder
from selftaught.core.errors import BadInput, NothingNew
from selftaught.platform import Platform
from selftaught.recipe.models import key_variables
from selftaught.round.abandon import abandon as give_up
from selftaught.round.abandon import abandon_old
from selftaught.round.history import next_round
from selftaught.round.intake import nothing_new, stage_of
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import RoundRun
from selftaught.state.turns import turn

ACTIVE = {"PENDING", "RUNNING", "PAUSED", "CANCELING"}


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that Kubeflow Pipelines has taken, and the version of the pipeline that it is of.

    `abandoned` are the rounds of the line that were given up before.
    """

    id: str
    name: str
    experiment: str
    version: str
    abandoned: tuple[str, ...] = ()


def submit(platform: Platform, order: CampaignOrder, abandon_after: float = 0.0) -> Submitted:
    """Submit the round of the order's campaign that is due.

    One that was begun with another recipe has failed, and is redrawn, as `selftaught run` does it. Rounds of the
    line that began more than `abandon_after` seconds ago (0: none) and did not end are given up before.

    Raises BadInput when the line has no champion yet or a run of it is active, NothingNew when there are no fresh tasks
    for it, Busy while another process submits to the line, Unavailable when Kubeflow Pipelines does not answer.
    """
    require_champion(platform, order.line)
    with (
        kubeflow(platform.settings) as client,
        turn(platform.store, f"submit/{order.line}", f"submitting to {order.line}"),
    ):
        experiment = str(client.create_experiment(f"selftaught/{order.line}").experiment_id)
        before = every(client.list_runs, "runs", experiment_id=experiment)
        _require_idle(order.line, before)
        abandoned = abandon_old(platform, order.line, time.time() - abandon_after) if abandon_after else ()
        key = next_round(platform, order.recipe, order.line, order.campaign)
        if reason := nothing_new(platform, order.recipe, key):
            raise NothingNew(reason)
        order = order.resumed(platform, key)
        pipeline = with_model_keys(
            compiled(order.pipeline(key.number), platform.settings.images), key_variables(order.recipe.models)
        )
        version = ensure(client, pipeline, platform.settings.kfp_namespace)
        opened = _opened(platform, order, key, version)
        name = _name(f"{key.line} {key.title}", before)
        run = client.run_pipeline(
            experiment,
            name,
            params=order.arguments(key, order.recipe.as_argument()),
            pipeline_id=version.pipeline,
            version_id=version.id,
        )
    platform.tracker.tag(opened, {"selftaught.kfp_run": str(run.run_id)})
    return Submitted(str(run.run_id), name, experiment, version.name, tuple(abandoned))


def runs(platform: Platform, line: str) -> list[dict[str, str]]:
    """The runs of the line that Kubeflow Pipelines knows, newest first: id, name, state, version, when it was made."""
    with kubeflow(platform.settings) as client:
        listed = _runs(client, line)
        called = names(client, platform.settings.kfp_namespace) if listed else {}
    rows = [
        {
            "id": run.run_id,
            "name": run.display_name,
            "state": run.state,
            "version": _version(run, called),
            "created": f"{run.created_at:%Y-%m-%d %H:%M:%S}",
        }
        for run in listed
    ]
    return sorted(rows, key=lambda row: row["created"], reverse=True)


def abandon(platform: Platform, line: str, campaign: str) -> RoundRun:
    """Give up the round of `campaign` that is not finished.

    Raises BadInput as `round.abandon` does, and while a run of the line is active or this machine runs it; Busy while
    another process submits to the line.
    """
    lock = platform.settings.home / "campaigns" / line / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with locked_line(lock, line), turn(platform.store, f"submit/{line}", f"abandoning a round of {line}"):
        if platform.settings.kfp:
            with kubeflow(platform.settings) as client:
                _require_idle(line, _runs(client, line))
        return give_up(platform, line, campaign)


def require_champion(platform: Platform, line: str) -> None:
    """Raise BadInput when the line has no champion."""
    if platform.tracker.resolve(line, "champion") is None:
        raise BadInput(f"{line}: has no champion yet. Bring the recipe's model in first: `selftaught adopt`.")


def _runs(client: Any, line: str) -> list[Any]:
    experiment = experiment_of(client, line)
    return every(client.list_runs, "runs", experiment_id=experiment) if experiment else []


def _require_idle(line: str, listed: list[Any]) -> None:
    if active := [run for run in listed if run.state in ACTIVE]:
        raise BadInput(f"{line}: run {active[0].run_id} is {active[0].state.lower()}. Wait for it, or terminate it.")


def _opened(platform: Platform, order: CampaignOrder, key: RoundKey, version: Version) -> str:
    """The round's run in MLflow, which names the version before the run is made that will write to it."""
    run = platform.tracker.round_run(key, stage_of(order.recipe, key.number).name)
    platform.tracker.tag(run, {"selftaught.pipeline_version": version.name})
    return run


def _name(called: str, before: list[Any]) -> str:
    """A run that resumes a round is distinguished from the run before it by a number."""
    again = sum(str(run.display_name).partition(" (")[0] == called for run in before)
    return f"{called} ({again + 1})" if again else called


def _version(run: Any, called: dict[str, str]) -> str:
    """The name of the version that a run is of; empty where it holds a pipeline of its own."""
    reference = run.pipeline_version_reference
    return called.get(str(reference.pipeline_version_id), "removed") if reference else ""
