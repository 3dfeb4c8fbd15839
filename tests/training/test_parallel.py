"""Training in several processes: the update is that of one process with the same batches, and a kill ends nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught import dataset
from selftaught.blocks import Objective
from selftaught.errors import RoundFailed, Unavailable
from selftaught.records import Example, Message
from selftaught.round.work import Work
from selftaught.training.dpo import DPO
from selftaught.training.gradient import Lora
from selftaught.training.loops.parallel import share
from selftaught.training.sft import SFT
from selftaught.training.value import ValueMSE
from tests.training.training_examples import example

TOLD = {"precision": "fp32", "learning_rate": 1e-3, "epochs": 2, "batch_size": 4}


@given(st.lists(st.integers(), max_size=20), st.integers(1, 8))
def test_shares_are_the_batch_in_order_and_differ_by_one_at_most(batch: list[int], processes: int):
    shares = [share(batch, process, processes) for process in range(processes)]
    assert [item for one in shares for item in one] == batch
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def said(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def pair(i: int) -> Example:
    one = example(f"{'please ' * (i % 3)}{i} + {i}?", f"It is {2 * i}.{'!' * (i % 4)}")
    return one.model_copy(update={"kind": "pair", "rejected": said(f"{2 * i + 1}, I think")})


def value(i: int) -> Example:
    one = example(f"{i} + {i}?", f"First{' step' * (i % 4)}")
    return one.model_copy(update={"kind": "value", "label": (i % 5) / 4, "task": str(i // 2)})


EXAMPLES: list[Example] = [
    made
    for i in range(11)  # the last batch is short by one; the last share of three is short by more
    for made in (example(f"{'please ' * (i % 4)}{i} + {i * i}?", f"It is {i}{'!' * (i % 5)}"), pair(i), value(i))
]


@pytest.fixture
def work(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What `objective` is told about the examples; its files are under `name`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    dataset.write(tmp_path / "examples", EXAMPLES, "examples")

    def make(objective: Objective, name: str) -> Work:
        return Work(
            objective=objective,
            model=tiny_model,
            examples=tmp_path / "examples",
            out=tmp_path / name / "out",
            scratch=tmp_path / name / "scratch",
            seed=3,
            step="train",
            events=tmp_path / f"{name}.jsonl",
        )

    return make


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same_update(one: Work, several: Work, processes: int) -> None:
    """Losses, figures, progress and weights are those of one process."""
    alone, shared = one.done(), several.done(processes)
    assert dict(shared.losses) == pytest.approx(dict(alone.losses), rel=1e-4)
    assert (shared.steps, shared.tokens, shared.trained_tokens) == (alone.steps, alone.tokens, alone.trained_tokens)
    measured = {name: figure for name, figure in alone.metrics.items() if "seconds" not in name}
    assert {name: shared.metrics[name] for name in measured} == pytest.approx(measured, abs=1e-2)
    assert len(several.events.read_text().splitlines()) == len(one.events.read_text().splitlines())
    for name, expected in weights(one.out).items():
        assert weights(several.out)[name].float() == pytest.approx(expected.float(), abs=2e-3), name


@pytest.mark.parametrize(
    "objective",
    [
        SFT(**TOLD),
        SFT(**TOLD, gradient_accumulation=2, batching="packed"),
        SFT(**TOLD, batching="padded", lora=Lora(rank=4)),
        DPO(**TOLD | {"learning_rate": 1e-4}),
        DPO(**TOLD | {"learning_rate": 1e-4}, loss="ipo", gradient_accumulation=2),
        ValueMSE(**TOLD),
        ValueMSE(**TOLD, gradient_accumulation=2),
    ],
    ids=lambda objective: f"{objective.name}-{objective.gradient_accumulation}",
)
def test_two_processes_make_the_update_of_one(objective: Objective, work):
    same_update(work(objective, "one"), work(objective, "two"), 2)


@pytest.mark.parametrize("objective", [SFT(**TOLD), DPO(**TOLD), ValueMSE(**TOLD)], ids=lambda o: o.name)
def test_so_do_three_some_of_which_have_nothing_in_a_batch(objective: Objective, work):
    """Batches of two among three processes: one of them is always idle."""
    objective = objective.model_copy(update={"batch_size": 2, "learning_rate": 1e-4})
    same_update(work(objective, "one"), work(objective, "three"), 3)
