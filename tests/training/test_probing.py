"""Layouts of batches against models that keep a state, convolve, or measure distances in ways of their own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from selftaught.training.loops.batches import Layout, Row, Tokens, batch, packed, padded, tree
from selftaught.training.loops.learner import Learner
from selftaught.training.loops.probing import trusted
from selftaught.training.loops.processes import Processes
from selftaught.training.loops.readers import LogProbs, Values
from selftaught.training.loops.sharing import can_share
from selftaught.training.sft import SFT
from selftaught.training.value import ValueMSE

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
LINEAR: dict[str, Any] = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}
PICTURES = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
OTHER = {"vocab_size": 64, "hidden_size": 32}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**SIZES),
    "opt": lambda: transformers.OPTConfig(
        **OTHER, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32, dropout=0.0
    ),
    "a state": lambda: transformers.Qwen3_5TextConfig(**SIZES, **LINEAR),
    "a state, under pictures": lambda: transformers.Qwen3_5Config(text_config=SIZES | LINEAR, vision_config=PICTURES),
    "convolutions": lambda: transformers.Lfm2Config(**SIZES, layer_types=["conv", "full_attention"] * 2),
    "distances": lambda: transformers.MptConfig(d_model=32, n_heads=4, n_layers=2, max_seq_len=128, vocab_size=64),
    "distances, without masks": lambda: transformers.BloomConfig(**OTHER, n_layer=2, n_head=4),
}


def learner(config: Any, layout: Layout, kind: type[torch.nn.Module] = LogProbs) -> Learner:
    """One whose weights are large enough for leaks to show."""
    torch.manual_seed(0)
    auto = AutoModelForCausalLM if kind is LogProbs else AutoModelForSequenceClassification
    model: Any = auto.from_config(config)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    objective = SFT() if kind is LogProbs else ValueMSE()
    return Learner(objective, kind(model), layout, torch.float32, 0, Processes(0, 1, torch.device("cpu")))


SEQUENCES = [(1, 5, 6, 7, 8, 9, 10), (1, 5, 6, 7, 20, 21, 22, 23), (1, 5, 6, 30, 31), (1, 5, 6, 7, 8, 40)]


def read(of: Learner, layout: Layout) -> torch.Tensor:
    rows = [Row((Tokens(ids, (1.0,) * len(ids)),)) for ids in SEQUENCES]
    with torch.no_grad():
        return of.module.eval()(batch(rows, layout).inputs)


def alone(of: Learner) -> torch.Tensor:
    """The log-probabilities that the model gives each sequence, asked for it and nothing else."""
    found = list[torch.Tensor]()
    for ids in SEQUENCES:
        logits = of.module.eval().model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
        found.append(-cross_entropy(logits.float(), torch.tensor(ids[1:]), reduction="none"))
    return torch.cat(found).detach()


def test_the_log_probabilities_of_a_row_hold_no_others():
    asked = learner(CONFIGS["llama"](), padded)
    rows = [Row((Tokens(ids, (1.0,) * len(ids)),)) for ids in SEQUENCES]
    for (known,), ids in zip(asked.logprobs(rows), SEQUENCES, strict=True):
        assert known.untyped_storage().nbytes() == known.nbytes == 4 * (len(ids) - 1)


@pytest.mark.parametrize("layout", [tree, packed, padded])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_reads_in_its_layout_what_it_reads_alone(name: str, layout: Layout):
    asked = learner(CONFIGS[name](), layout)
    assert (read(asked, trusted(asked)) - alone(asked)).abs().max() < 1e-4


@pytest.mark.parametrize(("name", "layouts"), [("llama", [tree, packed, padded]), ("opt", [tree, padded, padded])])
def test_what_a_model_can_read_is_not_given_up(name: str, layouts: list[Layout]):
    assert [trusted(learner(CONFIGS[name](), each)) for each in (tree, packed, padded)] == layouts


def test_low_precision_is_no_reason():
    asked = learner(CONFIGS["llama"](), tree)
    asked.module.to(torch.bfloat16)
    assert trusted(asked) is tree


def test_so_do_value_models():
    config = CONFIGS["a state"]()
    config.num_labels = 1
    asked = learner(config, tree, Values)
    assert trusted(asked) is padded
    assert trusted(learner(transformers.LlamaConfig(**SIZES, num_labels=1), tree, Values)) is tree


@pytest.mark.parametrize("name", ["a state, under pictures", "a state", "convolutions"])
def test_a_configuration_that_says_so_is_believed(name: str):
    assert not can_share(CONFIGS[name]())


def test_a_window_is_seen_wherever_it_is_configured():
    vision: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    sizes = SIZES | {"head_dim": 8, "sliding_window": 4}
    assert not can_share(transformers.Gemma3Config(text_config=sizes, vision_config=vision))
    assert not can_share(transformers.GPTNeoConfig(num_layers=2, attention_types=[[["global", "local"], 1]]))
