"""What an ordinary program gets and gives."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import selftaught
from selftaught.core.errors import BadInput
from selftaught.sandbox.process import ProcessSandbox
from selftaught.sandbox.protocol import Limits, Program, SandboxFailed, Termination

from .conftest import Run


def test_a_program_is_run_as_python_runs_a_file(run: Run):
    """Its name, arguments, input, files, folder, imports, descriptor for results, and both its outputs."""
    source = """
import os, sys, helper
assert __name__ == "__main__" and sys.argv == ["program.py", "a", "ä"]
assert os.listdir("data") == ["x"] and open("data/x", "rb").read() == bytes(range(256))
print(helper.twice(int(input())), end="")
print("ü", file=sys.stderr, end="")
os.write(3, b"result")
"""
    files = {"helper.py": b"def twice(x): return 2 * x", "data/x": bytes(range(256))}
    seen = run(source, args=("a", "ä"), stdin=b"21\n", files=files)
    assert (seen.ended, seen.exit, seen.signal) == (Termination.EXITED, 0, None)
    assert (seen.stdout, seen.stderr.decode(), seen.results) == (b"42", "ü", b"result")


@pytest.mark.parametrize(
    ("source", "exit"), [("", 0), ("raise SystemExit(7)", 7), ("import sys; sys.exit('x')", 1), ("1/0", 1), ("(", 1)]
)
def test_its_exit_status_is_python_s(run: Run, source: str, exit: int):
    assert (
        run(source).exit
        == exit
        == subprocess.run([sys.executable, "-c", source], capture_output=True, check=False).returncode
    )


def test_an_error_names_the_program_s_own_lines_and_no_others(run: Run):
    said = run("def f():\n    return 1 / 0\nf()").stderr.decode()
    assert said.count("File ") == 2
    assert 'File "program.py", line 2, in f\n    return 1 / 0' in said


def test_what_it_leaves_to_do_at_the_end_is_done(run: Run):
    source = "import atexit, threading\natexit.register(print, 2)\nthreading.Timer(0.05, print, [1]).start()"
    assert run(source).stdout == b"1\n2\n"


def test_asyncio_and_threads_work(run: Run):
    source = """
import asyncio
from concurrent.futures import ThreadPoolExecutor
async def main():
    return await asyncio.to_thread(lambda: sum(ThreadPoolExecutor(4).map(abs, [-1, -2])))
print(asyncio.run(main()))
"""
    assert run(source, memory=2**30).stdout == b"3\n"


def test_with_more_than_one_process_a_program_may_have_so_many(run: Run):
    assert run("import os; os.fork()").exit == 1
    assert run("import os\nif os.fork() == 0: os._exit(3)\nprint(os.wait()[1])", processes=2).stdout == b"768\n"


def test_two_programs_are_two_processes_with_nothing_in_common(run: Run):
    run("import sys, builtins\nsys.modules['json'] = builtins.print = builtins.len = None\nopen('left', 'w').close()")
    assert run("import json, os; print(len(json.dumps({})), os.path.exists('left'))").stdout == b"2 False\n"


def test_sets_of_text_have_one_order_in_every_run(run: Run):
    source = "print({str(i) for i in range(50)})"
    assert run(source).stdout == run(source).stdout


def test_random_numbers_differ_between_programs(run: Run):
    source = "import random; print(random.random())"
    assert run(source).stdout != run(source).stdout


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b"])
def test_a_file_outside_of_the_folder_is_refused_before_anything_runs(name: str):
    with pytest.raises(BadInput, match="relative path"):
        Program("", files={name: b""})


@pytest.mark.parametrize("name", Limits.__slots__)
def test_a_limit_of_nothing_is_refused(name: str):
    with pytest.raises(BadInput, match=rf"limits\.{name}"):
        Limits(**{name: 0})


def test_many_at_once_come_back_in_their_order(runner: asyncio.Runner, sandbox: ProcessSandbox):
    del sandbox

    async def many() -> list[bytes]:
        async with ProcessSandbox(workers=3) as pool:
            return [seen.stdout for seen in await pool.run_all(Program(f"print({i})") for i in range(20))]

    assert runner.run(many()) == [b"%d\n" % i for i in range(20)]


def test_a_worker_that_is_killed_is_no_program_s_failure_and_is_replaced(runner: asyncio.Runner):
    async def lose() -> bytes:
        async with ProcessSandbox(workers=1) as pool:
            process = pool._workers[0]._process
            assert process is not None
            going = asyncio.create_task(pool.run(Program("while True: pass")))
            await asyncio.sleep(0.3)
            os.killpg(process.pid, signal.SIGKILL)
            with pytest.raises(SandboxFailed):
                await going
            return (await pool.run(Program("print(1)"))).stdout

    assert runner.run(lose()) == b"1\n"


def test_a_run_that_is_cancelled_ends_its_program(runner: asyncio.Runner):
    async def cancel() -> bytes:
        async with ProcessSandbox(workers=1) as pool:
            going = asyncio.create_task(pool.run(Program("while True: pass", limits=Limits(cpu_s=600, wall_s=600))))
            await asyncio.sleep(0.3)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            return (await pool.run(Program("print(1)"))).stdout

    assert runner.run(cancel()) == b"1\n"


def test_a_run_that_is_cancelled_while_its_worker_starts_leaves_nothing_to_the_next(runner: asyncio.Runner):
    async def cancel() -> bytes:
        async with ProcessSandbox(workers=1) as pool:
            for seconds in (0.3, 0.01, 0.02, 0.05):  # the first one's end makes the others' worker start anew
                going = asyncio.create_task(pool.run(Program("while True: pass", limits=Limits(cpu_s=600, wall_s=600))))
                await asyncio.sleep(seconds)
                going.cancel()
                await asyncio.gather(going, return_exceptions=True)
            return (await pool.run(Program("print(1)"))).stdout

    assert runner.run(cancel()) == b"1\n"


_PYTHON = "/usr/bin/python3"
"""An interpreter that every user of the machine may use, where there is one."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.skipif(not Path(_PYTHON).exists(), reason=f"no {_PYTHON}")
@pytest.mark.usefixtures("_held")
def test_an_unprivileged_user_has_the_same_sandbox():
    """Asked as nobody, from a copy that nobody may read: the checkout may lie in a home that only root reads."""
    ask = """
import asyncio
from selftaught.sandbox.process import ProcessSandbox
from selftaught.sandbox.protocol import Program
async def main():
    async with ProcessSandbox(1) as pool:
        return await pool.run(Program("import os; print(os.getuid(), os.getpid() > 1, os.path.exists('/etc'))"))
print(asyncio.run(main()).stdout)
"""
    package = Path(selftaught.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "selftaught")
        shutil.copytree(package / "sandbox", copy / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "core").mkdir()
        for name in ("__init__.py", "core/__init__.py", "core/errors.py"):
            shutil.copy(package / name, copy / name)
        Path(folder).chmod(0o755)
        seen = subprocess.run(
            [_PYTHON, "-c", ask],
            cwd=folder,
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    assert seen.stdout == "b'65534 True False\\n'\n", seen.stderr
