"""vLLM in the trainer's process, as the generator of a live engine: on a GPU that both share, or on the CPU.

Weights are loaded in place before every step, by vLLM's own loader and on the device where they are; what was cached of
the old ones is dropped. Whether it then computes with them is checked by whoever pushes (`require_pushed`). One engine
a process; it has no server and no port, and takes no adapters: a LoRA's weights come merged.
"""
# what comes from vLLM is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selftaught.core.errors import BadInput
from selftaught.serving.engines.engine import OVERRIDES, VLLM_ENVIRONMENT, EngineOptions
from selftaught.serving.engines.precision import on_cpu
from selftaught.serving.engines.transformers_server import Json, Request, Settings, check_request

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Iterable[tuple[str, Tensor]]

SHARE = 0.3
"""Of a GPU's memory, unless the settings say another share: the rest is the trainer's."""
CACHE = 2**29
"""Bytes of the KV cache on a CPU: a step has a few dozen short answers."""


class Colocated:
    """The model in `folder` on vLLM; see `LiveGenerator`. Raises BadInput where vLLM cannot run it."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        os.environ.update({"VLLM_LOGGING_LEVEL": "ERROR"} | VLLM_ENVIRONMENT)
        self.context = options.context
        try:
            self._llm = _engine(folder, options)
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise BadInput(
                f"{folder}: vLLM cannot run it in the trainer's process ({reason}). "
                "Set SELFTAUGHT_LIVE_ENGINE=transformers, or mend that."
            ) from error
        self._stored = stored_names(folder)
        self.tokenizer: Any = self._llm.get_tokenizer()
        self._known = range(self._llm.model_config.get_vocab_size())

    def close(self) -> None:
        """See `LiveGenerator`: its memory, and the process group that vLLM has made."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        cast(Any, cleanup_dist_env_and_memory)()

    def check(self, request: Request) -> None:
        """See `LiveGenerator`."""
        check_request(request, self._known, self.context)

    def taken(self, waiting: Sequence[Request]) -> list[Request]:
        """All: vLLM batches as it can."""
        return list(waiting)

    def drawn(self, batch: Sequence[Request], seed: int) -> list[list[Json]]:
        """See `LiveGenerator`. Each request draws by a seed of its own, whatever vLLM computes it with."""
        seeds = random.Random(seed)
        settings = [_sampling(each.settings, n=each.n, seed=seeds.getrandbits(62)) for each in batch]
        return [
            [self._choice(each) for each in output.outputs]
            for output in self._run([each.prompt for each in batch], settings)
        ]

    def _choice(self, output: Any) -> Json:
        return {
            "text": output.text,
            "token_ids": list(output.token_ids),
            "logprobs": {"tokens": [self.tokenizer.decode([token]) for token in output.token_ids]},
            "finish_reason": output.finish_reason,
            "stop_reason": output.stop_reason if isinstance(output.stop_reason, str) else None,
        }

    def load(self, weights: "Iterable[tuple[str, Tensor]]") -> None:
        """See `LiveGenerator`."""
        named = self._stored(weights)
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": named})
        self._llm.reset_prefix_cache()

    def logprobs(self, token_ids: Sequence[int]) -> Sequence[float]:
        """See `LiveGenerator`."""
        (output,) = self._run([list(token_ids)], [_sampling(max_tokens=1, prompt_logprobs=0)])
        return [row[token].logprob for token, row in zip(token_ids[1:], output.prompt_logprobs[1:], strict=True)]

    def next_logprobs(self, prompts: Sequence[list[int]], tokens: Sequence[int]) -> list[list[float]]:
        """See `LiveGenerator`."""
        asked = [_sampling(max_tokens=1, logprob_token_ids=list(tokens))] * len(prompts)
        found = [output.outputs[0].logprobs[0] for output in self._run(prompts, asked)]
        return [[row[token].logprob for token in tokens] for row in found]

    def _run(self, prompts: Iterable[Sequence[int]], settings: Sequence[Any]) -> list[Any]:
        given = [{"prompt_token_ids": list(ids)} for ids in prompts]
        return self._llm.generate(cast(Any, given), settings, use_tqdm=False)


def stored_names(folder: Path) -> "Callable[[Weights], Weights]":
    """What gives weights the names that they have in `folder`, by which vLLM loads: transformers has its own for some.

    The language model in one that also reads images, and experts, which transformers keeps in one tensor.
    """
    from transformers import AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    options = {"device_map": "meta", "local_files_only": True}  # no weights: it knows what it was converted from
    model = cast(Any, AutoModelForCausalLM).from_pretrained(folder, **options)

    def stored(weights: "Weights") -> "Weights":
        for name, weight in weights:
            yield from revert_weight_conversion(model, {name: weight.detach()}).items()

    return stored


def _engine(folder: Path, options: EngineOptions) -> Any:
    import torch
    from vllm import LLM
    from vllm.platforms import current_platform

    set_num_threads = torch.set_num_threads
    shares = "TORCHELASTIC_RUN_ID" in os.environ  # torchrun's processes, each with an engine of its own
    memory, dtype = {"kv_cache_memory_bytes": CACHE}, on_cpu(options.dtype)
    if not current_platform.is_cpu():
        memory, dtype = {"gpu_memory_utilization": options.memory_share or SHARE}, options.dtype
    try:
        with _bound_proxies():
            return cast(Any, LLM)(
                model=str(folder),
                dtype=dtype,
                max_model_len=options.context,
                max_num_seqs=options.sequences,
                enforce_eager=options.eager,
                override_generation_config=OVERRIDES,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                distributed_executor_backend="external_launcher" if shares else None,
                **memory,
            )
    finally:
        torch.set_num_threads = set_num_threads  # vLLM's worker takes it from the trainer, too


def _bound_proxies() -> AbstractContextManager[object]:
    """On a CPU vLLM looks at every value of every module, and Flask's proxies (MLflow's) raise outside of a request."""
    flask: Any = sys.modules.get("flask")
    return flask.Flask(__name__).test_request_context() if flask else nullcontext()


def _sampling(settings: Settings | None = None, **more: Any) -> Any:
    """What a request asks for, in vLLM's words."""
    from vllm import SamplingParams

    if settings is None:
        return SamplingParams(temperature=0.0, **more)
    return SamplingParams(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        max_tokens=settings.max_tokens,
        stop=list(settings.stop),
        include_stop_str_in_output=settings.keep_stop,
        **more,
    )
