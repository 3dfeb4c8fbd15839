"""What MLflow's own permissions do not keep apart: what users follow, and what MLflow itself may read and write.

MLflow asks for EDIT for writing a version and for moving the alias that users follow alike, who registers a model may
do everything with it, and it opens whatever location an account names with its own credentials. So this module,
MLflow's `authorization_function`, adds to MLflow's checks. It authenticates as MLflow does; then

- nobody but an administrator names MLflow a location: experiments lie where the server puts them, a version's source is
  below the store of the account's team, and files of a version are not served (they are in the store);
- a promoter acts as its steps account, with that account's grants, and is held back by nothing below;
- everybody else but an administrator may move the aliases `challenger` and `head` alone and set others where they are
  not set yet (a new line's first champion), and may not delete or rename a model, delete a version, or change the tag
  that says which weights a version is.

A rule is asked only where MLflow has permitted the request, so it tells nobody anything of what is not theirs.

Each request is preceded by a look at the folder of accounts (accounts.py), which changes in place when a team comes or
goes; who has gone from it is refused at once, whatever is cached. What has to be written, server.py writes.
"""

import json
import os
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import accounts
from accounts import Accounts
from flask import Response, g, make_response, request
from mlflow.exceptions import MlflowException
from mlflow.protos import model_registry_pb2 as registry
from mlflow.protos.service_pb2 import CreateExperiment
from mlflow.server import auth
from mlflow.server.handlers import _get_model_registry_store, _get_request_message, get_endpoints
from werkzeug.datastructures import Authorization

FREE_ALIASES = {"challenger", "head"}
IDENTITY_TAG = "selftaught.digest"
LOCATION_TAGS = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation", "mlflow.trace.spansLocation")
"""Where MLflow looks for the files of a trace."""
VERSION_FILES = re.compile(r"/model-versions/get-artifact/?")
TRACES = re.compile(r"/(ajax-)?api/[0-9.]+/mlflow/traces(/.*)?")

Rule = Callable[[str], str]
"""From the account that asks to the reason why it may not; empty where it may."""


def authorize() -> Authorization | Response:
    """The account that MLflow acts for, or the answer that ends the request."""
    there = FOLLOWED.now()
    given = auth.authenticate_request_basic_auth()
    if isinstance(given, Response):
        return given
    username = str(given.username)
    if FOLLOWED.gone(username):
        return auth.make_basic_auth_response()
    steps = there.promoters.get(username)
    account = given if steps is None else Authorization("basic", {"username": steps, "password": ""})
    if g.get("selftaught_asked"):  # by MLflow's own check, below
        return account
    g.selftaught_asked = True
    if auth.store.get_user(username).is_admin:
        return account
    reasons = (rule(username) for rule in _rules_of_request(steps is not None))
    reason = next(filter(None, reasons), "")
    return make_response(f"Permission denied: {reason}", 403) if reason and _permitted() else account


def _permitted() -> bool:
    """Whether MLflow itself lets the request through; where it does not, it says so in its own words."""
    validator = auth._find_validator(request)
    return validator is None or bool(validator())


def _rules_of_request(promoter: bool) -> list[Rule]:
    where = (request.path, request.method)
    found = [rules().get(where)] if not promoter else []
    return [rule for rule in (*found, locations().get(where), _files, _trace_location) if rule is not None]


class Followed:
    """The folder of accounts as this process has last seen it, and the names that it has seen go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder, _ = accounts.noted(Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]))
        self._seen, self._gone = accounts.read(self._folder), set[str]()

    def now(self) -> Accounts:
        """The accounts as the folder has them now."""
        with self._lock:
            if accounts.changed(self._folder) != self._seen.read:
                self._look()
            return self._seen

    def gone(self, username: str) -> bool:
        """Whether the folder has had the account and has it no more."""
        return username in self._gone

    def _look(self) -> None:
        there = accounts.read(self._folder)
        for username in self._seen.names | there.names:
            auth._invalidate_user_auth_cache(username)
        self._gone = (self._gone | self._seen.names) - there.names
        self._seen = there


FOLLOWED = Followed()


@cache
def rules() -> dict[tuple[str, str], Rule]:
    """What to ask of all but promoters: by path and method, every spelling of a path that MLflow serves."""
    return _served(RULES)


@cache
def locations() -> dict[tuple[str, str], Rule]:
    """The same of everybody: requests that name a location."""
    return _served(LOCATIONS)


def _served(asked: dict[Any, Rule]) -> dict[tuple[str, str], Rule]:
    endpoints = get_endpoints(asked.get)
    # Endpoints of other kinds come with MLflow's own handlers, which must not run here.
    return {(path, method): rule for path, rule, methods in endpoints if rule in asked.values() for method in methods}


def _source(username: str) -> str:
    source = _get_request_message(registry.CreateModelVersion()).source
    store = FOLLOWED.now().stores.get(username, "")
    inside = store and source.startswith(f"{store}/") and not {"..", "."} & set(source.split("/"))
    if inside and not re.search(r"[%?#\\\s]", source):
        return ""
    return f"the files of a version of yours have to be below {store or 'a store, and you have none'}"


def _artifact_location(username: str) -> str:
    asked = _get_request_message(CreateExperiment())
    return "the server decides where an experiment's artifacts are" if asked.artifact_location else ""


def _files(username: str) -> str:
    return "the files of a version are in the store" if VERSION_FILES.fullmatch(request.path) else ""


def _trace_location(username: str) -> str:
    if request.method == "GET" or not TRACES.fullmatch(request.path):
        return ""
    body = json.dumps(request.get_json(force=True, silent=True), ensure_ascii=False)
    return "the server decides where a trace is" if any(f'"{tag}"' in body for tag in LOCATION_TAGS) else ""


def _set_alias(username: str) -> str:
    asked = _get_request_message(registry.SetRegisteredModelAlias())
    if asked.alias in FREE_ALIASES or not _is_set(asked.name, asked.alias):
        return ""
    return f"the alias {asked.alias} of {asked.name} is the promoter's to move"


def _is_set(name: str, alias: str) -> bool:
    try:
        return alias in _get_model_registry_store().get_registered_model(name).aliases
    except MlflowException:
        return True  # there is no such model: nothing that could be set


def _delete_alias(username: str) -> str:
    asked = _get_request_message(registry.DeleteRegisteredModelAlias())
    return "" if asked.alias in FREE_ALIASES else f"the alias {asked.alias} is the promoter's to delete"


def _tag(message: type[Any]) -> Rule:
    def rule(username: str) -> str:
        asked = _get_request_message(message())
        return f"{IDENTITY_TAG} says which weights a version is, and stays" if asked.key == IDENTITY_TAG else ""

    return rule


def _never(username: str) -> str:
    return "models and versions are the promoter's to delete and rename"


RULES: dict[Any, Rule] = {
    registry.SetRegisteredModelAlias: _set_alias,
    registry.DeleteRegisteredModelAlias: _delete_alias,
    registry.SetModelVersionTag: _tag(registry.SetModelVersionTag),
    registry.DeleteModelVersionTag: _tag(registry.DeleteModelVersionTag),
    registry.DeleteRegisteredModel: _never,
    registry.RenameRegisteredModel: _never,
    registry.DeleteModelVersion: _never,
}
LOCATIONS: dict[Any, Rule] = {registry.CreateModelVersion: _source, CreateExperiment: _artifact_location}
