"""The processes that share a training: what each takes of a batch, and how the weights lie on them.

Each computes its share of every batch, and the update is that of one process, but for rounding. Weights are either
replicated (torch's DistributedDataParallel: complete on every device) or sharded (torch's `fully_shard`: every device
has a part of each weight, of its gradient and of AdamW's moments, and a block of the model is gathered while it is at
work). Which processes there are is torchrun's doing.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from accelerate import PartialState, utils
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import TypeIs

from selftaught.training.gradient import Gradient

T = TypeVar("T")

ROOM = 0.6
"""The share of a device's memory that replicated weights, gradients and moments may take; the rest is activations'."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The `count` processes that share a training, of which this is `number`, and its device. accelerate knows them."""

    number: int
    count: int
    device: torch.device

    @classmethod
    def joined(cls) -> "Processes":
        """Those that torchrun started this one with, or this one alone."""
        state = cast(Any, PartialState(cpu=not torch.cuda.is_available()))
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def first(self) -> bool:
        """Whether this is the one that reports and writes."""
        return self.number == 0

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """What this process takes of a batch."""
        return share(batch, self.number, self.count)

    def summed(self, values: torch.Tensor) -> list[float]:
        """The sums of each of the processes' values."""
        return cast(Any, utils).reduce(values, "sum").tolist()

    def collected(self, own: Sequence[T]) -> list[T]:
        """The items of all processes, in their order."""
        return cast(Any, utils).gather_object(list(own))

    def wait(self) -> None:
        """Go on when all have come here."""
        cast(Any, utils).wait_for_everyone()


def share(batch: Sequence[T], process: int, processes: int) -> Sequence[T]:
    """What one of `processes` takes of `batch`: neighbours, as many as every other takes or one fewer, or none."""
    return batch[len(batch) * process // processes : len(batch) * (process + 1) // processes]


def is_sharded(config: Gradient, model: torch.nn.Module, processes: Processes) -> bool:
    """Whether weights are sharded: as `config` says, or where they would not fit a GPU replicated."""
    if processes.count == 1:
        return False
    if config.sharded != "auto":
        return config.sharded
    if processes.device.type != "cuda":
        return False
    return replicated_bytes(model) > ROOM * cast(Any, torch.cuda).get_device_properties(processes.device).total_memory


def replicated_bytes(model: torch.nn.Module) -> int:
    """Weights, and gradients and AdamW's two moments of those that are trained, on one device."""
    return sum(w.numel() * w.element_size() * (4 if w.requires_grad else 1) for w in model.parameters())


def placed(reader: torch.nn.Module, sharded: bool, processes: Processes) -> torch.nn.Module:
    """`reader` on this process's device, as its replica or its shard; one that is not trained sends no gradients.

    Shards are gathered in the precision of the weights: gathered in bf16, half as much to send, the small updates of
    norms would be lost until they add up, which replicas do not lose.
    """
    if sharded:
        mesh = init_device_mesh(processes.device.type, (processes.count,))
        for block in _blocks(reader):
            fully_shard(block, mesh=mesh)
        return cast(Any, fully_shard(reader, mesh=mesh))
    reader.to(processes.device)
    if processes.count == 1 or not any(weight.requires_grad for weight in reader.parameters()):
        return reader
    return DistributedDataParallel(reader, forward_sync_buffers=False)


def _blocks(reader: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of a model of transformers, which it names itself."""
    names: set[str] = set(cast(Any, reader).model._no_split_modules or ())
    return [module for module in reader.modules() if type(module).__name__ in names]


@contextmanager
def adding(module: torch.nn.Module, last: bool) -> Generator[None]:
    """Add to the gradients; replicas send theirs with a step's `last` batch alone."""
    waits = isinstance(module, DistributedDataParallel) and not last
    with cast(Any, module).no_sync() if waits else nullcontext():
        yield


def bare(module: torch.nn.Module) -> torch.nn.Module:
    """The reader in a replica, or the reader that is sharded itself."""
    return cast(Any, module).module if isinstance(module, DistributedDataParallel) else module


def is_shard(weight: torch.Tensor) -> TypeIs[DTensor]:
    """Whether this process has but a part of a weight or a gradient."""
    return isinstance(weight, DTensor)


def local(weight: torch.Tensor) -> torch.Tensor:
    """This process's part of a weight or a gradient that is sharded, without a copy; or all of it."""
    return weight.to_local() if is_shard(weight) else weight


def gathered(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All weights of a sharded reader, on the first process's CPU; nothing on the others."""
    return cast(Any, get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True)))
