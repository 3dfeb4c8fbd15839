"""Steps are forked from a process that has imported what they import, each as if the interpreter had been started."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from selftaught.campaign import step_forks
from selftaught.campaign.step_forks import EXECUTOR, fork_server
from tests.rounds import REPOSITORY
from tests.waiting import parent, running, until

STEP = """
import os, signal, sys, time

def said():
    given = os.getcwd(), sorted(os.environ.items()), sys.executable, sys.argv[1:], sys.stdin.read()
    program = __name__, sys.modules["__main__"].__spec__.name, os.getpgid(0), signal.getsignal(signal.SIGINT)
    print("said", *given, *program, file=sys.stderr)

def forked():
    print("mlflow" in sys.modules, "torch" in sys.modules, file=sys.stderr)

def three():
    raise SystemExit(3)

def failed():
    raise ValueError("a bug")

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def endless():
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("component") / "ephemeral_component.py"
    path.write_text(STEP)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a server, whose path is longer than the address of a socket may be."""
    folder = tmp_path_factory.mktemp("a folder" * 16)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.chdir(REPOSITORY)
        stack.enter_context(fork_server(str(folder)))
        yield folder


def python3(server: Path, component: Path, function: str) -> list[str]:
    """What kfp.local starts for a task, with the stand-in of `server` as the interpreter."""
    stand_in = [sys.executable, "-I", "-S", step_forks.__file__, str(server), sys.executable]
    asked = {"--component_module_path": str(component), "--function_to_execute": function}
    asked |= {"--executor_input": json.dumps({"inputs": {}, "outputs": {"outputFile": str(component) + ".json"}})}
    return [*stand_in, "-m", EXECUTOR, *(word for pair in asked.items() for word in pair)]


def ran(command: list[str], folder: Path = REPOSITORY) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"GIVEN": "größer\udcff", "_KFP_RUNTIME": "true", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=folder, env=env, input="typed", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("function", ["said", "three", "failed"])
def test_a_step_says_and_ends_as_in_an_interpreter_of_its_own(
    server: Path, component: Path, tmp_path: Path, function: str
):
    forked, started = (ran(python3(folder, component, function), tmp_path) for folder in (server, tmp_path))
    assert forked.returncode == started.returncode == {"said": 0, "three": 3, "failed": 1}[function]
    said = [[line for line in done.stderr.splitlines() if line.startswith("said")] for done in (forked, started)]
    assert said[0] == said[1]
    assert len(said[0]) == {"said": 1}.get(function, 0)
    assert ("ValueError: a bug" in forked.stderr) == ("ValueError: a bug" in started.stderr) == (function == "failed")


def test_what_steps_import_is_there_and_what_begins_a_gpu_is_not(server: Path, component: Path):
    assert ran(python3(server, component, "forked")).stderr == "True False\n"


def test_a_step_that_is_killed_has_failed(server: Path, component: Path):
    assert ran(python3(server, component, "killed")).returncode == 128 + signal.SIGKILL


def test_a_step_ends_with_its_stand_in(server: Path, component: Path):
    process = subprocess.Popen(python3(server, component, "endless"), stdout=subprocess.PIPE, text=True)
    step = _number(process)
    assert running(step)
    process.kill()
    process.wait()
    assert until(lambda: not running(step))


def _number(process: "subprocess.Popen[str]") -> int:
    """The number that the step has said it has."""
    assert process.stdout
    return next(int(line) for line in process.stdout if line.strip().isdecimal())


def test_a_step_ends_with_its_server_and_the_next_has_an_interpreter_of_its_own(component: Path, tmp_path: Path):
    with fork_server(str(tmp_path)):
        process = subprocess.Popen(python3(tmp_path, component, "endless"), stdout=subprocess.PIPE, text=True)
        step = _number(process)
        os.kill(parent(parent(step)), signal.SIGKILL)
        assert process.wait() == 128 + signal.SIGKILL
        assert until(lambda: not running(step))
        assert ran(python3(tmp_path, component, "three")).returncode == 3


def test_what_is_no_step_is_left_to_the_interpreter(server: Path):
    command = python3(server, Path("none"), "none")
    done = ran([*command[:6], "-c", "import sys; print(sys.argv[1:], 'mlflow' in sys.modules)", "-m", EXECUTOR])
    assert done.stdout == f"['-m', '{EXECUTOR}'] False\n"
