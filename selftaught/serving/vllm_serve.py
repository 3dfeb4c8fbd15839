"""vLLM's OpenAI-compatible server as the engines run it: `python -m selftaught.serving.vllm_serve ARGUMENTS`.

Takes vLLM's own arguments and is vLLM's own server, but for one thing: on a CPU, vLLM starts its engine process afresh,
which imports everything a second time, half of a small model's start-up. Forked from the server it has it all.
"""

import importlib
import multiprocessing
import runpy
import sys
from contextlib import suppress

SERVER = "vllm.entrypoints.openai.api_server"
USED = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
)


def main(arguments: list[str]) -> None:
    """Serve until stopped."""
    prepare()
    sys.argv = ["vllm", *arguments]
    runpy.run_module(SERVER, run_name="__main__")


def prepare() -> None:
    """Import what the server and its engine process use, so that forks need not; a second call costs nothing.

    What cannot be imported is no error here: the server will miss it too, and tell it.
    """
    with suppress(ImportError):
        for module in USED:
            importlib.import_module(module)
        from vllm.platforms import current_platform
        from vllm.v1.engine import utils

        if current_platform.is_cpu():
            fork = multiprocessing.get_context("fork")
            utils.get_mp_context = lambda: fork  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]


if __name__ == "__main__":
    main(sys.argv[1:])
