"""Are the served weights the trained ones? Log-probabilities (of a value model: values, of a process reward model:
probabilities of its classes) of fixed prompts, the engine's against the trainer's.

A served name proves which folder an engine was started with; this proves what it computes with. It tells weights
apart, not engines: bf16 kernels differ in the last bits, so the mean difference is compared with a tolerance that was
measured to lie above that noise and below a few steps of training. Weights that differ less are distinguished only by
digest.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from selftaught.core.errors import BadInput, WrongModel
from selftaught.inference.endpoint import Endpoint, softmax
from selftaught.serving.backend import Served
from selftaught.serving.engines.precision import on_cpu
from selftaught.serving.process_reward import classes_of, loader
from selftaught.state.weights import PROCESS_REWARDS, is_process_reward

TOLERANCE = 0.08
"""Mean absolute difference in nats. SmolLM2-135M in bf16, vLLM against transformers: 0.041 with the same weights
(0.036 between bf16 and fp32 in transformers alone), 0.093 after two steps of SFT at 5e-5, 0.227 after six, 0.110 with
1 % of noise on every weight. Two steps at 1e-5 (0.043) stay hidden in the rounding: the digest has to tell those."""
PROMPTS = (
    "Question: Tom has 17 apples and buys 25 more. How many apples does Tom have now?\nAnswer: 17 + 25 = 42.",
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Each of 6 boxes holds 12 pencils, so there are 6 * 12 = 72 pencils in all. The answer is 72.",
    "def add(a, b):\n    return a + b\n",
)
"""Words, arithmetic and code: short, and none of them a task."""


class Scored(BaseModel):
    """One prompt: its token ids, and the log-probability (nats) of each but the first, or what a value model gives.

    Of a process reward model it is the probability of each class at the last token.
    """

    model_config = ConfigDict(frozen=True)

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    value: float | None = None
    classes: tuple[float, ...] = ()


class Reference(BaseModel):
    """The trainer's own log-probabilities. Keep it beside the model as JSON (`model_dump_json`)."""

    model_config = ConfigDict(frozen=True)

    prompts: tuple[Scored, ...]

    @property
    def finite(self) -> bool:
        """Whether it is made of numbers: of weights that are none, it is not."""
        said = (number for each in self.prompts for number in (*each.logprobs, *each.classes, each.value or 0.0))
        return all(map(math.isfinite, said))


