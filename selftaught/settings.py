"""Settings: one frozen object, shared by components and the command line.

Each setting comes from its environment variable, else from the profile's table in `selftaught.toml` (the project
folder's, see `selftaught.core.project`, or the file that SELFTAUGHT_CONFIG names), else it is the default. It says
nothing of the method that is run; that is the recipe's. No secret belongs here: credentials are environment variables,
as AWS and MLflow name them.

    [profiles.cluster]
    store = "s3://models/selftaught"
    tracking_uri = "https://mlflow.example.com"
    serving = "kserve"
    namespace = "team-a"
    environment = { AWS_ENDPOINT_URL_S3 = "https://s3.example.com", AWS_REGION = "eu-central-1" }
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from selftaught.core.errors import BadInput, did_you_mean
from selftaught.core.project import CONFIG, HOME, project_folder

SETTABLE = re.compile(
    r"AWS_[A-Z0-9_]+|MLFLOW_(TRACKING|HTTP|S3|WORKSPACE)(_[A-Z0-9_]+)?|(?i:http|https|all|no)_(?i:proxy)"
    r"|HF_(TOKEN|HUB_OFFLINE|HUB_DISABLE_[A-Z_]+|HUB_[A-Z_]+_TIMEOUT)"
)
"""The variables that a profile may set: addresses and credentials of the project's own servers.

None with which a folder of someone else's would have code loaded (MLFLOW_* has commands and plug-ins, HF_* a folder of
modules), or lead what everybody fetches elsewhere, with the token that the shell holds: another hub, other folders that
it is cached in, other authorities to trust for all servers."""
RUNS_COMMANDS = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_DATA_PATH"}
"""Files in which `credential_process` is a command, and descriptions of services."""


def _split(value: object) -> object:
    return [word for word in value.split(",") if word] if isinstance(value, str) else value


def _rising(steps: tuple[int, ...]) -> tuple[int, ...]:
    if list(steps) != sorted(set(steps)):
        raise PydanticCustomError("rising", "each step has to be more than the one before")
    return steps


def _place(value: str) -> str:
    """`~` is this user's folder as in a shell, which expands it neither in a file nor in quotes."""
    return os.path.expanduser(value)  # noqa: PTH111 (Path's own raises for a user who is not there)


def _way(value: str) -> str:
    if value not in ("name", "address") and not value.startswith(("http://", "https://")):
        raise PydanticCustomError("reach", "it is 'name', 'address', or the URL of a `kubectl proxy`")
    return value.rstrip("/")


Reach = Annotated[str, AfterValidator(_way)]
Share = Annotated[int, Field(gt=0, lt=100)]
"""Per cent of the requests, neither none nor all."""
Steps = Annotated[tuple[Share, ...], Field(min_length=1), AfterValidator(_rising), BeforeValidator(_split)]

Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Reports = Annotated[tuple[Literal["tensorboard", "wandb"], ...], BeforeValidator(_split)]


