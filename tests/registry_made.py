"""A registry for tests: one line of two versions of a model that is as small as a model can be.

`registry_fixtures` makes the registry once a session.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from selftaught.state.store import open_store
from selftaught.state.tracking import Tracker, Version
from selftaught.state.weights import model_digest

LINE = "maths"


@dataclass(frozen=True)
class Registry:
    """The line `maths`: version 1 is base and previous, version 2 champion and head."""

    home: Path
    first: Version
    second: Version

    @property
    def tracker(self) -> Tracker:
        return Tracker(f"sqlite:///{self.home}/mlflow.db")


CHAT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token if m.role == 'assistant' }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""A chat template that keeps what is said."""


def tiny_model(folder: Path, tokens: int = 257, seed: int = 0) -> Path:
    """A language model without layers: an embedding of `tokens` x 8 numbers, tied to its output. It can be used."""
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "vocab_size": tokens, "hidden_size": 8, "intermediate_size": 8}
    config |= {"num_hidden_layers": 0, "num_attention_heads": 1, "tie_word_embeddings": True, "eos_token_id": 256}
    (folder / "config.json").write_text(json.dumps(config))
    alphabet = [*sorted(ByteLevel.alphabet()), "<|end|>"]
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    weights = {"model.embed_tokens.weight": (tokens, 8), "model.norm.weight": (8,)}
    values = {name: np.full(shape, seed, dtype=np.float32) for name, shape in weights.items()}
    save_file(values, folder / "model.safetensors")
    return folder


def make_registry(home: Path) -> Registry:
    """Register two versions in an empty `home`."""
    tracker = Tracker(f"sqlite:///{home}/mlflow.db")
    first, second = (register(tracker, home, number) for number in (1, 2))
    for alias in ("base", "previous"):
        tracker.point(alias, first)
    for alias in ("head", "champion"):
        tracker.point(alias, second)
    return Registry(home, first, second)


def register(tracker: Tracker, home: Path, number: int) -> Version:
    """Store a tiny model and register it as version `number`, the first as adopted, later ones as a round's."""
    folder = tiny_model(home.parent / f"model-{number}", seed=number)
    digest = model_digest(folder)
    uri = open_store(str(home / "store")).put("models", digest, folder)
    tags = {"recipe": "none"} if number == 1 else {"recipe": "rft", "round": str(number - 1), "outcome": "promoted"}
    return tracker.register(LINE, digest, uri, "", {f"selftaught.{key}": value for key, value in tags.items()})
