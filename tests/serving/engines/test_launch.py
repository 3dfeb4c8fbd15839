"""No engine outlives its owner: the launcher with a small command instead of the engine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selftaught.serving.engines.sessions import PidFile, Process, reap
from tests.waiting import parent, running, until

# A parent and a child that both ignore SIGTERM, as a busy engine might; the child is what kernels do not clean up.
STUBBORN = """
import pathlib, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
pathlib.Path(sys.argv[1], str(os.getpid())).touch()
time.sleep(600)
"""
OWNER = """
import subprocess, sys, os, threading, time
def start():
    subprocess.Popen([sys.executable, "-m", "selftaught.serving.engines.launch", str(os.getpid()), *sys.argv[1:]],
                     start_new_session=True)
thread = threading.Thread(target=start)  # engines are started from threads, which end before their engine does
thread.start()
thread.join()
time.sleep(600)
"""


@pytest.fixture
def owned(tmp_path: Path):
    """An owner process, its launcher and the two processes of the command, parent first: (owner, [pids])."""
    command = [sys.executable, "-c", STUBBORN, str(tmp_path)]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *command])
    assert until(lambda: len(list(tmp_path.iterdir())) == 2)
    first, second = (int(path.name) for path in tmp_path.iterdir())
    pids = [first, second] if parent(second) == first else [second, first]
    yield owner, pids
    owner.kill()
    owner.wait()
    assert until(lambda: not any(map(running, pids)))


def test_the_engine_lives_while_its_owner_does(owned: tuple[subprocess.Popen[bytes], list[int]]):
    _, pids = owned
    time.sleep(0.3)
    assert all(map(running, pids))


def test_kill_9_of_the_owner_ends_every_descendant(owned: tuple[subprocess.Popen[bytes], list[int]]):
    owner, pids = owned
    owner.kill()
    assert until(lambda: not any(map(running, pids)))


def test_kill_9_of_the_engine_ends_its_children(owned: tuple[subprocess.Popen[bytes], list[int]]):
    _, pids = owned
    os.kill(pids[0], signal.SIGKILL)
    assert until(lambda: not any(map(running, pids)))


def test_kill_9_of_the_launcher_ends_the_engine(owned: tuple[subprocess.Popen[bytes], list[int]]):
    owner, pids = owned
    os.kill(os.getsid(pids[0]), signal.SIGKILL)
    assert until(lambda: not running(pids[0]))
    owner.kill()
    os.kill(pids[1], signal.SIGKILL)


# Takes a moment to end, as an engine does that frees its shared memory.
TIDY = """
import pathlib, signal, sys, time
def tidy(*_):
    time.sleep(0.2)
    pathlib.Path(sys.argv[1], "tidy").touch()
    sys.exit()
signal.signal(signal.SIGTERM, tidy)
pathlib.Path(sys.argv[1], "up").touch()
time.sleep(600)
"""


def test_an_engine_that_is_told_to_end_twice_still_ends_by_itself(tmp_path: Path):
    command = [sys.executable, "-c", TIDY, str(tmp_path)]
    launch = [sys.executable, "-m", "selftaught.serving.engines.launch", str(os.getpid())]
    with subprocess.Popen([*launch, *command], start_new_session=True) as launcher:
        assert until((tmp_path / "up").exists)
        for _ in range(2):
            launcher.terminate()
            time.sleep(0.1)
    assert (tmp_path / "tidy").exists()


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


def note(folder: Path, engine: Process, owner: Process) -> Path:
    path = folder / "rft-abcd1234.1.json"
    PidFile(name="rft-abcd1234", digest="abcd1234", port=1, engine=engine, owner=owner).write(path)
    return path


def dead_owner() -> Process:
    with subprocess.Popen(["sleep", "600"]) as process:
        owner = Process.of(process.pid)
        process.kill()
    return owner


def test_a_stale_engine_is_reaped(tmp_path: Path):
    with sleeper() as engine:
        path = note(tmp_path, Process.of(engine.pid), dead_owner())
        assert reap(tmp_path) == ["rft-abcd1234"]
        assert engine.wait(5) == -signal.SIGKILL
    assert not path.exists()


def test_what_a_dead_engine_left_behind_is_reaped(tmp_path: Path):
    command = [sys.executable, "-c", STUBBORN, str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True) as engine:
        assert until(lambda: len(list(tmp_path.iterdir())) == 2)
        note(tmp_path, Process.of(engine.pid), dead_owner())
        engine.kill()
    (child,) = (int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal() and int(path.name) != engine.pid)
    assert running(child)
    reap(tmp_path)
    assert until(lambda: not running(child))


def test_another_process_with_the_same_pid_is_left_alone(tmp_path: Path):
    with sleeper() as innocent:
        noted = Process.of(innocent.pid)
        note(tmp_path, noted.model_copy(update={"started": noted.started - 1}), dead_owner())
        reap(tmp_path)
        time.sleep(0.1)
        assert innocent.poll() is None
        innocent.kill()


def test_an_engine_of_a_living_owner_is_left_alone(tmp_path: Path):
    with sleeper() as engine:
        path = note(tmp_path, Process.of(engine.pid), Process.of(os.getpid()))
        assert reap(tmp_path) == []
        assert path.exists() and engine.poll() is None
        engine.kill()


def test_a_pid_of_another_boot_is_left_alone(tmp_path: Path):
    with sleeper() as innocent:
        note(tmp_path, Process.of(innocent.pid).model_copy(update={"boot": "before"}), dead_owner())
        reap(tmp_path)
        assert innocent.poll() is None
        innocent.kill()
