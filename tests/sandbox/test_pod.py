"""What a pod's server has to hold because others are in sight: the server, its workers, the program next door.

And what it is to its clients: lost on the way it is the sandbox's failure. The attacks of every runner are in
test_attacks.py.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from selftaught.sandbox.protocol import Limits, Outcome, Program, SandboxFailed, Termination
from selftaught.sandbox.remote import RemoteSandbox, silence

from .pod import RESTRICTED, SECRET, Pod, pod_like

LONG = Limits(cpu_s=600, wall_s=600.0, processes=8)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pod]:
    """A server with two workers."""
    with pod_like(workers=2) as pod:
        yield pod


@pytest.fixture(params=[1, 8], ids=["one process", "processes"])
def ask(pod: Pod, request: pytest.FixtureRequest) -> Callable[[str], Outcome]:
    """Run a program, with and without processes of its own: the filter asks the worker about signals with them."""
    return lambda source: _run(pod, Program(source, limits=Limits(wall_s=300.0, processes=request.param)))


def _run(pod: Pod, program: Program) -> Outcome:
    async def run() -> Outcome:
        async with RemoteSandbox(pod.url) as sandbox:
            return await sandbox.run(program)

    return asyncio.run(run())


# The server and its workers -------------------------------------------------------------------------------------------

_SIGNALS = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
done = []
for pid in PIDS:
    for call in CALLS:
        if call(pid) == 0: done.append((pid, call))
print(done)
"""
_CALLS = {
    "kill": "[lambda pid: libc.kill(pid, 9), lambda pid: libc.kill(-pid, 9), lambda pid: libc.kill(-1, 9)]",
    "threads": "[lambda pid: libc.syscall({tgkill}, pid, pid, 9), lambda pid: libc.syscall({tkill}, pid, 9)]",
    "queued": """[lambda pid: libc.sigqueue(pid, 9, None),
        lambda pid: libc.syscall({tgsigqueue}, pid, pid, 9, bytes(128))]""",
    "pidfd": "[lambda pid: libc.syscall(424, libc.syscall(434, pid, 0), 9, None, 0)]",
    "owner": """[lambda pid: libc.fcntl(os.pipe()[0], 8, pid), lambda pid: libc.fcntl(0, 10, 9),
        lambda pid: libc.fcntl(0, 15, (ctypes.c_int * 2)(1, pid)),
        lambda pid: libc.ioctl(0, 0x8901, ctypes.byref(ctypes.c_int(pid)))]""",
}
_NUMBERS = {
    "x86_64": {"tgkill": 234, "tkill": 200, "tgsigqueue": 297},
    "aarch64": {"tgkill": 131, "tkill": 130, "tgsigqueue": 240},
}


@pytest.mark.parametrize("way", _CALLS)
def test_no_signal_reaches_the_server_or_a_worker(pod: Pod, ask: Callable[[str], Outcome], way: str):
    before = {each.pid for each in pod.processes()}
    calls = _CALLS[way].format(**_NUMBERS[os.uname().machine])
    seen = ask(_SIGNALS.replace("PIDS", str([pod.server, *before])).replace("CALLS", calls))
    assert (seen.stdout, seen.stderr) == (b"[]\n", b"")
    assert {each.pid for each in pod.processes()} == before


@pytest.mark.parametrize("file", ["environ", "mem", "maps", "cmdline", "fd", "cwd/", "root/etc/passwd"])
def test_nothing_is_read_of_the_server_or_a_worker(pod: Pod, ask: Callable[[str], Outcome], file: str):
    source = f"""
import os
for pid in {[pod.server, *(each.pid for each in pod.processes())]}:
    try: os.open(f"/proc/{{pid}}/{file}", os.O_RDONLY); print("opened", pid)
    except PermissionError: pass
"""
    assert (seen := ask(source)).stdout == b"" and seen.stderr == b""


def test_the_kernel_itself_keeps_the_servers_memory_and_environment():
    """From any process of the same user, with nothing of the sandbox in between."""
    if not os.geteuid():
        pytest.skip("root may read whatever it likes")
    with pod_like(workers=1) as pod, pytest.raises(PermissionError):
        Path(f"/proc/{pod.server}/environ").read_bytes()


def test_the_servers_environment_is_no_workers(pod: Pod):
    if os.geteuid():
        pytest.skip("only root may look")
    for worker in pod.processes():
        assert SECRET.encode() not in Path(f"/proc/{worker.pid}/environ").read_bytes()


# Signals and processes of its own -------------------------------------------------------------------------------------


