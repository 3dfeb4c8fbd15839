"""What `dpo` trains on: pairs of token ids, with what pairs share computed once.

Pairs come as the engine's own tokens where they have them, so their two sides part exactly where they parted when they
were sampled; else what is said is tokenized behind the chat's opening (`selftaught.training.rendering`). A batch is
laid out as prefix trees (`selftaught.training.loops.sharing`) where the model allows it. The losses are in
`selftaught.training.dpo`.
"""
# what comes from transformers is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from transformers.utils import logging

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example, Prefer
from selftaught.training.dpo import DPO
from selftaught.training.loops.batches import Row, Tokens
from selftaught.training.loops.common import BatchPlan, Run, built, fitting
from selftaught.training.loops.folder import saver
from selftaught.training.loops.readers import LogProbs
from selftaught.training.order import shuffled
from selftaught.training.rendering import Chat, Rendered, chat_of, exact, rendered


def run(config: DPO, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
    """Train and save; see `DPO.train`."""
    began = time.perf_counter()
    logging.disable_progress_bar()
    chat = chat_of(model, context.template)
    rows = [row for example in examples for row in config.rows(example, chat)]
    plan, layout = _plan(config, rows, context.seed), config.layout(model)

    build, given = partial(built, model, config), len(examples)
    return Run(config, context, build, LogProbs, rows, plan, layout, given, began).train(saver(model), out)


def pair(example: Example, chat: Chat) -> Row | None:
    """A pair's two sides, chosen and rejected, each behind its prompt; the engine's own tokens where all are known.

    None where a side's tokens would not say it, or none of them counts.
    """
    sides = [exact(sequence) for sequence in example.sequences]
    if None in sides:
        sides = [_one(rendered(sequence, chat)) for sequence in example.sequences]
    smoothing = example.target.smoothing if isinstance(example.target, Prefer) else 0.0
    tokens = [Tokens(side.ids, side.weights) for side in sides if side]
    counted = [each for each in tokens if each.counted()]
    return Row(tuple(counted), weight=example.weight, smoothing=smoothing) if len(counted) == 2 else None


def _one(rows: Sequence[Rendered]) -> Rendered | None:
    """The only row: a side whose turns stand in several contexts is no sequence."""
    return rows[0] if len(rows) == 1 else None


def _plan(config: DPO, pairs: Sequence[Row], seed: int) -> BatchPlan:
    """What is seen in which order: pairs that share a prompt may meet, for what they share is computed once."""
    lengths = [[len(side.ids) for side in row.sequences] for row in pairs]
    order = shuffled(fitting(config, [max(each) for each in lengths]), config.epochs, seed)
    counted = tuple(sum(len(side.counted()) for side in row.sequences) for row in pairs)
    return BatchPlan(order=tuple(order), tokens=tuple(map(sum, lengths)), trained=counted)
