"""The authorities that connections trust: httpx's own, read once a process.

Reading them takes 20 ms, which every client would do again, also one that asks a single question of this machine.
"""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """The authorities that httpx trusts, whatever the environment says."""
    return httpx.create_ssl_context(trust_env=False)
