"""Programs and outcomes as JSON has them: what a worker reads and writes, and a sandbox server too.

Bytes are base64. What comes from a server or a worker is read as it is: both are the platform's own.
"""

import base64
from collections.abc import Mapping
from typing import Any

from selftaught.sandbox.protocol import Limits, Outcome, Program, Termination


def request(program: Program) -> dict[str, Any]:
    """What is asked of a worker or a server."""
    return {
        "source": program.source,
        "stdin": _text(program.stdin),
        "args": program.args,
        "files": {name: _text(data) for name, data in program.files.items()},
        "limits": {name: getattr(program.limits, name) for name in Limits.__slots__},
    }


def program(asked: Mapping[str, Any]) -> Program:
    """What `request` was made of. Raises BadInput as a Program does, KeyError, TypeError or ValueError for another."""
    return Program(
        asked["source"],
        base64.b64decode(asked["stdin"]),
        tuple(asked["args"]),
        {name: base64.b64decode(data) for name, data in asked["files"].items()},
        Limits(**asked["limits"]),
    )


def answer(outcome: Outcome) -> dict[str, Any]:
    """What a server says of a program that has ended."""
    outputs = (outcome.stdout, outcome.stderr, outcome.results)
    return {
        "ended": outcome.ended,
        "exit": outcome.exit,
        "signal": outcome.signal,
        "outputs": [_text(each) for each in outputs],
        "cpu_s": outcome.cpu_s,
        "wall_s": outcome.wall_s,
    }


def outcome(said: Mapping[str, Any]) -> Outcome:
    """What a worker's or a server's answer says."""
    stdout, stderr, results = map(base64.b64decode, said["outputs"])
    ended = Termination(said["ended"])
    return Outcome(
        ended, said["exit"], said["signal"], stdout, stderr, results, cpu_s=said["cpu_s"], wall_s=said["wall_s"]
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
