"""A model small enough to train in a second, with a tokenizer of its own: no download, no starter model."""

from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks import TrainContext
from selftaught.records import Example
from tests.training.training_examples import MakeContext, example

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """Twelve sums whose prompts and completions differ in length."""
    return [example(f"{'please ' * (i % 4)}{i} + {i * i}?", f"It is {i + i * i}{'!' * (i % 5)}") for i in range(12)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama in bf16 with a byte tokenizer, as a folder."""
    return _random(tmp_path_factory.mktemp("tiny"), 0)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_model`, with other weights."""
    return _random(tmp_path_factory.mktemp("other"), 1)


def _random(folder: Path, seed: int) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.2,
        eos_token_id=256,
        pad_token_id=256,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def seeing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 3 that also reads images: transformers trains it as one model, its vision tower among the rest."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    folder = tmp_path_factory.mktemp("seeing")
    torch.manual_seed(0)
    text = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    seen = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    pixels = {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(
        text_config={**text, **heads, "pad_token_id": 256},
        vision_config={**seen, **pixels},
        mm_tokens_per_image=4,
        eos_token_id=256,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def byte_tokenizer() -> Any:
    """Every byte is a token, and four special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    vocabulary = {token: i for i, token in enumerate(letters + special)}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|end|>",
        pad_token="<|end|>",
        additional_special_tokens=special[1:],
        chat_template=CHAT,
    )


@pytest.fixture
def context(tmp_path: Path) -> MakeContext:
    """A context with a scratch folder of its own and a sink that keeps nothing."""

    def make(name: str = "run") -> TrainContext:
        return TrainContext(scratch=tmp_path / name, seed=3, report=lambda done, total, /, **values: None)

    return make