class Settings(BaseModel):
    """Locations, all under `home` unless configured otherwise, and how models are served."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    home: Path
    store: Annotated[str, Field(min_length=1), AfterValidator(_place)]
    """A directory, or `s3://bucket/prefix` (credentials and endpoint from the AWS_* environment variables)."""
    tracking_uri: Annotated[str, Field(min_length=1)]
    patience: NonNegativeFloat = 600.0
    """Seconds that a step waits for a store, a tracking server, a cluster or an engine that is away, each time."""
    engines: str = ""
    """Address of the engine owner (a Unix socket's path) that components ask for endpoints; empty outside a run."""
    events: str = ""
    """File that steps append their progress to; empty: progress is not kept."""
    sandbox_url: Annotated[str, Field(pattern=r"^(https?://[^/\s]+)?$")] = ""
    """URL of the sandbox server whose pods run programs that models wrote; empty: this machine runs them."""
    serving: Literal["local", "kserve"] = "local"
    """Engines on this machine, or InferenceServices in `namespace`."""
    route: Literal["service", "gateway", "git"] = "service"
    """How users of a line are led to its champion on a cluster: the platform moves a Service, shares the requests of a
    gateway out by steps, or pushes a commit."""
    gateway: Annotated[str, Field(pattern="^([a-z0-9.-]+/[a-z0-9.-]+)?$", validate_default=True)] = ""
    """The Gateway that takes the HTTPRoutes: `namespace/name`."""
    gateway_url: Annotated[str, Field(pattern=r"^(https?://[^/\s]+)?$", validate_default=True)] = ""
    """Where that gateway answers from here, such as its Service in the cluster: it is asked for a line's host name."""
    domain: Annotated[str, Field(validate_default=True)] = ""
    """Users ask a gateway for `<line>.<domain>`."""
    canary_steps: Steps = (5, 25, 50)
    """Per cent of the requests that a new version gets, one step after the other, before it is champion."""
    canary_seconds: PositiveFloat = 60.0
    """Seconds of each step, at least."""
    canary_answers: PositiveInt = 200
    """Answers that it takes to tell whether a new version serves users as the champion does."""
    canary_patience: NonNegativeFloat = 7200.0
    """Seconds that all steps together may take beyond their own, until there are so many answers and they tell."""
    canary_promote_unseen: bool = False
    """Whether a version that too few have asked by then is promoted all the same."""
    canary_max_errors: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """How far a new version's share of errors may be above the champion's."""
    git_url: str = ""
    """`https://host/path` of the repository that the commits go to, without GIT_USERNAME and GIT_PASSWORD."""
    git_branch: str = "main"
    git_path: str = ""
    """The folder of the repository that holds `lines/`; empty: its root."""
    git_author: Annotated[str, Field(pattern=r"^[^<>\n]+ <[^<>\s]+>$")] = "Selftaught <selftaught@localhost>"
    follow_within: PositiveFloat = 900.0
    """Seconds that the cluster may take to follow a commit."""
    namespace: str = "selftaught"
    runtime: str = "selftaught-vllm-cpu"
    """The ServingRuntime of engines."""
    engine_account: str = "selftaught-engine"
    """The service account of engines: it has the store's credentials."""
    ready_within: PositiveFloat = 900.0
    """Seconds that an InferenceService may take to come up."""
    replicas: PositiveInt = 1
    """Servers of a version; the fewest of them, where KEDA scales (`selftaught.serving.kserve.scaling`)."""
    max_replicas: NonNegativeInt = 0
    """Above `replicas`: KEDA scales a version, up to so many servers."""
    requests_per_replica: PositiveInt = 64
    """Requests that a server holds, answered and waiting, before KEDA adds another."""
    prometheus: Annotated[str, Field(validate_default=True)] = ""
    """URL of the Prometheus that scrapes the engines, where KEDA scales."""
    termination_grace: PositiveInt = 60
    """Seconds that a terminating engine may take to answer what it was asked."""
    grace: PositiveFloat = 600.0
    """Seconds that a version which is not pointed at any more is still served."""
    one_engine: bool = False
    """Whether there is room for one engine alone: whatever is to be served, what was served stops first."""
    reach: Reach = "name"
    """How Services are reached: by `name` in the cluster; from outside by `address` where those are routed here, else
    through a `kubectl proxy`, by its URL (`http://localhost:8001`)."""
    engine_context: PositiveInt = 1024
    """Tokens of the longest prompt and answer together that an engine takes; on a cluster its runtime says what it is
    (`maxModelLen` of the chart's values)."""
    engine_dtype: Annotated[str, Field(pattern="^(auto|bfloat16|float16|float32)$")] = "auto"
    """What engines on this machine compute in; `auto` is what the model is stored in, but float32 on a CPU that
    emulates 16 bits."""
    engine_tensor_parallel: PositiveInt = 1
    """GPUs that share one engine on this machine."""
    engine_memory_share: Annotated[float, Field(ge=0, le=1)] = 0
    """The part of a GPU's memory that an engine on this machine may take; 0 is vLLM's own default."""
    engine_eager: bool = True
    """Whether engines on this machine run as they are; false compiles, which pays for large models on GPUs."""
    live_engine: Annotated[str, Field(pattern="^(auto|vllm|transformers)$")] = "auto"
    """What an online stage samples with in the trainer's process; `auto` is vLLM where it is installed."""
    train_processes: PositiveInt = 1
    """Processes that share a training on this machine; as many as it has GPUs."""
    train_nodes: PositiveInt = 1
    """Nodes that share a training, as a TrainJob of Kubeflow Trainer in `namespace`."""
    train_node_processes: PositiveInt = 1
    """Processes on each of them; as many as it has GPUs."""
    report_to: Reports = ()
    """Where the curve of a training is shown beside MLflow, on this machine: `tensorboard`, `wandb`, both."""
    kfp: str = ""
    """URL of the Kubeflow Pipelines API."""
    kfp_namespace: str = ""
    """The profile in which runs are made, where Kubeflow Pipelines has many users; empty where it has one."""
    image_steps: str = ""
    """What the image `steps` is called on the cluster, by digest; what the pipeline was compiled with unless given."""
    image_trainer: str = ""
    image_engine: str = ""
    """What the runtime's engines are on the cluster: scores that one image gave are not another's."""
    pull_secrets: Names = ()
    """The Secrets that the pipeline's images are pulled with, where its tasks run."""

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises BadInput for a value, a key or a profile that is wrong."""
        profile, location = _profile()
        for name, value in _table(profile.pop("environment", {}), f"{location}.environment").items():
            _refuse_code(name, f"{location}.environment.{name}")
            os.environ.setdefault(name, _word(value, f"{location}.environment.{name}"))
        for field in cls.model_fields:
            if (setting := os.environ.get(variable(field))) is not None:
                profile[field] = setting
        named = _word(profile.get("home", ""), f"{variable('home')} (or {location}.home)")
        home = Path(_place(named) or project_folder() / HOME).resolve()
        defaults = {"store": str(home / "store"), "tracking_uri": database_url(home / "mlflow.db")}
        try:
            return cls.model_validate({**defaults, **profile, "home": home})
        except ValidationError as error:
            raise BadInput(_mistake(error, location, list(cls.model_fields))) from None

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise PydanticCustomError("truth", "it is true or false; put another value there")
        return value

    @field_validator("prometheus")
    @classmethod
    def _can_scale(cls, prometheus: str, info: ValidationInfo) -> str:
        if not prometheus and info.data.get("max_replicas", 0) > info.data.get("replicas", 1):
            raise PydanticCustomError(
                "prometheus", "max_replicas is above replicas: give the URL of the Prometheus that scrapes the engines"
            )
        return prometheus

    @field_validator("gateway", "gateway_url", "domain")
    @classmethod
    def _can_share_out(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("route") == "gateway":
            raise PydanticCustomError("gateway", "route 'gateway' needs it")
        return value

    @field_validator("one_engine")
    @classmethod
    def _has_room_for_its_route(cls, one_engine: bool, info: ValidationInfo) -> bool:
        if one_engine and info.data.get("route") == "gateway":
            raise PydanticCustomError("one_engine", "route 'gateway' needs room for two: set route to 'service'")
        if one_engine and info.data.get("route") == "git":
            raise PydanticCustomError(
                "one_engine", "with route 'git' the controller starts again what stopped: set route to 'service'"
            )
        return one_engine

    @property
    def images(self) -> dict[str, str]:
        """What the pipeline's images are called, those that the settings name."""
        named = {"steps": self.image_steps, "trainer": self.image_trainer}
        return {name: image for name, image in named.items() if image}

    def environment(self) -> dict[str, str]:
        """The variables that tell another process these settings."""
        return {variable(name): _text(value) for name, value in self if _text(value)}


def database_url(file: Path) -> str:
    """The URL of the SQLite database in `file`, whatever characters the path has.

    A path that needs quoting names the driver too: of a plain `sqlite:///` MLflow takes the quoted text for a folder,
    and makes that.
    """
    path = str(file.absolute())
    quoted = path.replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}" if quoted == path else f"sqlite+pysqlite:///{quoted}"


