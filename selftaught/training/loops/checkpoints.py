"""Checkpoints of a run: weights and AdamW's moments by torch.distributed.checkpoint, and how far it was.

Every process writes what it has, and what is read back is split as the reading processes need it: a run resumes
another number of them, replicated or sharded. They lie in the run's own scratch folder (torch reads them as pickles);
none of that reaches the written model.
"""

import json
import shutil
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import torch
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from selftaught.core.files import write_atomically
from selftaught.training.loops.processes import Processes

PROGRESS = "progress.json"
"""How far the run was. It is written when everything else is: a checkpoint that has it is complete."""
KEPT = 2
OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)


@dataclass(slots=True)
class Progress:
    """How far a run is: steps, seconds in training over all attempts, and the figures of each step."""

    steps: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list[dict[str, float]])


def newest(scratch: Path) -> Path | None:
    """The newest complete checkpoint in `scratch`, or None. Torn ones are passed over."""
    complete = _complete(scratch)
    return complete[-1] if complete else None


def is_common(scratch: Path, processes: Processes) -> bool:
    """Whether all processes have one `scratch`: nodes without a common disk could not read each other's checkpoints."""
    mark = scratch / processes.collected([uuid4().hex])[0]
    if processes.first:
        scratch.mkdir(parents=True, exist_ok=True)
        mark.touch()
    processes.wait()
    common = all(processes.collected([mark.exists()]))
    if processes.first:
        mark.unlink()
    return common


def save(
    scratch: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, processes: Processes
) -> None:
    """Write a checkpoint and remove old ones. All processes call it. Raises OSError when the disk is full."""
    folder = scratch / f"checkpoint-{progress.steps}"
    if processes.first:
        shutil.rmtree(folder, ignore_errors=True)  # a torn one
    processes.wait()
    with _as_os_errors(folder):
        cast(Any, state_dict_saver).save(_states(module, optimizer), checkpoint_id=folder, no_dist=processes.count == 1)
    if processes.first:
        write_atomically(folder / PROGRESS, json.dumps(asdict(progress)))
        for old in _complete(scratch)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    processes.wait()


def resume(scratch: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer, processes: Processes) -> Progress:
    """Take up the newest complete checkpoint, if every process finds the same one; nodes may share no disk.

    Raises OSError when it cannot be read.
    """
    folder = newest(scratch)
    everywhere = set(processes.collected([folder.name if folder else ""]))
    if folder is None or len(everywhere) > 1:
        return Progress()
    states = _states(module, optimizer)
    with _as_os_errors(folder):
        cast(Any, state_dict_loader).load(states, checkpoint_id=folder, no_dist=processes.count == 1)
    set_state_dict(
        module,
        optimizer,
        model_state_dict=states["model"],
        optim_state_dict=states["optimizer"],
        options=OPTIONS,
    )
    return Progress(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))


def _states(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    weights, moments = get_state_dict(module, optimizer, options=OPTIONS)
    return {"model": weights, "optimizer": moments}


def _complete(scratch: Path) -> list[Path]:
    """Oldest first."""
    found = [mark.parent for mark in scratch.glob(f"checkpoint-*/{PROGRESS}")]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("checkpoint-")))


@contextmanager
def _as_os_errors(folder: Path) -> Generator[None]:
    """Turn what torch raises when it cannot write or read (it is no Exception even) into an OSError."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process needs none of it
            yield
    except CheckpointException as error:
        reason = cast(Any, next(iter(error.failures.values())))[0]
        raise OSError(f"{folder}: cannot be written or read: {str(reason).splitlines()[0]}") from error
