"""Model folders: loading for training, and saving the trained model.

Weights are safetensors on both sides. Everything else (config, tokenizer, chat template, and the weights of what is
not trained: a model that also sees images learns as the language model in it) is carried over as it is, since training
changes none of it: what could be served before can be served after.
"""
# what comes from transformers and peft is typed in part:
# pyright: reportUnknownMemberType=false

import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from selftaught.core.errors import RoundFailed
from selftaught.state.weights import INDEX

CARRIED = ("*.json", "*.jinja", "*.txt", "*.model", "additional_chat_templates/*.jinja")
"""What a model folder holds beside its weights."""
PRECISIONS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The names of safetensors."""


def load(folder: Path, dtype: torch.dtype, dropout: bool = True) -> PreTrainedModel:
    """The causal language model in `folder`, in `dtype`, from safetensors alone and without remote code.

    Without `dropout`, what its configuration has of that is 0. Its generation config is a plain one: transformers
    refuses to save some that are in use (a temperature without do_sample), and `save` carries the file itself over.
    """
    config = cast(Any, AutoConfig).from_pretrained(folder, local_files_only=True)
    if not dropout:
        _take_out_dropout(config.get_text_config())
    options = {"config": config, "dtype": dtype, "use_safetensors": True, "local_files_only": True}
    model = cast(Any, AutoModelForCausalLM).from_pretrained(folder, **options)
    model.generation_config = GenerationConfig()
    return cast(PreTrainedModel, model)


def _take_out_dropout(config: Any) -> None:
    """Set to 0 whatever a configuration calls so: dropout, attention_dropout, resid_pdrop, layerdrop …"""
    for name, share in cast(dict[str, object], vars(config)).items():
        if "drop" in name and isinstance(share, float):
            setattr(config, name, 0.0)


def saver(source: Path) -> Callable[[Any, Path], None]:
    """`save` with its `source` given."""
    return lambda model, folder: save(model, source, folder)


def save(model: Any, source: Path, folder: Path) -> None:
    """Write `model`, adapters merged, in the precision of `source`, with the other files of `source` as they are.

    Raises RoundFailed when its weights are not finite, OSError when the disk is full.
    """
    plain = model.merge_and_unload() if isinstance(model, PeftModel) else model
    write_weights(plain, source, folder)
    with writing(folder):
        _add_untrained(plain, source, folder)
    (folder / "generation_config.json").unlink(missing_ok=True)  # there is one only where `source` has one
    carry(source, folder)


def _add_untrained(model: Any, source: Path, folder: Path) -> None:
    """Add the tensors of `source` that `model`, the language model in it, has not got: to see or hear with."""
    config = cast(Any, AutoConfig).from_pretrained(source, local_files_only=True)
    if config.get_text_config() is config:
        return
    kept = {*model.state_dict(), *(name for path in folder.glob("*.safetensors") for name in _names(path))}
    rest = {name: path for path in source.glob("*.safetensors") for name in _names(path) if name not in kept}
    if rest:
        tensors = {name: _tensor(path, name) for name, path in rest.items()}
        save_file(tensors, folder / "untrained.safetensors", metadata={"format": "pt"})
        _number(sorted(folder.glob("*.safetensors")))


def _names(path: Path) -> list[str]:
    with cast(Any, safe_open)(path, "pt") as file:
        return list(file.keys())


def _tensor(path: Path, name: str) -> torch.Tensor:
    with cast(Any, safe_open)(path, "pt") as file:
        return file.get_tensor(name)


def _number(paths: Sequence[Path]) -> None:
    """Call the files as those of one model, with an index: readers take a single `model.safetensors` for all of it."""
    found: dict[str, str] = {}
    for number, path in enumerate(paths, 1):
        name = f"model-{number:05d}-of-{len(paths):05d}.safetensors"
        found |= dict.fromkeys(_names(path), name)
        path.rename(path.with_name(f"{name}.new"))  # the names that are there may be those to come
    for path in paths[0].parent.glob("*.new"):
        path.rename(path.with_suffix(""))
    size = sum(path.stat().st_size for path in paths[0].parent.glob("*.safetensors"))
    index = {"metadata": {"total_size": size}, "weight_map": found}
    (paths[0].parent / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def write_weights(model: Any, source: Path, folder: Path) -> None:
    """Write a model of transformers in the precision of `source`, with its own configuration.

    Raises RoundFailed when its weights are not finite in it, OSError when the disk is full.
    """
    model.to(precision(source))
    for name, weight in model.state_dict().items():
        if not torch.isfinite(weight).all():
            raise RoundFailed(
                f"{name}: the trained weights are not finite numbers. Lower learning_rate, or raise warmup."
            )
    with writing(folder):
        model.save_pretrained(folder)


def carry(source: Path, folder: Path, besides: Collection[str] = ()) -> None:
    """Copy what the model in `source` holds beside its weights, but for the files named in `besides`, byte for byte."""
    for path in (path for pattern in CARRIED for path in source.glob(pattern)):
        if "safetensors" not in path.name and path.name not in besides:
            copy = folder / path.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)


@contextmanager
def writing(folder: Path) -> Generator[None]:
    """Turn what safetensors and torch raise when they cannot write (neither says OSError) into an OSError."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise OSError(f"{folder}: cannot be written: {str(error).splitlines()[0]}") from error


def precision(source: Path) -> torch.dtype:
    """The precision that the model in `source` is stored in: what it says, or else what most of its tensors have."""
    dtype = cast(torch.dtype | None, AutoConfig.from_pretrained(source, local_files_only=True).dtype)
    return dtype or _most_common(source)


def _most_common(source: Path) -> torch.dtype:
    found = Counter[str]()
    for path in source.glob("*.safetensors"):
        names = _names(path)
        with cast(Any, safe_open)(path, "pt") as file:
            found.update(file.get_slice(name).get_dtype() for name in names)
    return next(PRECISIONS[name] for name, _ in found.most_common() if name in PRECISIONS)
