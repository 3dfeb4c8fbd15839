"""The Hugging Face hub: whether it answers, found out within seconds and reported once.

`datasets` asks a hub that is out of reach for half a minute, a line on the terminal for every try. What is fetched, and
how, is the business of whoever fetches.
"""

from typing import Any

import stamina

WITHIN = 5.0
"""Seconds for an answer; a second try has as long."""


def http_error() -> type[Exception]:
    """What the hub's library raises where a connection fails; of which HTTP library that is depends on its version."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


def silence() -> str:
    """Why the hub does not answer. Empty where it does, and where it is not to be asked (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return ""
    try:
        status = stamina.retry(on=http_error(), attempts=2, timeout=3 * WITHIN)(_status)(get_session())
    except http_error() as error:
        return f"{constants.ENDPOINT}: {error}"
    return f"{constants.ENDPOINT}: status {status}" if status >= 500 else ""


def _status(session: Any) -> int:
    from huggingface_hub import constants

    return int(session.head(constants.ENDPOINT, timeout=WITHIN).status_code)
