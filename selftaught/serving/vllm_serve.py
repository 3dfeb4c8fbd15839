"""vLLM's OpenAI-compatible server as the engines run it: `python -m selftaught.serving.vllm_serve ARGUMENTS`.

Takes vLLM's own arguments and is vLLM's own server, but for two things. On a CPU, vLLM starts its engine process
afresh, which imports everything a second time, half of a small model's start-up; forked from the server it has it all.
And while vLLM is imported, the files are compared with the digest that the engine is named by
(SELFTAUGHT_MODEL_DIGEST).
"""

import argparse
import importlib
import multiprocessing
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from selftaught.weights import prove_loaded

SERVER = "vllm.entrypoints.openai.api_server"
USED = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
)


def main(arguments: list[str]) -> None:
    """Serve until stopped. Raises StoreError when the files are another model's than the engine is named by."""
    model = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    model.add_argument("--model", default="")
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(prove_loaded, model.parse_known_args(arguments)[0].model)
        prepare()
        proof.result()
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