def test_a_program_may_end_its_own_processes(pod: Pod):
    source = """
import os, signal, time
def child():
    if (pid := os.fork()) == 0:
        time.sleep(600)
    return pid
one = child()
os.kill(one, signal.SIGKILL)
print(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]))
other = child()
os.setpgid(other, other)
os.killpg(other, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""
    assert _run(pod, Program(source, limits=LONG)).stdout == b"-9\n-15\n"


def test_a_program_may_signal_itself(ask: Callable[[str], Outcome]):
    source = """
import os, signal, threading
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(0, 0)
signal.raise_signal(signal.SIGUSR1)
signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
"""
    assert (seen := ask(source)).stdout == b"heard\n" * 3, seen.stderr


def test_no_process_is_left_of_a_program_that_ends(pod: Pod):
    before = {each.pid for each in pod.processes()}
    source = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(600)
        os._exit(0)
    os.wait()
"""
    assert _run(pod, Program(source, limits=LONG)).ended == Termination.EXITED
    assert {each.pid for each in pod.processes()} == before


def test_processes_that_multiply_while_they_are_ended_end_all_the_same(pod: Pod):
    before = {each.pid for each in pod.processes()}
    source = """
import os
for _ in range(3): os.fork()
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass
"""
    seen = _run(pod, Program(source, limits=Limits(cpu_s=600, wall_s=1.0, processes=32)))
    assert seen.ended == Termination.WALL
    assert {each.pid for each in pod.processes()} == before


# Files ----------------------------------------------------------------------------------------------------------------


def test_no_file_is_left_whatever_its_mode_and_depth(pod: Pod):
    source = """
import os
os.mkdir("closed"); open("closed/x", "w").close(); os.mkdir("closed/below"); os.chmod("closed/below", 0)
os.chmod("closed", 0)
for _ in range(1500):
    os.mkdir("d"); os.chdir("d")
open("x", "w").close()
"""
    seen = _run(pod, Program(source, limits=LONG))
    assert (seen.exit, seen.stderr) == (0, b"")
    assert [*pod.scratch[0].iterdir()] == []


def test_files_are_left_nowhere_else(pod: Pod, ask: Callable[[str], Outcome]):
    source = """
for folder in ("..", "/tmp", "/dev/shm", "/var/tmp", "/dev/mqueue"):
    try: open(folder + "/left", "w"); print(folder)
    except OSError: pass
"""
    assert ask(source).stdout == b""


# The program next door ------------------------------------------------------------------------------------------------


def test_a_program_next_door_is_not_reached(pair: Pod):
    """It is given what no program could find out: where the other one is."""

    async def both() -> tuple[Outcome, Outcome]:
        async with RemoteSandbox(pair.url) as sandbox:
            victim = asyncio.create_task(sandbox.run(Program(_VICTIM, limits=LONG)))
            folder, pid = await asyncio.to_thread(_found, pair)
            attack = _NEXT_DOOR.format(folder=str(folder), pid=pid)
            seen = await sandbox.run(Program(attack, limits=LONG))
            folder.joinpath("go").touch()
            return await victim, seen

    victim, seen = asyncio.run(both())
    assert (seen.stdout, seen.stderr) == (b"[]\n", b"")
    assert (victim.exit, victim.results) == (0, b"right")


_VICTIM = """
import os, time
while not os.path.exists("go"): time.sleep(0.01)
os.write(3, b"right")
"""
_NEXT_DOOR = """
import os
done = []
def attempt(call, *arguments):
    try: call(*arguments)
    except OSError: return
    done.append(call.__name__)
attempt(os.listdir, {folder!r})
attempt(open, {folder!r} + "/program.py")
attempt(open, {folder!r} + "/go", "w")
attempt(open, "/proc/{pid}/fd/3", "wb")
attempt(os.readlink, "/proc/{pid}/cwd")
attempt(os.listdir, os.path.dirname({folder!r}))
for number in (9, 19): attempt(os.kill, {pid}, number)
print(done)
"""


def _found(pod: Pod) -> tuple[Path, int]:
    """The folder of the program that runs, and its process."""
    while True:
        for scratch in pod.scratch:
            for folder in scratch.iterdir():
                workers = {each.pid for each in pod.processes() if each.parent == pod.server}
                for each in pod.processes():
                    if each.parent in workers and (folder / "program.py").exists():
                        return folder, each.pid
        time.sleep(0.05)


def test_names_of_files_next_door_are_not_watched(ask: Callable[[str], Outcome]):
    source = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.inotify_init1(0), ctypes.get_errno())"
    assert ask(source).stdout == b"-1 1\n"


