"""Model folders in and out of training: what is read from one, and what a trained one is made of.

Weights are safetensors on both sides. Everything else (config, tokenizer, chat template) is carried over byte for
byte, since training changes none of it: what could be served before can be served after.
"""
# what comes from transformers and peft is typed in part:
# pyright: reportUnknownMemberType=false

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

CARRIED = ("*.json", "*.jinja", "*.txt", "*.model")
"""What a model folder holds beside its weights."""


def load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The causal language model in `folder`, in `dtype`, from safetensors alone and without remote code."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
    return cast(PreTrainedModel, model)


def saver(source: Path) -> Callable[[Any, Path], None]:
    """`save` with its `source` given."""
    return lambda model, folder: save(model, source, folder)


def save(model: Any, source: Path, folder: Path) -> None:
    """Write `model`, adapters merged, in the precision of `source`, with the other files of `source` as they are.

    Raises OSError when the disk is full.
    """
    plain = model.merge_and_unload() if isinstance(model, PeftModel) else model
    with writing(folder):
        plain.to(precision(source)).save_pretrained(folder)
    carried = (path for pattern in CARRIED for path in source.glob(pattern) if "safetensors" not in path.name)
    for path in carried:
        shutil.copyfile(path, folder / path.name)


@contextmanager
def writing(folder: Path) -> Generator[None]:
    """Turn what safetensors and torch raise when they cannot write (neither says OSError) into an OSError."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise OSError(f"{folder}: cannot be written: {str(error).splitlines()[0]}") from error


def precision(source: Path) -> torch.dtype:
    """The precision that the model in `source` is stored in."""
    dtype = cast(torch.dtype | None, AutoConfig.from_pretrained(source, local_files_only=True).dtype)
    return dtype or torch.float32