def _refuse_code(name: str, location: str) -> None:
    """Raise BadInput for what is not `SETTABLE`: the file may be a folder's that someone else has filled."""
    if not SETTABLE.fullmatch(name) or name in RUNS_COMMANDS:
        raise BadInput(
            f"{location}: a variable that a file of settings may not set: such load code, or lead downloads and tokens "
            "elsewhere. Export it in your shell.\n  accepted: AWS_*, MLFLOW_TRACKING_*, MLFLOW_HTTP_*, MLFLOW_S3_*, "
            "MLFLOW_WORKSPACE, HF_TOKEN, HF_HUB_OFFLINE, HF_HUB_DISABLE_*, proxies"
        )


def _text(value: object) -> str:
    return ",".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return "MLFLOW_TRACKING_URI" if field == "tracking_uri" else f"SELFTAUGHT_{field.upper()}"


def _profile() -> tuple[dict[str, Any], str]:
    """The table of the profile that SELFTAUGHT_PROFILE names, and where it stands; `local` need not be there."""
    name, path = os.environ.get("SELFTAUGHT_PROFILE", "local"), _file()
    tables = _table(_contents(path).get("profiles", {}), f"{path}: profiles")
    if name not in tables and name != "local":
        _require_described(name, tables, path)
    location = f"{path}: profiles.{name}"
    return _anchored(_table(tables.get(name, {}), location), path), location


