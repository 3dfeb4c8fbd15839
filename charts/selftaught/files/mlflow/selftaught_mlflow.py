"""What MLflow's own permissions cannot tell apart: writing a model version and moving the alias that users follow.

MLflow asks for EDIT for both, and who registers a model may do everything with it. So this module, MLflow's
`authorization_function`, stands before MLflow's checks. It authenticates as MLflow does; then

- a promoter goes on as its steps account, with that account's grants, and is held back by nothing below;
- everybody else but an administrator may move the aliases `challenger` and `head` alone and set others where they are
  not set yet (a new line's first champion), and may not delete or rename a model, delete a version, or change the tag
  that says which weights a version is.

It guards the model registry alone: who may write runs and experiments is MLflow's business.
"""

import configparser
import json
import os
from collections.abc import Callable
from functools import cache
from typing import Any

from flask import Response, make_response, request
from mlflow.exceptions import MlflowException
from mlflow.protos import model_registry_pb2 as registry
from mlflow.server import auth
from mlflow.server.handlers import _get_model_registry_store, _get_request_message, get_endpoints
from werkzeug.datastructures import Authorization

FREE_ALIASES = {"challenger", "head"}
IDENTITY_TAG = "selftaught.digest"


def authorize() -> Authorization | Response:
    """The account that MLflow goes on with, or the answer that ends the request."""
    given = auth.authenticate_request_basic_auth()
    if isinstance(given, Response):
        return given
    username = str(given.username)
    if username in promoters():
        return Authorization("basic", {"username": promoters()[username], "password": ""})
    rule = rules().get((request.path, request.method))
    reason = "" if rule is None or auth.store.get_user(username).is_admin else rule()
    return make_response(f"Permission denied: {reason}", 403) if reason else given


@cache
def promoters() -> dict[str, str]:
    """Each promoter with the steps account whose grants it takes."""
    config = configparser.ConfigParser()
    config.read(os.environ["MLFLOW_AUTH_CONFIG_PATH"])
    return json.loads(config["selftaught"]["promoters"])


@cache
def rules() -> dict[tuple[str, str], Callable[[], str]]:
    """What to ask before a request is let through: by path and method, every spelling of a path that MLflow serves."""
    endpoints = get_endpoints(RULES.get)
    return {(path, method): rule for path, rule, methods in endpoints if rule for method in methods}


def _set_alias() -> str:
    asked = _get_request_message(registry.SetRegisteredModelAlias())
    if asked.alias in FREE_ALIASES or not _is_set(asked.name, asked.alias):
        return ""
    return f"the alias {asked.alias} of {asked.name} is the promoter's to move"


def _is_set(name: str, alias: str) -> bool:
    try:
        return alias in _get_model_registry_store().get_registered_model(name).aliases
    except MlflowException:
        return True  # there is no such model: nothing that could be set


def _delete_alias() -> str:
    asked = _get_request_message(registry.DeleteRegisteredModelAlias())
    return "" if asked.alias in FREE_ALIASES else f"the alias {asked.alias} is the promoter's to delete"


def _tag(message: type[Any]) -> Callable[[], str]:
    def rule() -> str:
        asked = _get_request_message(message())
        return f"{IDENTITY_TAG} says which weights a version is, and stays" if asked.key == IDENTITY_TAG else ""

    return rule


def _never() -> str:
    return "models and versions are the promoter's to delete and rename"


RULES: dict[Any, Callable[[], str]] = {
    registry.SetRegisteredModelAlias: _set_alias,
    registry.DeleteRegisteredModelAlias: _delete_alias,
    registry.SetModelVersionTag: _tag(registry.SetModelVersionTag),
    registry.DeleteModelVersionTag: _tag(registry.DeleteModelVersionTag),
    registry.DeleteRegisteredModel: _never,
    registry.RenameRegisteredModel: _never,
    registry.DeleteModelVersion: _never,
}
