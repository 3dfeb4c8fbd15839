"""What was recorded: a model and examples made of formulas, and an objective a name.

No random numbers: what is recorded today can be computed by any later version of torch.
"""

import json
from pathlib import Path
from typing import Any

import torch

from selftaught.blocks import Objective
from selftaught.records import Example
from selftaught.training.dpo import DPO
from selftaught.training.sft import SFT
from selftaught.training.value import ValueMSE
from tests.examples import imitated, preferred, worth

COMMON: dict[str, Any] = {
    "precision": "fp32",
    "learning_rate": 1e-3,
    "epochs": 2,
    "batch_size": 3,
    "gradient_accumulation": 2,
    "warmup": 0.25,
    "weight_decay": 0.1,
    "max_grad_norm": 1e9,
}

CASES: dict[str, Objective] = {
    **{f"sft {way}": SFT(**COMMON, batching=way) for way in ("shared", "length_grouped", "packed", "padded")},
    "sft clipped": SFT(**COMMON | {"max_grad_norm": 0.1, "scheduler": "cosine"}),
    **{f"dpo {loss}": DPO(**COMMON, loss=loss) for loss in ("sigmoid", "ipo")},
    "dpo conservative": DPO(**COMMON, loss="conservative", label_smoothing=0.2, scheduler="constant_with_warmup"),
    "value_mse": ValueMSE(**COMMON, held_out=0),
}


def examples() -> list[Example]:
    """Eleven of each kind: no batch size and no number of processes divides them."""
    return [made for i in range(11) for made in (_completion(i), _pair(i), _value(i))]


def _completion(i: int) -> Example:
    return imitated(f"{'please ' * (i % 3)}{i // 2}?", f"It is {i}{'!' * (i % 4)}", task=str(i))


def _pair(i: int) -> Example:
    return preferred(f"{i} + {i}?", f"{2 * i}", f"{2 * i + 1}, I think", smoothing=(i % 3) / 10, task=str(i))


def _value(i: int) -> Example:
    return worth(f"{i // 2} + 1?", f"First{' step' * (i % 4)}", label=(i % 5) / 4, task=str(i // 2))


def write_model(folder: Path, tokenizer: Any, head: bool) -> Path:
    """A Llama of 9,000 weights into `folder`, all of them given by sines; with a value head, or a language model's."""
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=260,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        num_labels=1,
        eos_token_id=256,
        pad_token_id=256,
    )
    model = LlamaForSequenceClassification(config) if head else LlamaForCausalLM(config)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            angles = torch.arange(weight.numel(), dtype=torch.float64) * (1 + number / 10)
            weight.copy_((weight.ndim == 1) + 0.4 * torch.sin(angles).view(weight.shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recorded() -> dict[str, Any]:
    """What was recorded of every case, by its name."""
    return json.loads(Path(__file__).with_name("steps.json").read_text())