# The server as its clients have it ------------------------------------------------------------------------------------


def test_as_many_run_at_once_as_there_are_workers_and_come_back_in_their_order(pair: Pod):
    async def many() -> list[bytes]:
        async with RemoteSandbox(pair.url) as sandbox:
            return [seen.stdout for seen in await sandbox.run_all(Program(f"print({i})") for i in range(20))]

    assert asyncio.run(many()) == [b"%d\n" % i for i in range(20)]


def test_a_worker_that_is_lost_is_no_programs_failure_and_leaves_nothing(pod: Pod):
    async def lose() -> bytes:
        async with RemoteSandbox(pod.url) as sandbox:
            forks = "import os\nif os.fork() == 0: os.setsid()\nwhile True: pass"
            going = asyncio.create_task(sandbox.run(Program(forks, limits=LONG)))
            await asyncio.to_thread(_until, lambda: len(pod.processes()) == 3)
            for worker in [each for each in pod.processes() if each.parent == pod.server]:
                os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(SandboxFailed):
                await going
            return (await sandbox.run(Program("print(1)"))).stdout

    assert asyncio.run(lose()) == b"1\n"
    assert len(pod.processes()) == 1


def test_a_run_that_is_cancelled_ends_its_program(pod: Pod):
    async def cancel() -> None:
        async with RemoteSandbox(pod.url) as sandbox:
            going = asyncio.create_task(sandbox.run(Program("while True: pass", limits=LONG)))
            await asyncio.to_thread(_until, lambda: len(pod.processes()) == 2)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    asyncio.run(cancel())
    _until(lambda: len(pod.processes()) < 2)


def test_a_server_that_is_lost_is_no_programs_failure():
    async def lose() -> None:
        async with RemoteSandbox(pod.url) as sandbox:
            going = asyncio.create_task(sandbox.run(Program("import time; time.sleep(600)", limits=LONG)))
            await asyncio.to_thread(_until, lambda: len(pod.processes()) == 2)
            os.kill(pod.server, signal.SIGKILL)
            with pytest.raises(SandboxFailed, match="no answer"):
                await going
            with pytest.raises(SandboxFailed, match="no answer"):
                await sandbox.run(Program(""))

    with pod_like(workers=1) as pod:
        asyncio.run(lose())


def test_a_program_that_runs_long_is_told_from_a_server_that_is_lost(pod: Pod, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selftaught.sandbox.remote._HEARD_WITHIN_S", 7.0)
    assert _run(pod, Program("import time; time.sleep(9)", limits=LONG)).exit == 0


def test_a_program_whose_files_would_lie_elsewhere_is_refused_by_the_server_too(pod: Pod):
    limits = {name: getattr(LONG, name) for name in Limits.__slots__}
    asked = {"source": "", "stdin": "", "args": [], "files": {"../../x": ""}, "limits": limits}
    answer = httpx.post(f"{pod.url}/run", json=asked, trust_env=False)
    assert answer.status_code == 400 and "relative path" in answer.text


async def test_whether_a_server_answers(pod: Pod):
    assert await silence(pod.url) == ""
    assert "http://127.0.0.1:9: no answer" in await silence("http://127.0.0.1:9")


def test_the_server_that_the_settings_name_runs_the_programs_of_a_process_that_could_not(pod: Pod):
    ask = """
import asyncio
from selftaught.sandbox import shared
from selftaught.sandbox.protocol import Program
print(asyncio.run(shared.run_all([Program("print(1)")]))[0].stdout)
"""
    environment = os.environ | {"SELFTAUGHT_SANDBOX_URL": pod.url}
    done = subprocess.run([sys.executable, "-c", RESTRICTED + ask], env=environment, capture_output=True, check=False)
    assert done.stdout == b"b'1\\n'\n", done.stderr


def test_who_may_make_no_namespaces_is_told_of_the_pods():
    ask = "from selftaught.sandbox.process import refusal\nprint(refusal())"
    done = subprocess.run([sys.executable, "-c", RESTRICTED + ask], capture_output=True, text=True, check=False)
    assert "sandbox.enabled" in done.stdout and "SELFTAUGHT_SANDBOX_URL" in done.stdout, done.stderr


def test_roots_server_is_refused():
    if os.geteuid():
        pytest.skip("only root can be root")
    command = [sys.executable, "-m", "selftaught.sandbox.server", "--scratch=/nowhere", "--port=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode and "a user other than root" in done.stderr


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
