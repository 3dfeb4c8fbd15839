"""MLflow: campaigns, rounds, lineage, the model registry and its aliases.

One experiment a line, one parent run a campaign, one child run a round. Everything here may be said twice: runs are
found again by their tags and versions by their digest, so a step that runs twice leaves one run and one version. The
`champion` alias is the one source of truth for what users get. Model and data bytes stay in the store; MLflow holds
where they are and what they are made of.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from selftaught.errors import Unavailable

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

Alias = Literal["champion", "challenger", "head", "base", "previous"]
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model version: the line it is of, its number, the model's digest and where the files are."""

    line: str
    version: str
    digest: str
    uri: str
    run: str = ""


@dataclass(frozen=True, slots=True)
class RoundRun:
    """One round as MLflow has it. `outcome` is empty until the round has come to an end."""

    run: str
    stage: str
    round: int
    attempt: int
    outcome: str
    recipe: str


class Tracker:
    """The tracking server at `uri`. Raises Unavailable when it does not answer."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's own client. Raises Unavailable when the server does not answer at once."""
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        try:
            client = MlflowClient(self.uri, self.uri)
            client.search_experiments(max_results=1)  # pyright: ignore[reportUnknownMemberType]
        except MlflowException as error:
            raise Unavailable(
                f"{self.uri}: no tracking server answers ({_first_line(error)}). Is MLFLOW_TRACKING_URI right?"
            ) from None
        return client

    # Runs -----------------------------------------------------------------------------------------------------------

    def campaign_run(self, line: str, campaign: str, tags: Mapping[str, str] | None = None) -> str:
        """The id of the campaign's parent run, made if it is not there."""
        wanted = {"selftaught.campaign": campaign, "selftaught.kind": "campaign"}
        return self._run(line, campaign, wanted, tags or {})

    def round_run(
        self, line: str, campaign: str, stage: str, round: int, attempt: int, tags: Mapping[str, str] | None = None
    ) -> str:
        """The id of the child run of this attempt at this round, made if it is not there."""
        wanted = {
            "selftaught.campaign": campaign,
            "selftaught.kind": "round",
            "selftaught.round": str(round),
            "selftaught.attempt": str(attempt),
        }
        parent = self.campaign_run(line, campaign)
        extra = {"mlflow.parentRunId": parent, "selftaught.stage": stage, **(tags or {})}
        return self._run(line, f"{campaign} round {round}" + (f" attempt {attempt}" if attempt else ""), wanted, extra)

    def rounds(self, line: str, campaign: str) -> list[RoundRun]:
        """Every attempt at every round of the campaign, oldest first."""
        runs = self._find(line, {"selftaught.campaign": campaign, "selftaught.kind": "round"})
        return sorted(map(_round_of, runs), key=lambda r: (r.round, r.attempt))

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        client = self.client
        for key, value in tags.items():
            client.set_tag(run, key, value)

    def tags(self, run: str) -> dict[str, str]:
        """The tags of a run."""
        return dict(self.client.get_run(run).data.tags)

    def log(
        self, run: str, metrics: Mapping[str, float], step: int = 0, params: Mapping[str, str] | None = None
    ) -> None:
        """Log metrics (at `step`) and parameters; a parameter that is there already stays."""
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        known = self.client.get_run(run).data.params
        self.client.log_batch(
            run,
            metrics=[Metric(_metric_name(key), value, now, step) for key, value in metrics.items()],
            params=[Param(key, value[:6000]) for key, value in (params or {}).items() if key not in known],
        )

    def log_curve(self, run: str, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Log one metric at many steps."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        series = [Metric(_metric_name(name), value, now, step) for step, value in points]
        for start in range(0, len(series), _BATCH):
            self.client.log_batch(run, metrics=series[start : start + _BATCH])

    def log_dataset(self, run: str, name: str, digest: str, uri: str, rows: int, context: str) -> None:
        """Name a data set as input of a run. MLflow keeps 36 characters of a digest; the profile has all of it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = f'{{"rows": {rows}, "sha256": "{digest}"}}'
        data = Dataset(name, digest[:36], "local", f'{{"uri": "{uri}"}}', profile=profile)
        self.client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def log_text(self, run: str, text: str, name: str) -> None:
        """Keep a text as an artifact of a run."""
        self.client.log_text(run, text, name)

    def finish(self, run: str, outcome: str) -> None:
        """End a run with its outcome (`promoted`, `refused`, `failed`)."""
        client = self.client
        client.set_tag(run, "selftaught.outcome", outcome)
        client.set_terminated(run, "FAILED" if outcome == "failed" else "FINISHED")

    # The registry ---------------------------------------------------------------------------------------------------

    def register(self, line: str, digest: str, uri: str, run: str, tags: Mapping[str, str]) -> Version:
        """The version of `line` with this digest: made once, found again by its digest tag."""
        client = self.client
        known = {version.digest: version for version in self.versions(line)}
        if digest in known:
            return known[digest]
        if line not in self.lines():
            client.create_registered_model(line)
        all_tags = {"selftaught.digest": digest, **tags}
        made = client.create_model_version(line, source=uri, run_id=run or None, tags=all_tags)
        if run:
            client.set_tag(run, "selftaught.model_version", f"{line}/{made.version}")
            client.set_tag(run, "selftaught.model_digest", digest)
        return _version_of(made)

    def versions(self, line: str) -> list[Version]:
        """Every version of `line`, oldest first."""
        found = self.client.search_model_versions(f"name = '{line}'", max_results=1000)
        return sorted((_version_of(v) for v in found), key=lambda v: int(v.version))

    def version_tags(self, version: Version) -> dict[str, str]:
        """The tags of a version."""
        return dict(self.client.get_model_version(version.line, version.version).tags)

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""
        client = self.client
        for key, value in tags.items():
            client.set_model_version_tag(version.line, version.version, key, value)

    def resolve(self, line: str, alias: Alias) -> Version | None:
        """The version that `alias` points at, or None."""
        return self.aliases(line).get(alias)

    def aliases(self, line: str) -> "dict[str, Version]":
        """Every alias of `line` with the version it points at."""
        models = self.client.search_registered_models(f"name = '{line}'")
        pointers = cast("dict[str, str]", models[0].aliases) if models else {}  # pyright: ignore[reportUnknownMemberType]
        by_number = {version.version: version for version in self.versions(line)} if pointers else {}
        return {alias: by_number[str(number)] for alias, number in pointers.items() if str(number) in by_number}

    def point(self, alias: Alias, version: Version) -> None:
        """Point `alias` at `version`."""
        self.client.set_registered_model_alias(version.line, alias, version.version)

    def lines(self) -> list[str]:
        """The name of every line in the registry."""
        found = self.client.search_registered_models()
        return sorted(str(model.name) for model in found)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    # Inside ---------------------------------------------------------------------------------------------------------

    def _experiment(self, line: str) -> str:
        client = self.client
        name = f"selftaught/{line}"
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name, self._artifacts(line)))

    def _artifacts(self, line: str) -> str | None:
        """Beside a local database; a server decides for itself."""
        database = self.uri.removeprefix("sqlite:///")
        return None if database == self.uri else str(Path(database).parent / "mlartifacts" / line)

    def _find(self, line: str, tags: Mapping[str, str]) -> "list[Run]":
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return list(self.client.search_runs([self._experiment(line)], query, max_results=1000))

    def _run(self, line: str, name: str, wanted: Mapping[str, str], extra: Mapping[str, str]) -> str:
        found = self._find(line, wanted)
        if found:
            return str(found[0].info.run_id)
        tags = {"mlflow.runName": name, **wanted, **extra}
        return str(self.client.create_run(self._experiment(line), tags=tags, run_name=name).info.run_id)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _metric_name(name: str) -> str:
    """MLflow takes no `@` in a metric's name: pass@8 is pass_at_8 there."""
    return name.replace("@", "_at_")


def _version_of(found: "ModelVersion") -> Version:
    tags = found.tags
    return Version(
        line=str(found.name),
        version=str(found.version),
        digest=tags.get("selftaught.digest", ""),
        uri=str(found.source),
        run=str(found.run_id or ""),
    )


def _round_of(run: "Run") -> RoundRun:
    tags = run.data.tags
    return RoundRun(
        run=str(run.info.run_id),
        stage=tags.get("selftaught.stage", ""),
        round=int(tags["selftaught.round"]),
        attempt=int(tags["selftaught.attempt"]),
        outcome=tags.get("selftaught.outcome", ""),
        recipe=tags.get("selftaught.recipe", ""),
    )
