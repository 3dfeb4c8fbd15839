"""A run from its plan to its result: what is seen, in which precision, with which adapters, and what comes of it.

Steps are the loop's business, losses the objectives'.
"""
# what comes from accelerate and peft is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from selftaught.blocks import TrainContext, TrainResult
from selftaught.core.errors import BadInput, RoundFailed
from selftaught.core.files import replacing
from selftaught.training.gradient import Gradient, Lora
from selftaught.training.loops.batches import Layout, Row, View, as_it_is
from selftaught.training.loops.folder import load
from selftaught.training.loops.learner import Learner
from selftaught.training.loops.loop import Loop
from selftaught.training.loops.probing import trusted
from selftaught.training.loops.processes import Processes, bare, gathered, is_sharded, placed
from selftaught.training.loops.readers import LogProbs


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
        """The tokens that count in the loss, over the entire run."""
        return sum(self.trained[index] for index in self.order)


def fitting(config: Gradient, tokens: Sequence[int]) -> list[int]:
    """The examples, by index, that are not longer than `max_length`. Raises RoundFailed when none is."""
    if not tokens:
        raise RoundFailed(
            f"{config.name}: no example can be encoded with the model's tokenizer: each contains an end token's name, "
            "or letters that it loses, or no token of a weight. Look at what the curators give, or take another model."
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


def multiplied(config: Gradient) -> torch.dtype:
    """The precision in which matrices are multiplied."""
    mixed = config.precision == "mixed" or (config.precision == "auto" and multiplies_bf16())
    return torch.bfloat16 if mixed else dtype(config)


def built(folder: Path, config: Gradient) -> Any:
    """The model in `folder` as `config` trains it."""
    loaded = load(folder, dtype(config), config.dropout)
    return adapted(prepared(loaded, config), config.lora)


def prepared(model: Any, config: Gradient) -> Any:
    """`model` with its activations kept, or computed twice."""
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def adapted(model: Any, lora: Lora | None) -> Any:
    """`model` with adapters to train, or itself. Raises BadInput when adapters of tied embeddings are asked for."""
    if lora is None:
        return text_only(model)
    made = get_peft_model(model, _adapters(lora))
    _require_untied(model, lora)
    text_only(model)
    return made


def text_only(model: Any) -> Any:
    """`model`, in which the weights are frozen that text does not go through (to see or hear with).

    They would get no gradient: AdamW would keep no moments of them, without which no checkpoint can be read, and
    replicas would wait for them.
    """
    trained = {id(weight) for weight in model.base_model.get_decoder().parameters()}
    for weight in model.base_model.parameters():
        if id(weight) not in trained:
            weight.requires_grad_(False)
    return model


def _require_untied(model: Any, lora: Lora) -> None:
    """Raise BadInput where an adapter is on input or output embeddings that are one weight: merged, it changes both."""
    ends = model.get_input_embeddings(), model.get_output_embeddings()
    if ends[0].weight is ends[1].weight and any(isinstance(end, BaseTunerLayer) for end in ends):
        raise BadInput(
            f"lora.targets: {', '.join(lora.targets)}: the model's input and output embeddings are one weight "
            "(tie_word_embeddings), and an adapter of one would be merged into both. Leave embed_tokens and lm_head "
            "out of targets."
        )


def _adapters(lora: Lora) -> LoraConfig:
    return LoraConfig(
        r=lora.rank,
        lora_alpha=cast(int, lora.alpha),  # a float in all but its annotation
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )


def reference_of(learner: Learner, folder: Path | None, sharded: bool) -> Learner | None:
    """A learner that reads the model in `folder` and never updates it; None where there is none."""
    if folder is None or "reference" not in learner.objective.needs:
        return None
    built = load(folder, dtype(learner.objective)).requires_grad_(False)
    return replace(learner, module=placed(LogProbs(built), sharded, learner.processes))


def complete(module: torch.nn.Module, sharded: bool, processes: Processes, build: Callable[[], Any]) -> Any:
    """The trained model; where its weights are sharded, on the first process alone, in a model that `build` makes."""
    if not sharded:
        return cast(Any, bare(module)).model
    weights = {name.removeprefix("model."): weight for name, weight in gathered(module).items()}
    if not processes.first:
        return None
    model = build()
    model.load_state_dict(weights, strict=False)
    return model


@dataclass(frozen=True, slots=True)
class Run:
    """A run about to start: what it sees, of how many examples, and when its preparation began (perf_counter).

    `build` makes the model that is trained, `reader` a reader of it. `view` is how a row is seen; see `Loop`.
    """

    config: Gradient
    context: TrainContext
    build: Callable[[], Any]
    reader: Callable[[Any], torch.nn.Module]
    rows: Sequence[Row]
    plan: BatchPlan
    layout: Layout
    examples: int
    began: float
    view: View = as_it_is

    def train(
        self,
        save: Callable[[Any, Path], None],
        out: Path,
        measure: "Callable[[torch.nn.Module, Layout], Figures]" = lambda reader, layout: {},
    ) -> TrainResult:
        """Train, resuming from the newest complete checkpoint; measure the trained reader and save its model to `out`.

        Batches are laid out as asked, where the model reads so what it reads alone. `save` writes a model into a
        folder; `out` gets all of it or nothing. Of several processes the first saves. Raises RoundFailed when the loss
        is not finite, OSError when the disk is full.
        """
        processes = Processes.joined()
        cast(Any, torch).manual_seed(self.context.seed)  # what is drawn (a head, adapters), every process draws alike
        model = self.build()
        self._require_positions(model.config)
        sharded = is_sharded(self.config, model, processes)
        loop = self._loop(placed(self.reader(model), sharded, processes), sharded, processes)
        progress = loop.prepared()
        ready = time.perf_counter()
        loop.run(progress)
        done = time.perf_counter()
        measured = measure(bare(loop.learner.module), loop.learner.layout)
        trained = complete(loop.learner.module, sharded, processes, self.build)
        if processes.first:
            with replacing(out) as scratch:
                save(trained, scratch)
        return TrainResult(
            steps=progress.steps,
            tokens=loop.seen[-1],
            trained_tokens=self.plan.trained_tokens(),
            seconds=progress.seconds,
            losses=tuple((int(entry["step"]), entry["loss"]) for entry in progress.log),
            metrics={
                "examples.left_out": float(self.examples - len(set(self.plan.order))),
                "setup_seconds": ready - self.began,
                "save_seconds": time.perf_counter() - done,
                **measured,
            },
        )

    def _require_positions(self, config: Any) -> None:
        """Raise RoundFailed where an example is longer than what a model of this configuration reads."""
        most = getattr(config.get_text_config(), "max_position_embeddings", None) or math.inf
        longest = max(len(each.ids) for index in set(self.plan.order) for each in self.rows[index].sequences)
        if longest > most:
            raise RoundFailed(
                f"{self.config.name}: an example has {longest} tokens, and the model reads {most} "
                f"(max_position_embeddings). Set max_length: {most}, or lower the sampler's max_tokens."
            )

    def _loop(self, module: torch.nn.Module, sharded: bool, processes: Processes) -> Loop:
        learner = Learner(
            objective=self.config,
            module=module,
            layout=self.layout,
            precision=multiplied(self.config),
            seed=self.context.seed,
            processes=processes,
        )
        learner.layout = trusted(learner)
        return Loop(
            learner=learner,
            reference=reference_of(learner, self.context.reference, sharded),
            rows=self.rows,
            order=self.plan.order,
            seen=self.plan.seen(self.config.batch_size * self.config.gradient_accumulation),
            scratch=self.context.scratch,
            report=self.context.report,
            view=self.view,
        )


Figures = Mapping[str, float]
