"""Training in several processes: the update is that of one process with the same batches, and a kill ends nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Objective, TrainResult
from selftaught.core.errors import RoundFailed, Unavailable
from selftaught.records import Example, Reinforce, Segment, dataset
from selftaught.round.distributed.request import RESULT, OfflineRequest
from selftaught.state.weights import check_model
from selftaught.training.dpo import DPO
from selftaught.training.gradient import Lora
from selftaught.training.loops.checkpoints import PROGRESS, newest
from selftaught.training.loops.processes import share
from selftaught.training.policy_gradient import KL, PolicyGradient
from selftaught.training.sft import SFT
from selftaught.training.value import ValueMSE
from tests.examples import asked, preferred, worth
from tests.rounds import REPOSITORY
from tests.training.training_examples import example
from tests.waiting import until

TOLD = {"precision": "fp32", "learning_rate": 1e-3, "epochs": 2, "batch_size": 4, "checkpoint_every": 2}


@given(st.lists(st.integers(), max_size=20), st.integers(1, 8))
def test_shares_are_the_batch_in_order_and_differ_by_one_at_most(batch: list[int], processes: int):
    shares = [share(batch, process, processes) for process in range(processes)]
    assert [item for one in shares for item in one] == batch
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def said(i: int) -> Example:
    return example(f"{'please ' * (i % 4)}{i} + {i * i}?", f"It is {i}{'!' * (i % 5)}")


def pair(i: int) -> Example:
    question, chosen = f"{'please ' * (i % 3)}{i} + {i}?", f"It is {2 * i}.{'!' * (i % 4)}"
    return preferred(question, chosen, f"{2 * i + 1}, I think")


def value(i: int) -> Example:
    return worth(f"{i} + {i}?", f"First{' step' * (i % 4)}", label=(i % 5) / 4, task=str(i // 2))


def rollout(i: int) -> Example:
    sampled = Segment.answer(f"{i}{'!' * (i % 4)}").model_copy(update={"advantages": (2.5 - i % 3,)})
    sequence = (asked(f"{i // 2} + 1?"), sampled)
    return Example(sequences=(sequence,), target=Reinforce(mean_reward=0.5), task=str(i // 2), rollout=str(i))


EXAMPLES: list[Example] = [
    made
    for i in range(11)  # no batch size and no number of processes divides them
    for made in (
        example(f"{'please ' * (i % 4)}{i} + {i * i}?", f"It is {i}{'!' * (i % 5)}"),
        pair(i),
        value(i),
        rollout(i),
    )
]


OBJECTIVES = {
    "sft": SFT(**TOLD),
    "sft, packed, accumulated": SFT(**TOLD, gradient_accumulation=2, batching="packed"),
    "sft, adapters": SFT(**TOLD, batching="padded", lora=Lora(rank=4)),
    "sft, sharded adapters": SFT(**TOLD, sharded=True, lora=Lora(rank=4), gradient_checkpointing=True),
    "dpo": DPO(**TOLD | {"learning_rate": 1e-4, "batch_size": 2}),
    "dpo, accumulated": DPO(**TOLD | {"learning_rate": 1e-4}, gradient_accumulation=2),
    "policy gradient": PolicyGradient(**TOLD | {"learning_rate": 1e-4, "batch_size": 2}, kl=KL()),
    "policy gradient, held to the base": PolicyGradient(**TOLD | {"learning_rate": 1e-4}, kl=KL(weight=1.0, to="base")),
    "policy gradient, held to shards of the base": PolicyGradient(
        **TOLD | {"learning_rate": 1e-4}, kl=KL(weight=1.0, to="base"), sharded=True
    ),
    "value": ValueMSE(**TOLD | {"batch_size": 2}),
    "value, accumulated": ValueMSE(**TOLD, gradient_accumulation=2),
    "sft of a model that sees": SFT(**TOLD, batching="padded"),
    "sft in shards of a model that sees": SFT(**TOLD, batching="padded", sharded=True),
}


@pytest.fixture(scope="module")
def make(
    tiny_model: Path, other_model: Path, seeing_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., OfflineRequest]:
    """The input of an objective for the examples; its files are in a folder of its own."""
    data = tmp_path_factory.mktemp("data") / "examples"
    dataset.write(data, EXAMPLES, "examples")

    def work(objective: Objective, name: str = "") -> OfflineRequest:
        folder = tmp_path_factory.mktemp("work")
        return OfflineRequest(
            objective=objective,
            model=seeing_model if name.endswith("sees") else tiny_model,
            examples=data,
            out=folder / "out",
            scratch=folder / "scratch",
            seed=3,
            step="train",
            events=folder / "events.jsonl",
            reference=other_model if objective.held_to == "base" else None,
        )

    return work


@pytest.fixture(scope="module")
def alone(make: Callable[..., OfflineRequest]) -> dict[str, OfflineRequest]:
    """Every objective's work, done in this process."""
    works = {name: make(objective, name) for name, objective in OBJECTIVES.items()}
    for work in works.values():
        work.scratch.mkdir(parents=True)
        work.run_as_rank(first=True)
    return works


