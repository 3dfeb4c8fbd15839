"""vLLM's OpenAI-compatible server as the engines run it: `python -m selftaught.serving.engines.vllm_server ARGUMENTS`.

Takes vLLM's own arguments and is vLLM's own server, but for four things. On a CPU, vLLM starts its engine process
afresh, which imports everything a second time, half of a small model's start-up; forked from the server it has it all.
On a CPU that emulates bfloat16, `--dtype auto` is float32 (`selftaught.serving.engines.precision`).
While vLLM is imported, the files are compared with the digest that the engine is named by (SELFTAUGHT_MODEL_DIGEST).
And of a process reward model it tells the scores of all tokens: vLLM's default is those at token 151651 alone, the tag
of Qwen2.5-Math-PRM, whatever the model's tokenizer makes of it.
"""

import argparse
import importlib
import json
import multiprocessing
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from selftaught.serving.engines.precision import on_cpu
from selftaught.state.weights import is_process_reward, prove_loaded

SERVER = "vllm.entrypoints.openai.api_server"
USED = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.core",
    "vllm.v1.worker.cpu_worker",
)


def main(arguments: list[str]) -> None:
    """Serve until stopped. Raises StoreError when the files are another model's than the engine is named by."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model", default="")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_known_args(arguments)[0]
    model = Path(options.model)
    with ThreadPoolExecutor(1) as pool:
        proof = pool.submit(prove_loaded, model)
        prepare()
        proof.result()
    sys.argv = ["vllm", *arguments, *_dtype(options.dtype), *_scores(model)]
    runpy.run_module(SERVER, run_name="__main__")


def _dtype(dtype: str) -> list[str]:
    """What replaces `--dtype`, of which vLLM takes the last; nothing where that stays."""
    if (computed := on_cpu(dtype)) == dtype:
        return []
    from vllm.platforms import current_platform

    return ["--dtype", computed] if current_platform.is_cpu() else []


def _scores(model: Path) -> list[str]:
    """What makes vLLM tell the scores of all tokens; nothing for a model that has none."""
    config = model / "config.json"
    if not config.is_file() or not is_process_reward(json.loads(config.read_bytes())):
        return []
    return ["--pooler-config", json.dumps({"tok_pooling_type": "ALL"})]


def prepare() -> None:
    """Import what the server and its engine process use, so that forks need not; a second call costs nothing.

    What cannot be imported is not an error here: the server will miss it too, and tell it.
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
