"""MLflow answers under its Service's name, refuses wrong passwords, and keeps aliases from the steps account."""

import os

import httpx

uri = f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow"
name, password = os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]
search, alias = f"{uri}/experiments/search", f"{uri}/registered-models/alias"
champion = {"name": "no-such-line", "alias": "champion", "version": "1"}


def status(url: str, body: dict, auth: tuple[str, str] | None) -> int:
    """What the server answers."""
    return httpx.post(url, json=body, auth=auth, timeout=30, trust_env=False).status_code


for expected, what, got in (
    (200, "the steps account reads", status(search, {"max_results": 1}, (name, password))),
    (401, "a wrong password", status(search, {"max_results": 1}, (name, "not-the-password"))),
    (401, "no password", status(search, {"max_results": 1}, None)),
    (403, "the steps account moves an alias", status(alias, champion, (name, password))),
):
    print(f"{what}: {got}")
    assert got == expected, f"{what}: {got}, not {expected}"
