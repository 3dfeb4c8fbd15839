"""Why a server's certificate was refused, in whatever error a client library has wrapped that.

A server that is not trusted is not away: waiting changes nothing, and what fixes it is the name of its authority. A
handshake that breaks off is another matter, and passes.
"""

import ssl


def distrusted(error: BaseException) -> str:
    """The words of TLS on a certificate that was not accepted; empty where an error is of another kind."""
    seen, open_ones = set[int](), [error]
    while open_ones:
        each = open_ones.pop()
        if isinstance(each, ssl.SSLCertVerificationError):
            return getattr(each, "verify_message", "") or str(each)  # aiohttp derives an error without it
        if id(each) not in seen:
            seen.add(id(each))
            inside = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
            open_ones += [one for one in inside if isinstance(one, BaseException)]
    return ""