def reference_logprobs(folder: Path) -> Reference:
    """The reference of the model in `folder`, computed with transformers in the dtype it is stored in.

    On a CPU that emulates 16 bits that is float32, as it is for its engines.

    Raises BadInput when it cannot be loaded, or lacks weights that its configuration asks for (transformers would
    continue with random ones).
    """
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    auto, options = cast(Any, transformers), {"local_files_only": True}
    kind = _kind(folder)
    try:
        model, loaded = kind.from_pretrained(
            folder, dtype=on_cpu("auto"), use_safetensors=True, output_loading_info=True, **options
        )
        tokenizer = auto.AutoTokenizer.from_pretrained(folder, **options)
    except (LookupError, OSError, RuntimeError, TypeError, ValueError, StrictDataclassError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise BadInput(
            f"{folder}: transformers cannot load it ({reason}). Is it a complete causal language model?"
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        raise BadInput(
            f"{folder}: config.json asks for {len(missing)} weights that are not there, such as {missing[0]}. "
            "Copy the model again."
        )
    return reference_of(model, tokenizer)


def _kind(folder: Path) -> Any:
    """The class of transformers' that loads the model in `folder`."""
    import transformers

    if process_reward(folder):
        return loader(folder)
    for architecture in cast(list[str], _config(folder).get("architectures") or []):
        if architecture.endswith("ForTokenClassification"):
            raise BadInput(
                f"{folder}: {architecture} is a token classifier that cannot be served. Take one of "
                f"{', '.join(PROCESS_REWARDS)}."
            )
    auto = cast(Any, transformers)
    return auto.AutoModelForSequenceClassification if values(folder) else auto.AutoModelForCausalLM


def reference_of(model: Any, tokenizer: Any) -> Reference:
    """The reference of a transformers model in memory with its tokenizer: what a trainer has when training ends."""
    model.eval()
    prompts = [tuple(tokenizer(prompt).input_ids) for prompt in PROMPTS]
    if is_process_reward({"architectures": [type(model).__name__]}):
        last = [softmax(classes_of(model, ids)[-1]) for ids in prompts]
        return Reference(prompts=tuple(Scored(token_ids=i, classes=c) for i, c in zip(prompts, last, strict=True)))
    if hasattr(model, "score"):
        return Reference(prompts=tuple(Scored(token_ids=ids, value=value_of(model, ids)) for ids in prompts))
    return Reference(prompts=tuple(Scored(token_ids=ids, logprobs=logprobs_of(model, ids)) for ids in prompts))


def logprobs_of(model: Any, token_ids: Sequence[int]) -> tuple[float, ...]:
    """The log-probability (nats) of each token but the first under a causal `model` of transformers."""
    import torch

    ids = torch.tensor([token_ids], device=model.device)
    with torch.inference_mode():
        logprobs = model(ids).logits[0, :-1].float().log_softmax(-1)
    return tuple(logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist())


def values(folder: Path) -> bool:
    """Whether the model in `folder` is one that gives values, not text."""
    kinds = cast(list[str], _config(folder).get("architectures") or [])
    return any(kind.endswith("ForSequenceClassification") for kind in kinds)


def process_reward(folder: Path) -> bool:
    """Whether the model in `folder` is a process reward model."""
    return is_process_reward(_config(folder))


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_bytes())


def value_of(model: Any, token_ids: Sequence[int]) -> float:
    """The value of a prompt under a `model` of transformers with a value head, read at its last token."""
    import torch

    with torch.inference_mode():
        backbone = getattr(model, model.base_model_prefix)
        hidden = backbone(torch.tensor([token_ids], device=model.device), use_cache=False).last_hidden_state
        return float(model.score(hidden[0, -1])[0])


async def distance(endpoint: Endpoint, reference: Reference) -> float:
    """How far the served model is from the reference: the mean absolute difference of what they say of the prompts."""
    expected = [prompt.value for prompt in reference.prompts if prompt.value is not None]
    if expected:
        given = await endpoint.values([prompt.token_ids for prompt in reference.prompts])
        return math.fsum(abs(a - b) for a, b in zip(given, expected, strict=True)) / len(expected)
    ids = [prompt.token_ids for prompt in reference.prompts]
    if any(prompt.classes for prompt in reference.prompts):
        served = [softmax(rows[-1]) for rows in await endpoint.classes(ids)]
        pairs = zip(served, (prompt.classes for prompt in reference.prompts), strict=True)
    else:
        served = await asyncio.gather(*(endpoint.prompt_logprobs(each) for each in ids))
        pairs = zip(served, (prompt.logprobs for prompt in reference.prompts), strict=True)
    differences = [abs(there - here) for pair in pairs for there, here in zip(*pair, strict=True)]
    return math.fsum(differences) / len(differences)


async def fresh(served: Served, reference: Reference) -> float:
    """Prove that `served` computes with the reference's weights; returns the distance in nats.

    Raises WrongModel when another name is served or the distance is above `TOLERANCE`, Unavailable when nobody answers.
    """
    async with Endpoint(served.url, served.line, served.digest, key=served.key) as endpoint:
        apart = await distance(endpoint, reference)
    if not apart <= TOLERANCE:
        raise WrongModel(
            f"{served.url}: {served.name} does not compute with the weights that were trained: what it says of fixed "
            f"prompts is {apart:.3f} apart on average, at most {TOLERANCE} is noise. Remove the engine and deploy it "
            "again."
        )
    return apart


def check_fresh(served: Served, reference: Reference) -> float:
    """`fresh`, for callers that have no event loop."""
    return asyncio.run(fresh(served, reference))
