"""What the loops share: arguments of the trainers, adapters, a run from its plan to its result, logits where wanted.

Losses are the loops' own business.
"""
# what comes from transformers and peft is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig
from transformers import PrinterCallback

from selftaught.blocks import TrainContext, TrainResult
from selftaught.core.errors import RoundFailed
from selftaught.core.files import replacing
from selftaught.training.gradient import Gradient, Lora
from selftaught.training.loops.callbacks import Watch, newest_whole


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a run sees: `order` lists examples in order, all epochs; `tokens` and `trained` count an example's."""

    order: tuple[int, ...]
    tokens: tuple[int, ...]
    trained: tuple[int, ...]

    def seen(self, batch: int) -> list[int]:
        """The tokens seen after each step of `batch` examples."""
        seen = list(accumulate(self.tokens[index] for index in self.order))
        return [*seen[batch - 1 :: batch], *seen[-1:]] if len(seen) % batch else seen[batch - 1 :: batch]

    def longest(self) -> int:
        """The tokens of the longest example that is seen."""
        return max(self.tokens[index] for index in self.order)

    def trained_tokens(self) -> int:
        """The tokens that count in the loss, over the whole run."""
        return sum(self.trained[index] for index in self.order)


class LogitsAt:
    """While open, `head` projects the hidden states at `sources` alone: logits have the shape (sources, vocabulary).

    `sources` are places in the batch, its rows laid end to end. The forward's own `logits_to_keep` can only keep the
    same positions of every row.
    """

    def __init__(self, sources: torch.Tensor, head: torch.nn.Module) -> None:
        self.hook = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, 1)[sources],))

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def fitting(config: Gradient, tokens: Sequence[int]) -> list[int]:
    """The examples, by index, that are not longer than `max_length`. Raises RoundFailed when none is."""
    if not tokens:
        raise RoundFailed(
            f"{config.name}: no example can be said with the model's tokenizer: each holds an end token's name, or "
            "letters that it loses. Look at what the curators give, or take another model."
        )
    found = [index for index, length in enumerate(tokens) if length <= config.max_length]
    if not found:
        raise RoundFailed(
            f"{config.name}: all {len(tokens)} examples are longer than max_length {config.max_length} (the shortest "
            f"has {min(tokens)} tokens). Raise max_length, or lower the sampler's max_tokens."
        )
    return found


def multiplies_bf16() -> bool:
    """Whether this machine has bf16 matrix products in hardware; where it has not, they are slower than fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def dtype(config: Gradient) -> torch.dtype:
    """The precision in which weights are trained."""
    return torch.bfloat16 if config.precision == "bf16" else torch.float32


def arguments(config: Gradient, context: TrainContext) -> dict[str, Any]:
    """What every trainer is told, as arguments of transformers' TrainingArguments."""
    return {
        "output_dir": str(context.scratch),
        "use_cpu": not torch.cuda.is_available(),
        "seed": context.seed,
        "num_train_epochs": 1,  # the plan's order holds all epochs
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.scheduler,
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.precision == "mixed" or (config.precision == "auto" and multiplies_bf16()),
        "gradient_checkpointing": config.gradient_checkpointing,
        "save_steps": config.checkpoint_every,
        "save_total_limit": 2,  # the newest may be torn
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # Watch wants to see them
        "dataloader_pin_memory": torch.cuda.is_available(),
        "disable_tqdm": True,
        "report_to": "none",
    }


def adapters(lora: Lora | None) -> LoraConfig | None:
    """The adapters to train, if any."""
    if lora is None:
        return None
    return LoraConfig(
        r=lora.rank,
        lora_alpha=cast(int, lora.alpha),  # a float in all but its annotation
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )


@dataclass(frozen=True, slots=True)
class Run:
    """A run about to start: what it sees, of how many examples, and when its preparation began (perf_counter)."""

    plan: BatchPlan
    examples: int
    began: float

    def train(
        self,
        trainer: Any,
        config: Gradient,
        context: TrainContext,
        save: Callable[[Any, Path], None],
        out: Path,
        measure: "Callable[[Any], Figures]" = lambda model: {},
    ) -> TrainResult:
        """Train with `trainer`, going on from its newest whole checkpoint; measure the model and save it to `out`.

        `save` writes a model into a folder; `out` gets all of it or nothing. Of several processes the first measures
        and saves. Raises RoundFailed when the loss is not finite, OSError when the disk is full.
        """
        trainer.order = self.plan.order
        seen = self.plan.seen(config.batch_size * config.gradient_accumulation)
        watch = Watch(seen, config.learning_rate, context.report)
        trainer.add_callback(watch)
        trainer.remove_callback(PrinterCallback)
        trainer.start_alike()
        ready = time.perf_counter()
        trainer.train(resume_from_checkpoint=newest_whole(context.scratch))
        trained = time.perf_counter()
        measured = dict[str, float]()
        if trainer.is_world_process_zero():
            measured |= measure(trainer.model)
            with replacing(out) as scratch:
                save(trainer.model, scratch)
        return TrainResult(
            steps=trainer.state.global_step,
            tokens=seen[-1],
            trained_tokens=self.plan.trained_tokens(),
            seconds=watch.seconds,
            losses=_losses(trainer.state.log_history),
            metrics={
                "left_out": float(self.examples - len(set(self.plan.order))),
                "setup_seconds": ready - self.began,
                "save_seconds": time.perf_counter() - trained,
                **measured,
            },
        )


Figures = Mapping[str, float]


def _losses(history: Sequence[dict[str, float]]) -> tuple[tuple[int, float], ...]:
    return tuple((int(entry["step"]), float(entry["loss"])) for entry in history if "loss" in entry)