def _require_described(name: str, tables: Mapping[str, Any], path: Path) -> None:
    """Raise BadInput where nothing says what the profile `name` is; in a pod, variables do."""
    if path.exists():
        raise BadInput(f"{path}: no profile '{name}'.{did_you_mean(name, tables)}\n  accepted: {', '.join(tables)}")
    if "SELFTAUGHT_STORE" not in os.environ:
        raise BadInput(
            f"SELFTAUGHT_PROFILE: no profile '{name}': there is no {path}. Run the command in a folder that has one or "
            "below it, name the file in SELFTAUGHT_CONFIG, or unset the variable."
        )


def _file() -> Path:
    """The file of settings: relative where it is the working folder's."""
    if named := os.environ.get("SELFTAUGHT_CONFIG"):
        return Path(named)
    folder = project_folder()
    return Path(CONFIG) if folder == Path.cwd() else folder / CONFIG


def _anchored(profile: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """`profile`, its folders found from that of its file: a command below it means the same ones."""
    folders = {
        key: str(file.parent / _place(folder))
        for key in ("home", "store")
        if isinstance(folder := profile.get(key), str) and "://" not in folder
    }
    return {**profile, **folders}


def _contents(path: Path) -> dict[str, Any]:
    """What the file at `path` says; nothing where there is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if os.environ.get("SELFTAUGHT_CONFIG"):
            raise BadInput(f"SELFTAUGHT_CONFIG: {path}: no such file. Name one, or unset the variable.") from None
        return {}
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number or a nesting that Python refuses
        raise BadInput(f"{path}: not valid TOML ({error}).") from None


def _table(value: object, location: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{location}: {value!r}: should be a table, `[...]` or `{{ name = value }}`.")
    return cast("dict[str, Any]", value)


def _word(value: object, location: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise BadInput(f"{location}: {value!r}: should be text. Quote it.")
    return value


def _mistake(error: ValidationError, location: str, fields: list[str]) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0])
    if field not in fields:
        return f"{location}.{field}: no such setting.{did_you_mean(field, fields)}\n  accepted: {', '.join(fields)}"
    return f"{variable(field)} (or {location}.{field}): '{first['input']}': {first['msg']}."
