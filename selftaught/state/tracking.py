"""MLflow: campaigns, rounds, lineage, the model registry and its aliases.

One experiment a line, one parent run a campaign, one child run a round. All calls are idempotent: runs are
found again by their tags, versions by their digest, and points of a metric carry the time of their run's start, so a
step that runs twice leaves one run, one version and one curve. The `champion` alias is the one source of truth for
what users get. Model and data bytes stay in the store; MLflow holds where they are and what they are made of.
"""

import json
import os
import sqlite3
import ssl
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import unquote, urlsplit

import httpx
import stamina

from selftaught.core.errors import Away, BadInput, Unavailable, without_credentials
from selftaught.core.trust import distrusted
from selftaught.state.database import create_or_upgrade, database_file
from selftaught.state.round_key import RoundKey
from selftaught.state.store import locked

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

Alias = Literal["champion", "challenger", "head", "base", "previous"]
NOTHING_NEW = "nothing new"
"""The outcome of a round that has nothing to train on yet. It has not ended: it continues once there is something."""
STOPPED = "stopped"
"""The outcome of a round that an error stopped, and of its campaign: the same command resumes both."""
ABANDONED = "abandoned"
"""The outcome of a round that was given up: the next one is redrawn, and its data may go."""
_BATCH = 500
_PARAMETERS = 100
"""What MLflow takes of metrics and of parameters in one request."""
_PAGE = 1000
_REMOVED = "selftaught.removed"
_STATUS = {"failed": "FAILED", STOPPED: "FAILED", ABANDONED: "KILLED"}
"""MLflow's status of an outcome that is no good end."""
AUTHORITIES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name the authorities which MLflow's own client trusts, the first that is set."""
_BUGS = {"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"}
"""MLflow's codes for calls that are wrong, whatever the server."""
_PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
"""MLflow's codes where a server, or what stands before it, is away; a request that got no answer has the first."""
_FIXES = {
    "database or disk is full": "Free some space on its disk, then run the same command again.",
    "database is locked": "Another process writes to it for long. Run the same command again when that one has ended.",
    "readonly database": "Make it a file that can be written.",
    "unable to open database file": "Make it a file in a folder that can be written.",
    "disk I/O error": "Look at its disk, then run the same command again.",
    "Can't locate revision": "A newer MLflow wrote it. Install that version of MLflow, or keep this home for it.",
}
"""What to do about what SQLite and alembic say of a database in a file."""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model version: the line it is of, its number, the model's digest and where the files are.

    `removed` says when retention removed the files (an ISO date); it is empty while they are there.
    """

    line: str
    version: str
    digest: str
    uri: str
    run: str = ""
    removed: str = ""


@dataclass(frozen=True, slots=True)
class RoundRun:
    """One round as MLflow has it. `outcome` is empty until the round has come to an end.

    `began` is when its run was opened, in seconds since the epoch; `failure` is what ended a round that failed.
    """

    run: str
    key: RoundKey
    stage: str
    outcome: str
    recipe: str
    began: float = field(default=0.0, compare=False)
    failure: str = field(default="", compare=False)


class Tracker:
    """The tracking server at `uri`. Raises Unavailable when it does not answer."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._experiments: dict[str, str] = {}
        """The ids of lines' experiments, which never change."""

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's own client, errors_printed its failures as Unavailable; a server that does not answer is reported at
        once.

        It reports nothing of its use to MLflow's makers, as it would by default.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from alembic.util import CommandError
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        if self.uri.lower().startswith("http"):
            _ping(self.uri)
        try:
            if self._file is not None:
                create_or_upgrade(self._file)
            client = MlflowClient(self.uri, self.uri)
            client.search_experiments(max_results=1)  # pyright: ignore[reportUnknownMemberType]
        except (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error) as error:
            raise _silent(self.uri, error) from None
        return cast("MlflowClient", _MlflowErrors(client, self.uri))

    @cached_property
    def _file(self) -> Path | None:
        """The database, where it is a file."""
        return database_file(self.uri)

    @property
    def _unmade(self) -> bool:
        """Whether the database is a file whose folder is yet to be made: nothing is in it, and looking makes none.

        Raises OSError where the folder cannot be made.
        """
        if self._file is not None:
            try:
                self._file.parent.stat()
            except FileNotFoundError:
                return True
        return False

    @contextmanager
    def _alone(self) -> Generator["MlflowClient"]:
        """What is looked for and then made is made by one: MLflow lets two runs of one name, or versions, be made."""
        client = self.client  # before the lock, which opening takes as well
        with nullcontext() if self._file is None else locked(self._file.parent):
            yield client

    # Runs -----------------------------------------------------------------------------------------------------------

    def campaign_run(self, line: str, campaign: str, tags: Mapping[str, str] | None = None) -> str:
        """The id of the campaign's parent run, made if it is not there."""
        wanted = {"selftaught.campaign": campaign, "selftaught.kind": "campaign"}
        return self._run(line, campaign, wanted, tags or {})

    def adoption_run(self, line: str, digest: str, source: str) -> str:
        """The id of the run that stands for where the model `digest` came from, made if it is not there; it has ended.

        A version that was not trained here has a source run as the others do.
        """
        wanted = {"selftaught.kind": "adoption", "selftaught.model_digest": digest}
        run = self._run(line, f"adopted {source}"[:250], wanted, {"selftaught.source": source})
        self.log(run, {}, params={"source": source, "digest": digest})
        self.finish(run, "adopted")
        return run

    def round_run(self, key: RoundKey, stage: str, tags: Mapping[str, str] | None = None) -> str:
        """The id of the child run of this attempt at this round, made if it is not there."""
        wanted = {
            "selftaught.campaign": key.campaign,
            "selftaught.kind": "round",
            "selftaught.round": str(key.number),
            "selftaught.attempt": str(key.attempt),
        }
        parent = self._parent(key.line, key.campaign)
        extra = {"mlflow.parentRunId": parent, "selftaught.stage": stage, **(tags or {})}
        return self._run(key.line, key.title, wanted, extra)

    def measurement_run(self, line: str, name: str, tags: Mapping[str, str]) -> str:
        """The id of a new run, for what was measured of a model outside the rounds."""
        run_tags = {"selftaught.kind": "measurement", **tags}
        return str(self.client.create_run(self.experiment(line), tags=run_tags, run_name=name).info.run_id)

    def rounds(self, line: str, campaign: str) -> list[RoundRun]:
        """Every attempt at every round of the campaign, oldest first."""
        runs = self._find(line, {"selftaught.campaign": campaign, "selftaught.kind": "round"})
        return sorted((_round_of(line, run) for run in runs), key=lambda round: round.key)

    def campaigns(self, line: str) -> list[str]:
        """The names of the line's campaigns."""
        return sorted(
            {run.data.tags["selftaught.campaign"] for run in self._find(line, {"selftaught.kind": "campaign"})}
        )

    def metrics(self, run: str) -> dict[str, float]:
        """The newest value of each metric of a run."""
        return dict(self.client.get_run(run).data.metrics)

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        client = self.client
        for key, value in tags.items():
            client.set_tag(run, key, value)

    def outcome(self, run: str) -> str:
        """The outcome of a run; empty while it has none, and where this registry does not know it."""
        from mlflow.exceptions import MlflowException

        try:
            return self.tags(run).get("selftaught.outcome", "")
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return ""

    def tags(self, run: str) -> dict[str, str]:
        """The tags of a run."""
        return dict(self.client.get_run(run).data.tags)

    def log(
        self, run: str, metrics: Mapping[str, float], step: int = 0, params: Mapping[str, str] | None = None
    ) -> None:
        """Log metrics (at `step`) and parameters; a parameter that is there already stays."""
        from mlflow.entities import Metric, Param

        found = self.client.get_run(run)
        known, then = found.data.params, found.info.start_time
        self.client.log_batch(
            run,
            metrics=[Metric(_metric_name(key), value, then, step) for key, value in metrics.items()],
        )
        new = [Param(key, value[:6000]) for key, value in (params or {}).items() if key not in known]
        for start in range(0, len(new), _PARAMETERS):
            self.client.log_batch(run, params=new[start : start + _PARAMETERS])

    def log_curve(self, run: str, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Log one metric at many steps; a step that is already logged keeps its first value."""
        there = self.steps(run, name)
        self.log_points(run, name, [point for point in points if point[0] not in there])

    def steps(self, run: str, name: str) -> frozenset[int]:
        """The steps of a run's metric that are there."""
        return frozenset(int(point.step) for point in self.client.get_metric_history(run, _metric_name(name)))

    def log_points(self, run: str, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Log one metric at steps that are not there yet; the same points once more change nothing."""
        from mlflow.entities import Metric

        then = self.client.get_run(run).info.start_time
        series = [Metric(_metric_name(name), value, then, step) for step, value in points]
        for start in range(0, len(series), _BATCH):
            self.client.log_batch(run, metrics=series[start : start + _BATCH])

    def log_dataset(self, run: str, name: str, digest: str, uri: str, rows: int, context: str) -> None:
        """Name a data set as input of a run. MLflow keeps 36 characters of a digest; the profile has all of it.

        Its source is one of MLflow's own kinds: `mlflow.data.get_source` loads it, and the UI offers its address.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile, at = json.dumps({"rows": rows, "sha256": digest}), urlsplit(uri)
        kind, location = ("local", unquote(at.path)) if at.scheme == "file" else (at.scheme, uri)
        data = Dataset(name, digest[:36], kind, json.dumps({"uri": location}), profile=profile)
        self.client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def log_text(self, run: str, text: str, name: str) -> None:
        """Keep a text as an artifact of a run."""
        self.client.log_text(run, text, name)

    def log_lines(self, run: str, lines: Iterable[str], name: str) -> None:
        """Keep `lines`, which end themselves, as an artifact of a run; they are in memory one at a time."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / name
            with file.open("w", encoding="utf-8") as text:
                text.writelines(lines)
            self.client.log_artifact(run, str(file))  # pyright: ignore[reportUnknownMemberType]

    def log_table(self, run: str, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
        """Keep a table as an artifact of a run, which MLflow's UI shows as one; kept again, it is replaced.

        In the format of `MlflowClient.log_table`, which appends to what is there.
        """
        self.client.log_text(run, json.dumps({"columns": list(columns), "data": [list(row) for row in rows]}), name)
        self.client.set_tag(run, "mlflow.loggedArtifacts", json.dumps([{"path": name, "type": "table"}]))

    @property
    def address(self) -> str:
        """Where people look at the registry, without a password; empty where it is a file."""
        return without_credentials(self.uri).rstrip("/") if self.uri.lower().startswith("http") else ""

    def finish(self, run: str, outcome: str) -> None:
        """End a run with its outcome: `promoted`, `refused`, `trained`, `failed`, `done`, or one of those above."""
        client = self.client
        client.set_tag(run, "selftaught.outcome", outcome)
        client.set_terminated(run, _STATUS.get(outcome, "FINISHED"))

    def reopen(self, run: str) -> None:
        """Go on with a run that was ended."""
        self.client.set_tag(run, "selftaught.outcome", "")
        self.client.update_run(run, status="RUNNING")

    # The registry ---------------------------------------------------------------------------------------------------

    def register(self, line: str, digest: str, uri: str, run: str, tags: Mapping[str, str]) -> Version:
        """The version of `line` with this digest: made once, found again by its digest tag."""
        with self._alone():
            version = self._versioned(line, digest, uri, run, tags)
        if version.removed:  # the same model was made again
            version = self.mark_removed(version, "")
        if run:
            self.tag(run, {"selftaught.model_version": f"{line}/{version.version}", "selftaught.model_digest": digest})
        return version

    def _versioned(self, line: str, digest: str, uri: str, run: str, tags: Mapping[str, str]) -> Version:
        """The oldest version with this digest; where there is none, the one that is made now."""
        client = self.client
        if line not in self.lines():
            _unless_there(lambda: client.create_registered_model(line))
        found = [version for version in self.versions(line) if version.digest == digest]
        if not found:
            all_tags = {"selftaught.digest": digest, **tags}
            client.create_model_version(line, source=uri, run_id=run or None, tags=all_tags)
            found = [version for version in self.versions(line) if version.digest == digest]
        return found[0]

    def versions(self, line: str) -> list[Version]:
        """Every version of `line`, oldest first."""
        return [version for version, _ in self.tagged_versions(line)]

    def tagged_versions(self, line: str) -> list[tuple[Version, dict[str, str]]]:
        """Every version of `line` with its tags, oldest first."""
        found = () if self._unmade else _every(self.client.search_model_versions, f"name = '{line}'")
        return sorted(((_version_of(v), dict(v.tags)) for v in found), key=lambda pair: int(pair[0].version))

    def version_tags(self, version: Version) -> dict[str, str]:
        """The tags of a version."""
        return dict(self.client.get_model_version(version.line, version.version).tags)

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags on a version."""
        client = self.client
        for key, value in tags.items():
            client.set_model_version_tag(version.line, version.version, key, value)

    def describe(self, version: Version, text: str) -> None:
        """Say in Markdown what a version is, where the UI shows it first."""
        self.client.update_model_version(version.line, version.version, text)

    def page_of(self, run: str) -> str:
        """The address of a run within MLflow's UI."""
        return f"#/experiments/{self.client.get_run(run).info.experiment_id}/runs/{run}"

    def mark_removed(self, version: Version, when: str) -> Version:
        """Say on a version when its files were removed (an ISO date), or with an empty `when` that they are there."""
        if when:
            self.tag_version(version, {_REMOVED: when})
        else:
            self.client.delete_model_version_tag(version.line, version.version, _REMOVED)
        return replace(version, removed=when)

    def resolve(self, line: str, alias: Alias) -> Version | None:
        """The version that `alias` points at, or None."""
        return self.aliases(line).get(alias)

    def aliases(self, line: str) -> "dict[str, Version]":
        """Every alias of `line` with the version it points at."""
        if self._unmade:
            return {}
        models = self.client.search_registered_models(f"name = '{line}'")
        pointers = cast("dict[str, str]", models[0].aliases) if models else {}  # pyright: ignore[reportUnknownMemberType]
        by_number = {version.version: version for version in self.versions(line)} if pointers else {}
        return {alias: by_number[str(number)] for alias, number in pointers.items() if str(number) in by_number}

    def point(self, alias: Alias, version: Version) -> None:
        """Point `alias` at `version`."""
        self.client.set_registered_model_alias(version.line, alias, version.version)

    def lines(self) -> list[str]:
        """The name of every line in the registry."""
        found = () if self._unmade else _every(self.client.search_registered_models)
        return sorted(str(model.name) for model in found)

    def experiment(self, line: str) -> str:
        """The id of the line's experiment, made if it is not there."""
        if not self._experiment(line):
            _unless_there(lambda: self.client.create_experiment(f"selftaught/{line}", self._artifacts(line)))
        return self._experiment(line)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _experiment(self, line: str) -> str:
        """The id of the line's experiment; empty where there is none. MLflow is asked until there is one."""
        if line not in self._experiments:
            found = self.client.get_experiment_by_name(f"selftaught/{line}")
            if found is None:
                return ""
            self._experiments[line] = str(found.experiment_id)
        return self._experiments[line]

    def _artifacts(self, line: str) -> str | None:
        """Beside a local database; a server decides for itself."""
        return None if self._file is None else (self._file.absolute().parent / "mlartifacts" / line).as_uri()

    def _find(self, line: str, tags: Mapping[str, str]) -> "list[Run]":
        if self._unmade:
            return []
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        experiment = self._experiment(line)
        found = _every(self.client.search_runs, [experiment], query) if experiment else ()
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _parent(self, line: str, campaign: str) -> str:
        """The campaign's run.

        Made for a round's sake it has ended: on a cluster no process continues between rounds.
        """
        there = self._find(line, {"selftaught.campaign": campaign, "selftaught.kind": "campaign"})
        run = self.campaign_run(line, campaign)
        if not there:
            self.client.set_terminated(run, "FINISHED")
        return run

    def _run(self, line: str, name: str, wanted: Mapping[str, str], extra: Mapping[str, str]) -> str:
        with self._alone() as client:
            if not (found := self._find(line, wanted)):
                tags = {"mlflow.runName": name, **wanted, **extra}
                client.create_run(self.experiment(line), tags=tags, run_name=name)
                found = self._find(line, wanted)
            return str(found[0].info.run_id)  # of several by several servers' clients, the first


class _MlflowErrors:
    """A client of MLflow whose server or database may fail: that is raised as Unavailable. Wrong calls stay bugs."""

    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return getattr(self._client, name)(*args, **kwargs)
            except (MlflowException, SQLAlchemyError) as error:
                if getattr(error, "error_code", "") in _BUGS:
                    raise
                raise _silent(self._uri, error) from error

        return call


def _unless_there(make: Callable[[], object]) -> None:
    """Make what has a name; another process may have done so since it was looked for."""
    from mlflow.exceptions import MlflowException

    try:
        make()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _every(search: Callable[..., Any], *wanted: Any) -> Iterator[Any]:
    """Everything that a search of MLflow finds, page by page: what was left out would be taken for missing."""
    token: str | None = None
    while token is None or token:
        page = search(*wanted, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token or ""


def _ping(uri: str) -> None:
    """Raise Unavailable when no server answers within seconds: MLflow's own client tries again for minutes."""
    try:
        _ask(uri)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _silent(uri, error) from None


def _may_heal(error: Exception) -> bool:
    return isinstance(error, httpx.TransportError) and not distrusted(error)


@stamina.retry(on=_may_heal, attempts=3, timeout=10)
def _ask(uri: str) -> None:
    httpx.get(uri, timeout=5, verify=_trusted())  # any answer will do: what it says is for MLflow's client to judge


def _trusted() -> ssl.SSLContext | bool:
    """Whom MLflow's own client trusts, where that is not whom everybody does. Raises BadInput for no such file."""
    getenv = os.environ.get
    if getenv("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return False
    location = next(filter(None, map(getenv, AUTHORITIES)), "")
    try:
        if Path(location or "/nowhere").is_dir():
            return ssl.create_default_context(capath=location)
        return ssl.create_default_context(cafile=location) if location else True
    except OSError as error:
        named = next(name for name in AUTHORITIES if getenv(name))
        raise BadInput(
            f"{named}: {location}: no file of certificates ({error.strerror or error}). Correct it."
        ) from None


def _silent(uri: str, error: Exception) -> Unavailable:
    if why := distrusted(error):
        return Unavailable(
            f"{uri}: the certificate of the tracking server is not accepted ({why}). Name the file of the authority "
            "that signed it in MLFLOW_TRACKING_SERVER_CERT_PATH."
        )
    reason = shorten(str(error).strip().partition("\n")[0], 160, placeholder=" …")
    fix = next((fix for sign, fix in _FIXES.items() if sign in str(error)), "")
    said = f"cannot be used ({reason}). {fix}" if fix else f"does not answer ({reason}). Is MLFLOW_TRACKING_URI right?"
    passes = isinstance(error, httpx.TransportError) or getattr(error, "error_code", "") in _PASSING
    kind = Away if passes and not fix else Unavailable
    return kind(f"{uri}: the tracking server or database {said}")


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
        removed=tags.get(_REMOVED, ""),
    )


def _round_of(line: str, run: "Run") -> RoundRun:
    tags = run.data.tags
    number, attempt = int(tags["selftaught.round"]), int(tags["selftaught.attempt"])
    return RoundRun(
        run=str(run.info.run_id),
        key=RoundKey(line, tags["selftaught.campaign"], number, attempt),
        stage=tags.get("selftaught.stage", ""),
        outcome=tags.get("selftaught.outcome", ""),
        recipe=tags.get("selftaught.recipe", ""),
        began=run.info.start_time / 1000,
        failure=tags.get("selftaught.failure", ""),
    )
