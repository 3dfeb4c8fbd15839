"""Which version answers at an address, according to the server itself, over a new connection each time.

The Kubernetes API knows the desired state, not who answers: one connection was seen refused right after the first
Ready.
"""

import time

import httpx

from selftaught.core.authorities import trusted
from selftaught.core.errors import Away, WrongModel
from selftaught.serving.backend import Served

IN_A_ROW = 5
"""How often the server has to name its version."""
_PAUSE = 0.2


def names(url: str, host: str = "") -> list[str]:
    """The names that the server at `url` (ends in `/v1`) says it serves; none while it does not answer.

    A gateway, which leads on by name, is asked for `host`.
    """
    headers = {"Host": host} if host else None
    try:
        asked = httpx.get(f"{url}/models", headers=headers, timeout=5, trust_env=False, verify=trusted())
        listed = asked.raise_for_status().json()
    except httpx.HTTPError:
        return []
    return [model["id"] for model in listed["data"]]


def wait_until_answers(served: Served, within: float = 60.0) -> None:
    """Wait until the server names its version several times in a row.

    Raises WrongModel when it names others, Away after `within` seconds.
    """
    until, row = time.monotonic() + within, 0
    while row < IN_A_ROW:
        served_names = names(served.url)
        if served_names and served.name not in served_names:
            raise WrongModel(f"{served.url} serves {', '.join(served_names)}, not {served.name}. Delete it.")
        row = row + 1 if served_names else 0
        if not served_names and time.monotonic() > until:
            raise Away(
                f"{served.url}: {served.name} is rolled out but does not answer. See its pods' logs; outside the "
                "cluster, set SELFTAUGHT_REACH."
            )
        time.sleep(_PAUSE)


def wait_until_leads(url: str, name: str, within: float, host: str = "") -> bool:
    """Whether new connections to `url` come to the version `name`, several in a row, within as many seconds."""
    until, row = time.monotonic() + within, 0
    while row < IN_A_ROW:
        row = row + 1 if name in names(url, host) else 0
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True
