"""The turn of a dialogue that a tool answers: an earlier turn's code is run in the sandbox, never in this process."""

from collections.abc import Iterable, Mapping

from selftaught.core.errors import NoAnswer
from selftaught.sandbox import shared
from selftaught.sandbox.code_blocks import script
from selftaught.sandbox.protocol import Outcome, SandboxFailed
from selftaught.sandbox.scripts import printed, running


async def outputs(texts: Iterable[str]) -> Mapping[str, str]:
    """What the code in each of `texts` printed; equal ones run once.

    Raises NoAnswer where the sandbox failed and not the code, SandboxRefused where this machine cannot hold programs.
    """
    found = await shared.outcomes(texts, lambda text: running(script(text)))
    return {text: _output(outcome) for text, outcome in found.items()}


def _output(outcome: Outcome | SandboxFailed) -> str:
    if isinstance(outcome, SandboxFailed):
        raise NoAnswer(str(outcome))
    return printed(outcome)
