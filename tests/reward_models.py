"""A process reward model as a hub has it, small and random, with a tokenizer of its own; and what it says, in numpy."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nReason step by step.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>", "<extra_0>"]
AUTO_MAP = {
    "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
    "AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel",
}


def reward_model(folder: Path, seed: int = 0) -> Path:
    """Two layers of Qwen2 and the head of Qwen2.5-Math-PRM in fp32, a byte a token; steps differ in what they get."""
    import torch
    from transformers import Qwen2Config

    from selftaught.serving.process_reward import model_class

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        initializer_range=0.3,
        eos_token_id=257,
        pad_token_id=257,
    )
    model = model_class()(config)
    with torch.no_grad():
        model.score[2].weight.mul_(0.2)  # or it would be sure of everything
    model.save_pretrained(folder)
    byte_tokenizer(eos_token="<|im_end|>", additional_special_tokens=SPECIAL, chat_template=CHATML).save_pretrained(
        folder
    )
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | {"auto_map": AUTO_MAP}))
    return folder


def byte_tokenizer(**special: Any) -> Any:
    """A byte is a token, and so are the `special` ones, which it has under these names."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(letters)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytes_only, **special)


def probabilities(folder: Path, text: str, tag: str = "<extra_0>") -> np.ndarray:
    """Tags x classes: what the model in `folder` gives at each `tag` of a rendered `text`."""
    return classified(folder, text)[np.array(ids_of(folder, text)) == ids_of(folder, tag)]


def classified(folder: Path, text: str) -> np.ndarray:
    """Tokens x classes: what it gives at each token of `text`, by transformers' backbone and a head computed here."""
    import torch

    _, backbone, weights = _loaded(folder)
    with torch.no_grad():
        hidden = backbone(torch.tensor([ids_of(folder, text)])).last_hidden_state[0].numpy()
    inner = np.maximum(hidden @ weights["score.0.weight"].T + weights["score.0.bias"], 0)
    logits = inner @ weights["score.2.weight"].T + weights["score.2.bias"]
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def ids_of(folder: Path, text: str) -> list[int]:
    """The tokens of `text`."""
    return _loaded(folder)[0](text, add_special_tokens=False).input_ids


@cache
def _loaded(folder: Path) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """Tokenizer, backbone and all weights."""
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoTokenizer, Qwen2Model

    backbone = Qwen2Model.from_pretrained(folder, dtype=torch.float32)
    return AutoTokenizer.from_pretrained(folder), backbone, load_file(folder / "model.safetensors")
