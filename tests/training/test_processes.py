"""Several processes do what one was recorded to do, replicated and sharded, to rounding in float64."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.rounds import REPOSITORY
from tests.training.conftest import byte_tokenizer
from tests.training.recorded.cases import CASES, recorded, write_model
from tests.training.recorded.recording import Step
from tests.training.test_recorded import assert_equal

RESUMED = "sft shared"
WAYS = [(2, False), (2, True), (3, False), (3, True)]
OTHERS = [((2, True), 3, False), ((3, False), 2, True), ((3, True), 1, False)]
"""A run that was shared so goes on in another number of processes, sharded or not."""
Done = dict[tuple[int, bool, str], tuple[Path, list[Step]]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    for head in (False, True):
        write_model(folder / f"{head}", byte_tokenizer(), head)
    return folder


def trained(models: Path, jobs: list[dict[str, object]], processes: int) -> list[list[Step]]:
    """What the steps of each of the jobs did, all by one start of the processes; see `recorded.several`."""
    asked = models / f"{len(list(models.iterdir()))}.json"
    asked.write_text(json.dumps(jobs))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    program = ["-m", "tests.training.recorded.several", str(asked), str(models)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), "OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, *program], check=True, env=environment)
    return [json.loads(Path(str(job["folder"]), "steps.json").read_text()) for job in jobs]


@pytest.fixture(scope="module")
def done(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Every case in two and three processes, replicated and sharded: its folder, and what its steps did.

    Three processes also go on with what two began with, under the name `goes on`.
    """
    found: Done = {}
    for processes in (2, 3):
        base = tmp_path_factory.mktemp("processes")
        names = [(sharded, name) for sharded in (False, True) for name in CASES]
        jobs = [{"case": name, "sharded": on, "folder": str(base / f"{name} {on}")} for on, name in names]
        if processes == 3:
            before, _, on = OTHERS[0]
            jobs.append(resumed(found[*before, RESUMED][0], base / "goes on", on))
            names.append((on, "goes on"))
        for (sharded, name), job, steps in zip(names, jobs, trained(models, jobs, processes), strict=True):
            found[processes, sharded, name] = Path(str(job["folder"])), steps
    return found


def resumed(before: Path, folder: Path, sharded: bool) -> dict[str, object]:
    """The job that goes on in `folder` from the checkpoint of the one in `before`."""
    shutil.copytree(before / "scratch", folder / "scratch")
    return {"case": RESUMED, "sharded": sharded, "folder": str(folder)}


@pytest.mark.parametrize(("processes", "sharded"), WAYS)
@pytest.mark.parametrize("name", CASES)
def test_steps_of_several_processes_are_as_recorded(name: str, processes: int, sharded: bool, done):
    assert_equal(done[processes, sharded, name][1], recorded()[name])


@pytest.mark.parametrize("name", ["sft shared", "value_mse"])
@pytest.mark.parametrize("processes", [2, 3])
def test_shards_are_written_as_one_model(name: str, processes: int, done):
    folders = [done[processes, sharded, name][0] for sharded in (False, True)]
    replicated, sharded = (load_file(folder / "out" / "model.safetensors") for folder in folders)
    assert sharded.keys() == replicated.keys()
    for weight, expected in replicated.items():
        torch.testing.assert_close(sharded[weight], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("before", "after", "sharded"), OTHERS)
def test_a_run_goes_on_in_another_number_of_processes(
    before: tuple[int, bool], after: int, sharded: bool, done: Done, models: Path, tmp_path: Path
):
    """From the checkpoint after two steps of four: the last two are as they would have been."""
    if (after, sharded, "goes on") in done:
        _, steps = done[after, sharded, "goes on"]
    else:
        (steps,) = trained(models, [resumed(done[*before, RESUMED][0], tmp_path, sharded)], after)
    first = steps[0].pop("gradients")
    assert first
    assert_equal(steps, recorded()[RESUMED][2:])
