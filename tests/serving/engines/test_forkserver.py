"""the fork server forks what the launcher would have started: whose they are, when they end, and what if it cannot.

The simulated engine stands in for vLLM; `test_local_engines` has the real one.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput
from selftaught.serving.engines.engine import VLLM, EngineOptions
from selftaught.serving.engines.forkserver import ForkServer
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.sessions import PidFile, Process
from tests.rounds import ENGINE, REPOSITORY
from tests.waiting import parent, running, until

OWNER = """
import sys, time
from pathlib import Path
from selftaught.serving.engines import engine
from selftaught.serving.engines.pool import LocalEngines
engine.server_module = lambda: engine.VLLM
engines = LocalEngines(Path(sys.argv[1]), forkserver=True)
engines.deploy("rft", "abcd1234" * 8, Path(sys.argv[2]))
Path(sys.argv[1], "up").touch()
time.sleep(600)
"""


def leaders(home: Path) -> dict[str, Process]:
    """The engines that are noted in `home`, by name."""
    noted = (PidFile.model_validate_json(path.read_bytes()) for path in (home / "engines").glob("*.json"))
    return {one.name: one.engine for one in noted}


def use(monkeypatch: pytest.MonkeyPatch, vllm: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (vllm, REPOSITORY))))
    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: VLLM)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the simulated engine, which is what vLLM is in processes that this one starts."""
    use(monkeypatch, ENGINE)
    folder = tmp_path / "models" / "recorded"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"skill": 1}')
    references = tmp_path / "claims" / "references"
    references.mkdir(parents=True)
    (references / folder.name).write_text('{"prompts": []}')
    return folder


@pytest.fixture
def engines(tmp_path: Path, model: Path) -> Iterator[LocalEngines]:
    with LocalEngines(tmp_path, forkserver=True) as engines:
        yield engines


def test_engines_are_forked_by_one_fork_server_into_sessions_of_their_own(
    tmp_path: Path, engines: LocalEngines, model: Path
):
    engines.deploy("rft", "aaaa1234" * 8, model)
    engines.deploy("rft", "bbbb1234" * 8, model)
    first, second = leaders(tmp_path).values()
    assert parent(first.pid) == parent(second.pid) != os.getpid()
    assert {os.getsid(pid) for one in (first, second) for pid in one.session()} == {first.pid, second.pid}
    assert [len(one.session()) for one in (first, second)] == [2, 2]


def test_an_engine_holds_nothing_of_the_fork_server_open(tmp_path: Path, engines: LocalEngines, model: Path):
    engines.deploy("rft", "aaaa1234" * 8, model)
    (leader,) = leaders(tmp_path).values()
    (log,) = (tmp_path / "engines").glob("rft-*.log")
    files = [path.readlink() for path in Path(f"/proc/{leader.pid}/fd").iterdir()]
    assert sorted(path for path in files if not str(path).startswith("anon_inode")) == [Path(os.devnull), log, log]


def test_engines_and_fork_server_end_when_they_are_closed_and_leave_no_zombie(
    tmp_path: Path, engines: LocalEngines, model: Path
):
    engines.deploy("rft", "aaaa1234" * 8, model)
    (leader,) = leaders(tmp_path).values()
    forkserver = parent(leader.pid)
    engines.remove("rft", "aaaa1234" * 8)
    assert until(lambda: not Path(f"/proc/{leader.pid}").exists())
    assert running(forkserver)
    engines.close()
    assert until(lambda: not Path(f"/proc/{forkserver}").exists())


def test_kill_9_of_the_server_is_noticed(tmp_path: Path, engines: LocalEngines, model: Path):
    served = engines.deploy("rft", "aaaa1234" * 8, model)
    before = leaders(tmp_path)[served.name]
    (server,) = (pid for pid in before.session() if parent(pid) == before.pid)
    os.kill(server, signal.SIGKILL)
    assert until(lambda: not before.alive)
    engines.deploy("rft", "aaaa1234" * 8, model)
    assert leaders(tmp_path)[served.name] != before


def test_kill_9_of_the_owner_leaves_neither_engine_nor_forkserver(tmp_path: Path, model: Path):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), str(model)])
    assert until((tmp_path / "up").exists, 300)
    (leader,) = leaders(tmp_path).values()
    forkserver = parent(leader.pid)
    ours = [*leader.session(), *Process.of(os.getsid(forkserver)).session()]
    assert len(ours) == 4, "two of the engine, two of the forkserver"
    owner.kill()
    owner.wait()
    assert until(lambda: not any(map(running, ours)))


def test_kill_9_of_the_fork_server_leaves_engines_up_and_the_next_is_launched_afresh(
    tmp_path: Path, engines: LocalEngines, model: Path
):
    first = engines.deploy("rft", "aaaa1234" * 8, model)
    os.kill(parent(leaders(tmp_path)[first.name].pid), signal.SIGKILL)
    second = engines.deploy("rft", "bbbb1234" * 8, model)
    assert parent(leaders(tmp_path)[second.name].pid) == os.getpid()
    assert leaders(tmp_path)[first.name].alive


@pytest.mark.parametrize("error", ["ImportError", "RuntimeError"])
def test_why_vllm_cannot_be_imported_is_told(error: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "broken" / "vllm"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(f'raise {error}("libtorch.so: cannot be opened")')
    use(monkeypatch, broken.parent)
    with (
        LocalEngines(tmp_path, forkserver=True) as engines,
        pytest.raises(BadInput, match=rf"{error}: libtorch\.so: cannot be opened"),
    ):
        engines.deploy("rft", "aaaa1234" * 8, model)


def test_who_waits_for_the_import_of_a_fork_server_that_is_closed_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("import time; print('importing', flush=True); time.sleep(600)")
    use(monkeypatch, tmp_path)
    forkserver = ForkServer(tmp_path, EngineOptions())
    (log,) = tmp_path.glob("forkserver.*.log")
    assert until(lambda: "importing" in log.read_text())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(forkserver.start, [VLLM], tmp_path / "engine.log")
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        forkserver.close()
        leader = waiting.result(60)
    leader.terminate()
    leader.wait()
    assert leader.session() == []
