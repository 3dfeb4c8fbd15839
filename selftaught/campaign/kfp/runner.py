"""Runs on Kubeflow Pipelines: a round is one run of a version of the pipeline (`selftaught.campaign.kfp.versions`).

Every line has an experiment of its own. A run is called by line, campaign, round and attempt, as the round's run in
MLflow is, which names version and run in return. What a run does is the pipeline's business.
"""

from typing import Any

from selftaught.campaign.kfp.client import every, experiment_of, kubeflow
from selftaught.campaign.kfp.versions import Version, compiled, ensure, names, with_model_keys, with_pull_secrets
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runner import ACTIVE, RunRef, RunStatus
from selftaught.platform import Platform
from selftaught.recipe.models import key_variables
from selftaught.round.intake import stage_of
from selftaught.state.round_key import RoundKey


class KfpRunner:
    """Runs of the Kubeflow Pipelines that the settings of `platform` name."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.settings = platform, platform.settings

    def start(self, key: RoundKey, order: CampaignOrder) -> RunRef:
        """Have the run made, once its version is there and MLflow's run of the round names that."""
        order = order.resumed(self.platform, key)
        pipeline = with_model_keys(
            compiled(order.pipeline(key.number), self.settings.images), key_variables(order.recipe.models)
        )
        pipeline = with_pull_secrets(pipeline, self.settings.pull_secrets)
        with kubeflow(self.settings) as client:
            experiment = str(client.create_experiment(f"selftaught/{key.line}").experiment_id)
            version = ensure(client, pipeline, self.settings.kfp_namespace)
            opened = self._opened(order, key, version)
            name = _name(f"{key.line} {key.title}", every(client.list_runs, "runs", experiment_id=experiment))
            run = client.run_pipeline(
                experiment,
                name,
                params=order.arguments(key, order.recipe.as_argument()),
                pipeline_id=version.pipeline,
                version_id=version.id,
            )
        self.platform.tracker.tag(opened, {"selftaught.kfp_run": str(run.run_id)})
        return RunRef(str(run.run_id), name, experiment, version.name)

    def status(self, run: RunRef) -> RunStatus:
        """How the run is, in KFP's words."""
        with kubeflow(self.settings) as client:
            return _status(run, client.get_run(run.id))

    def stop(self, run: RunRef) -> None:
        """Terminate the run: it is CANCELING until its pods are gone."""
        with kubeflow(self.settings) as client:
            if str(client.get_run(run.id).state) in ACTIVE:
                client.terminate_run(run.id)

    def runs(self, line: str) -> list[RunStatus]:
        """The runs of the line's experiment."""
        with kubeflow(self.settings) as client:
            experiment = experiment_of(client, line)
            listed = every(client.list_runs, "runs", experiment_id=experiment) if experiment else []
            called = names(client, self.settings.kfp_namespace) if listed else {}
        return [
            _status(RunRef(str(run.run_id), str(run.display_name), experiment, _version(run, called)), run)
            for run in listed
        ]

    def _opened(self, order: CampaignOrder, key: RoundKey, version: Version) -> str:
        """The round's run in MLflow, which names the version before the run is made that will write to it."""
        run = self.platform.tracker.round_run(key, stage_of(order.recipe, key.number).name)
        self.platform.tracker.tag(run, {"selftaught.pipeline_version": version.name})
        return run


def _status(ref: RunRef, run: Any) -> RunStatus:
    reason = str(run.error.message) if run.error else ""
    return RunStatus(ref, str(run.state), f"{run.created_at:%Y-%m-%d %H:%M:%S}", reason)


def _name(called: str, before: list[Any]) -> str:
    """A run that resumes a round is distinguished from the run before it by a number."""
    again = sum(str(run.display_name).partition(" (")[0] == called for run in before)
    return f"{called} ({again + 1})" if again else called


def _version(run: Any, called: dict[str, str]) -> str:
    """The name of the version that a run is of; empty where it holds a pipeline of its own."""
    reference = run.pipeline_version_reference
    return called.get(str(reference.pipeline_version_id), "removed") if reference else ""
