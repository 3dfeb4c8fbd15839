"""What the loops' trainers have in common: the plan's batches, and one process or several that share each of them.

Started by torchrun, every process holds the whole model, sees the batches of the plan in the same order and computes
its share of each; the update is that of one process with the same batches, but for rounding. Only the first process
writes. It does not split a model: weights, gradients and optimizer states have to fit one device.

Gradients are averaged once a step, before they are clipped, and not by DistributedDataParallel. That one wants every
process to go through the model's own forward in every batch, but a share may be empty, and the value head reads the
backbone. What it would save, the time of sending that it hides behind the backward pass, is little for small models.
"""
# what comes from transformers and accelerate is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import distributed
from torch.utils.data import DataLoader
from transformers import Trainer

from selftaught.training.loops.folder import writing

T = TypeVar("T")


def share(batch: Sequence[T], process: int, processes: int) -> Sequence[T]:
    """What one of `processes` takes of `batch`: neighbours, as many as every other takes or one fewer, or none."""
    return batch[len(batch) * process // processes : len(batch) * (process + 1) // processes]


class SharedTrainer(Trainer):
    """A trainer of the examples in `order`, whose loss is the mean over what `items` counts in a step's examples."""

    order: Sequence[int]
    loss_is_scaled_for_ga = True  # the mean is over the whole step, however many batches it is made of

    def total(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss summed over what counts in one batch."""
        raise NotImplementedError

    def items(self, feature: Any) -> int:
        """What counts in one example."""
        return 1

    def get_train_dataloader(self) -> Any:
        """This process's share of each batch."""
        return DataLoader(
            cast(Any, self.train_dataset),
            batch_size=self.args.train_batch_size,
            sampler=self.order,
            collate_fn=self._collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """This process's share of `batch`."""
        return share(batch, self.accelerator.process_index, self.accelerator.num_processes)

    def _collate(self, features: Sequence[Any]) -> dict[str, Any]:
        """A batch of this process's share, bare where that is empty, with the `items` of all processes' shares."""
        own = self.share(features)
        collated: dict[str, Any] = cast(Any, self.data_collator)(own) if own else {}
        return {**collated, "items": sum(map(self.items, features))}

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The batches of a step, and what counts in them over all processes."""
        batches = list(islice(epoch_iterator, num_batches))
        return batches, sum(batch.pop("items") for batch in batches)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This process's part of the step's mean loss, times the processes, for losses and gradients are averaged."""
        return self.total(model, inputs) * self.accelerator.num_processes / num_items_in_batch

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward on this process's share; after a step's last batch gradients are those of all shares."""
        nothing = torch.zeros((), device=self.args.device)
        loss = super().training_step(model, inputs, num_items_in_batch) if inputs else nothing
        if self.accelerator.num_processes > 1 and self.accelerator.sync_gradients:
            self._average_gradients()
        return loss

    def _average_gradients(self) -> None:
        trained = [weight for weight in cast(Any, self.model).parameters() if weight.requires_grad]
        for weight in trained:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        sent: list[Any] = [distributed.all_reduce(weight.grad, async_op=True) for weight in trained]
        for weight, sending in zip(trained, sent, strict=True):
            sending.wait()
            weight.grad /= self.accelerator.num_processes

    def create_accelerator_and_postprocess(self) -> None:
        """Have the model placed and cast, but not wrapped into DistributedDataParallel."""
        super().create_accelerator_and_postprocess()
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)

    def start_alike(self) -> None:
        """Give every process the first one's weights: what is drawn, such as adapters, is drawn by each."""
        if self.accelerator.num_processes > 1:
            for weight in cast(Any, self.model).parameters():
                distributed.broadcast(weight.data, src=0)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with writing(Path(str(self.args.output_dir))):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each writes the state of its random numbers