@pytest.fixture(scope="module", params=[2, 3])
def shared(request: pytest.FixtureRequest, make: Callable[..., OfflineRequest]) -> dict[str, OfflineRequest]:
    """The same, done by several processes; of three, one is idle in batches of two."""
    works = {name: make(objective, name) for name, objective in OBJECTIVES.items()}
    for work in works.values():
        work.scratch.mkdir(parents=True)
        (work.scratch / "work.json").write_text(work.model_dump_json())
    several = [str(Path(__file__).with_name("several.py")), *(str(w.scratch / "work.json") for w in works.values())]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={request.param}"]
    subprocess.run([*torchrun, *several], check=True, env=environment())
    return works


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), "OMP_NUM_THREADS": "1"}


def state(work: OfflineRequest) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """What was logged up to the last checkpoint, and its weights, in the precision that they are trained in."""
    checkpoint = newest(work.scratch)
    return json.loads((checkpoint / PROGRESS).read_text())["log"], weights(checkpoint)


def weights(checkpoint: Path) -> dict[str, Any]:
    """The weights in a checkpoint, complete, however many processes wrote it."""
    import torch
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(checkpoint, checkpoint / "whole.pt")
    return torch.load(checkpoint / "whole.pt")["model"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_update_of_several_processes_is_that_of_one(
    name: str, alone: dict[str, OfflineRequest], shared: dict[str, OfflineRequest]
):
    one, several = (state(works[name]) for works in (alone, shared))
    for figure in ("loss", "grad_norm"):
        assert [entry[figure] for entry in several[0]] == pytest.approx([entry[figure] for entry in one[0]], rel=1e-3)
    assert one[1].keys() == several[1].keys()
    for weight, expected in one[1].items():
        # A step moves a weight by up to the learning rate, 1e-3 or 1e-4: also one whose gradient is but rounding.
        assert (several[1][weight] - expected).abs().mean() < 1e-5, weight


@pytest.mark.parametrize("name", OBJECTIVES)
def test_so_is_what_comes_of_it(name: str, alone: dict[str, OfflineRequest], shared: dict[str, OfflineRequest]):
    one, several = (
        RESULT.validate_json((works[name].scratch / "result.json").read_bytes()) for works in (alone, shared)
    )
    assert dict(several.losses) == pytest.approx(dict(one.losses), rel=1e-2)
    assert (several.steps, several.tokens, several.trained_tokens) == (one.steps, one.tokens, one.trained_tokens)
    figures = {name: figure for name, figure in one.metrics.items() if "seconds" not in name}
    assert {name: several.metrics[name] for name in figures} == pytest.approx(figures, abs=1e-2)
    check_model(shared[name].out)
    assert len(shared[name].events.read_text().splitlines()) <= one.steps  # one process tells


def result(work: OfflineRequest) -> TrainResult:
    return RESULT.validate_json((work.scratch / "result.json").read_bytes())


LONG = SFT(**TOLD | {"epochs": 6})


def test_a_killed_process_ends_all_and_the_next_run_continues(make: Callable[..., OfflineRequest]):
    """kill -9 of the second process after a checkpoint: none is left, and in the end all is as if it had not been."""
    work, full = make(LONG), make(LONG).run()
    with ThreadPoolExecutor() as aside:
        training = aside.submit(work.run, 2)
        assert until(lambda: newest(work.scratch), 600)
        os.kill(next(process for process, variables in processes(work) if variables["RANK"] == "1"), signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"train: a training process ended .*Run again"):
            training.result()
    assert not list(processes(work))
    assert not work.out.exists()
    done = int(newest(work.scratch).name.rsplit("-", 1)[1])
    text = len(work.events.read_text().splitlines())
    resumed = work.run(2)
    again = json.loads(work.events.read_text().splitlines()[text])
    assert again["done"] == done + 1
    assert dict(resumed.losses) == pytest.approx(dict(full.losses), rel=1e-2)


def test_processes_die_with_who_started_them(make: Callable[..., OfflineRequest]):
    work = make(LONG)
    code = (
        "import sys; from selftaught.round.distributed.request import OfflineRequest; "
        "OfflineRequest.model_validate_json(sys.argv[1]).run(2)"
    )
    step = subprocess.Popen([sys.executable, "-c", code, work.model_dump_json()], env=environment())
    assert until(lambda: newest(work.scratch), 600)
    assert len(list(processes(work))) == 2
    step.kill()
    step.wait()
    assert until(lambda: not list(processes(work)))


def test_why_there_is_no_result_is_said_as_one_process_says_it(make: Callable[..., OfflineRequest]):
    with pytest.raises(RoundFailed, match=r"the loss is \S+ at step [23] with learning_rate 1e\+30"):
        make(SFT(**TOLD | {"learning_rate": 1e30})).run(2)


def processes(work: OfflineRequest) -> Iterator[tuple[int, dict[str, str]]]:
    """The processes that share `work`, with their environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            words = (folder / "cmdline").read_text()
            variables = dict(line.partition("=")[::2] for line in (folder / "environ").read_text().split("\0"))
            if str(work.scratch) in words and "RANK" in variables:
                yield int(folder.name), variables
