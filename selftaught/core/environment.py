"""The environment of a child process: this one's, without credentials that it does not need.

An engine reads a folder and answers on loopback, the MLflow UI reads a database: neither talks to S3, a hub or git.
Steps of a round do, and are given everything.
"""

import os
import re

SPIN = {"GOMP_SPINCOUNT": "1000"}
"""OpenMP's threads wait for one another by spinning, and for milliseconds while the machine does anything else: two
engines on two cores gave 39 new tokens/s together, and 290 with a short spin. One that had the machine to itself, at
128 sequences of 48 tokens, gave 1,058 and 1,079 with it, 1,091 and 1,141 without."""

_SERVERS = ("AWS_", "MLFLOW_TRACKING_", "GIT_", "KUBECONFIG", "SELFTAUGHT_WEBHOOK")
_SECRET = re.compile(r"(^|_)(API_?KEY|ACCESS_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS?|AUTH)(_|$)", re.IGNORECASE)


def inherited() -> dict[str, str]:
    """The variables of this process, but that bytecode may be written: big imports take twice as long without.

    And threads spin shortly, unless the user says how long (`SPIN`).
    """
    return SPIN | {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def without_secrets() -> dict[str, str]:
    """What is `inherited` without addresses and credentials of servers, and without what is called a secret."""
    kept = inherited()
    return {name: value for name, value in kept.items() if not name.startswith(_SERVERS) and not _SECRET.search(name)}
