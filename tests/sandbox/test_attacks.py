"""Programs that want more than they were given, one a test. Each has to fail as a program, and the next one to run.

Every test is asked of both runners; one that takes `where` says where they differ (docs/security.md has the list). The
fixture `run` asks an honest program after each, of the same worker. What only a pod has to hold, because other
processes are in sight there, is in test_pod.py.
"""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.sandbox.protocol import Outcome, Termination

from .conftest import Run

MIB = 2**20


# Taking too much ------------------------------------------------------------------------------------------------------


def test_a_fork_bomb(run: Run):
    seen = run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", cpu_s=1, wall_s=3.0, processes=8)
    assert seen.ended in (Termination.CPU, Termination.WALL)


def test_more_processes_than_were_given_cannot_be_had(run: Run):
    source = """
import os, time
made = 0
try:
    while made < 100:
        if os.fork() == 0: time.sleep(60)
        made += 1
except BlockingIOError: print(made)
"""
    assert run(source, processes=8).stdout == b"7\n"


def test_a_thread_bomb(run: Run):
    source = """
import threading, time
made = 0
try:
    while made < 1000:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        made += 1
except RuntimeError: print(made < 40)
"""
    assert run(source, memory=2**32).stdout == b"True\n"


def test_a_memory_bomb(run: Run):
    seen = run("kept = []\nwhile True: kept.append(bytearray(1 << 20))", memory=200 * MIB)
    assert (seen.ended, seen.exit) == (Termination.EXITED, 1)
    assert b"MemoryError" in seen.stderr


@pytest.mark.parametrize(
    "take",
    [
        "os.memfd_create('x')",
        "check(libc.shmget(0, 1 << 30, 0o1600))",
        "check(libc.msgget(0, 0o1600))",
        "check(libc.mq_open(b'/x', 0o100 | 2, 0o600, None))",
        "check(libc.syscall(425, 8, None))",
    ],
    ids=["memfd", "shared memory", "messages", "posix queue", "io_uring"],
)
def test_memory_that_no_limit_counts(run: Run, take: str):
    source = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def check(code):
    if code < 0: raise OSError(ctypes.get_errno(), "refused")
try: {take}
except PermissionError: print("refused")
"""
    assert run(source).stdout == b"refused\n"


def test_an_infinite_loop(run: Run):
    seen = run("while True: pass", cpu_s=1)
    assert seen.ended == Termination.CPU
    assert seen.cpu_s > 0.5


def test_an_infinite_loop_that_wants_to_hear_nothing_of_its_limit(run: Run):
    source = """
import signal
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
"""
    seen = run(source, cpu_s=1)
    assert (seen.ended, seen.signal) == (Termination.CPU, signal.SIGKILL)


def test_raising_its_own_limits(run: Run):
    source = """
import resource
for name in ("CPU", "AS", "NPROC", "FSIZE", "NOFILE"):
    which = getattr(resource, "RLIMIT_" + name)
    try: resource.setrlimit(which, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError: print("refused")
"""
    assert run(source).stdout == b"refused\n" * 5


def test_sleeping_past_the_wall(run: Run):
    seen = run("import time; time.sleep(600)", wall_s=0.5)
    assert (seen.ended, seen.cpu_s < 0.5) == (Termination.WALL, True)


def test_waiting_for_input_that_does_not_come(run: Run):
    assert run("input()").exit == 1


@pytest.mark.parametrize("descriptor", [1, 2, 3])
def test_endless_output(run: Run, descriptor: int):
    seen = run(f"import os\nwhile True: os.write({descriptor}, b'x' * 4096)", output=10_000)
    assert seen.ended == Termination.OUTPUT
    assert len((seen.stdout, seen.stderr, seen.results)[descriptor - 1]) == 10_000


def test_output_of_exactly_the_limit_is_none_too_much(run: Run):
    seen = run("print('x' * 9999)", output=10_000)
    assert (seen.ended, len(seen.stdout)) == (Termination.EXITED, 10_000)


def test_filling_the_disk_with_one_file(run: Run):
    seen = run("with open('x', 'wb') as file:\n    while True: file.write(b'x' * 65536)", disk=MIB, cpu_s=2)
    assert seen.ended in (Termination.EXITED, Termination.SIGNALLED, Termination.DISK)
    assert (seen.exit, seen.signal) != (0, None)


def test_filling_the_disk_with_many_files(run: Run, where: str):
    source = "n = 0\nwhile True:\n    n += 1\n    with open(str(n), 'wb') as file: file.write(b'x' * 65536)"
    assert full(run(source, disk=4 * MIB), where)


def test_filling_the_disk_with_files_that_have_no_name_any_more(run: Run, where: str):
    source = """
import os
kept = []
while True:
    kept.append(open("x", "wb"))
    os.unlink("x")
    kept[-1].write(b"x" * MIB)
    kept[-1].flush()
""".replace("MIB", str(MIB))
    assert full(run(source, disk=4 * MIB), where)


def test_filling_the_disk_with_names(run: Run, where: str):
    assert full(run("n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').close()", cpu_s=60), where)


def full(seen: Outcome, where: str) -> bool:
    """The kernel lets the write fail that is too much, or the worker ends who has written too much."""
    return b"No space left" in seen.stderr if where == "process" else seen.ended == Termination.DISK


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_unpacks_to_more_than_the_disk(run: Run, kind: str):
    import io
    import tarfile
    import zipfile

    bomb = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", bytes(64 * MIB))
    else:
        with tarfile.open(fileobj=bomb, mode="w:gz") as archive:
            (entry := tarfile.TarInfo("x")).size = 64 * MIB
            archive.addfile(entry, io.BytesIO(bytes(64 * MIB)))
    name = f"bomb.{kind}"
    source = f"import shutil; shutil.unpack_archive('{name}', format='{'zip' if kind == 'zip' else 'gztar'}')"
    seen = run(source, files={name: bomb.getvalue()}, disk=2 * MIB)
    assert (seen.exit, seen.signal) != (0, None)


def test_deep_recursion(run: Run):
    assert b"RecursionError" in run("def f(): f()\nf()").stderr


def test_recursion_deeper_than_the_stack(run: Run):
    seen = run(
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr(self)\nrepr(A())"
    )
    assert (seen.ended, seen.exit) != (Termination.EXITED, 0)


def test_an_integer_without_end(run: Run):
    assert run("x = 3\nwhile True: x = x * x", cpu_s=1, memory=200 * MIB).ended in (Termination.CPU, Termination.EXITED)


def test_one_call_that_computes_for_ever(run: Run):
    """No Python signal handler would run within it."""
    assert run("9 ** 9 ** 9", cpu_s=1, memory=2**32).ended in (Termination.CPU, Termination.EXITED)


# Reading what is not its own ------------------------------------------------------------------------------------------


def test_the_environment_is_empty_but_for_a_home(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert run("import os; print(sorted(os.environ))").stdout == b"['HOME', 'LANG', 'PYTHONHASHSEED', 'TMPDIR']\n"


def test_the_parent_s_environment_is_nowhere_in_its_memory(run: Run, monkeypatch: pytest.MonkeyPatch):
    """As C has it, which Python's `environ.clear` might leave behind: a worker never had it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    source = """
import ctypes
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print(libc.getenv(b"AWS_SECRET_ACCESS_KEY"), libc.getenv(b"PATH"))
"""
    assert run(source).stdout == b"None None\n"


@pytest.mark.parametrize(
    "file", ["/proc/self/environ", "/proc/1/stat", "/proc/mounts", "/sys/kernel/mm", "/etc/passwd"]
)
def test_nothing_is_read_of_the_machine_or_its_processes(run: Run, where: str, file: str):
    assert unreadable(run(f"import os\nos.open({file!r}, os.O_RDONLY)"), where)


def test_what_can_be_seen_of_the_machine(run: Run, where: str):
    """All of it: no /etc, no home, no socket of a daemon, nothing mounted by someone else; in a pod not even names."""
    top = {"dev", "lib", "lib64", "tmp", "usr", "work"} | {Path(sys.base_prefix).parts[1]}
    seen = run("import os; print(*os.listdir('/'))")
    assert set(seen.stdout.decode().split()) <= top if where == "process" else unreadable(seen, where)


def test_a_secret_of_the_user_who_runs_it(run: Run, where: str, secret: Path):
    assert unreadable(run(f"open({str(secret)!r})"), where)


def test_a_secret_by_a_symbolic_link(run: Run, where: str, secret: Path):
    assert unreadable(run(f"import os\nos.symlink({str(secret)!r}, 'x')\nopen('x')"), where)


def test_the_folder_above_its_own_by_a_symbolic_link(run: Run, where: str):
    source = """
import os
os.symlink("..", "up")
print(os.listdir("up") == os.listdir("/"))
"""
    seen = run(source)
    assert seen.stdout == b"True\n" if where == "process" else unreadable(seen, where)


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file that everybody may read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "secret").write_text("hunter2")
        yield Path(folder) / "secret"


def unreadable(seen: Outcome, where: str) -> bool:
    """It is not there, or may not be opened."""
    return (b"FileNotFoundError" if where == "process" else b"PermissionError") in seen.stderr


def test_a_way_out_by_an_open_descriptor(run: Run):
    source = """
import os
found = []
for n in range(4096):
    try: os.fstat(n); found.append(n)
    except OSError: pass
print(found)
"""
    assert run(source).stdout == b"[0, 1, 2, 3]\n"


def test_the_old_root_by_chroot_or_mount(run: Run):
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for call in (lambda: libc.chroot(b"."), lambda: libc.mount(b"x", b"/work", b"proc", 0, None),
             lambda: libc.umount2(b"/work", 2), lambda: libc.unshare(0x10000000), lambda: libc.setns(0, 0)):
    print(call(), ctypes.get_errno())
"""
    assert run(source).stdout == b"-1 1\n" * 5


def test_a_user_namespace_by_clone(run: Run):
    """In which it would have every capability."""
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    source = f"import ctypes\nprint(ctypes.CDLL(None).syscall({number}, 0x10000000 | 17, 0, 0, 0, 0))"
    assert run(source, processes=4).stdout == b"-1\n"


# Writing --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(secret: Path) -> Iterator[Path]:
    """A folder that everybody may write to, where nobody has."""
    secret.parent.chmod(0o777)
    yield secret.parent
    assert list(secret.parent.iterdir()) == [secret]


def test_writing_anywhere_but_in_its_folder(run: Run, elsewhere: Path):
    source = f"""
import os
for folder in ("/", "/usr/lib", "/dev", "/dev/shm", "/var/tmp", os.path.dirname(os.__file__), {str(elsewhere)!r}):
    try: open(folder + "/x", "w"); print(folder)
    except OSError: pass
"""
    assert run(source).stdout == b""


def test_changing_the_library_that_others_import(run: Run):
    source = "import json\ntry: open(json.__file__, 'a')\nexcept OSError as error: print(error.errno in (13, 30))"
    assert run(source).stdout == b"True\n"


def test_making_a_device(run: Run):
    assert run("import os, stat\nos.mknod('x', stat.S_IFBLK | 0o600, os.makedev(8, 0))").exit == 1


# The network ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[int]:
    """A server on this machine that takes whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_ipv4(run: Run, listener: int):
    assert b"PermissionError" in run(f"import socket; socket.create_connection(('127.0.0.1', {listener}))").stderr


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW", "SOCK_SEQPACKET"])
def test_no_socket_of_any_family(run: Run, family: str, kind: str):
    assert b"PermissionError" in run(f"import socket as s; s.socket(s.{family}, s.{kind})").stderr


def test_a_name_by_dns(run: Run):
    assert b"gaierror" in run("import socket; socket.getaddrinfo('example.com', 80)").stderr


def test_a_unix_socket_of_the_machine_by_a_pair(run: Run, tmp_path: Path):
    """A datagram socket of a pair may be sent from to any address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0selftaught-test")
        server.setblocking(False)
        source = (
            "import socket as s\na, b = s.socketpair(s.AF_UNIX, s.SOCK_DGRAM)\na.sendto(b'x', '\\0selftaught-test')"
        )
        assert run(source).exit == 1
        with pytest.raises(BlockingIOError):
            server.recv(1)


# Other processes ------------------------------------------------------------------------------------------------------


def test_signals_to_whoever_runs_it(run: Run):
    source = f"""
import os, signal
for pid in (1, os.getppid(), {os.getpid()}, {os.getppid()}, -1, -{os.getpgrp()}):
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGUSR1):
        try: os.kill(pid, number)
        except OSError: pass
print("done")
"""
    assert run(source).stdout == b"done\n"


def test_tracing_or_reading_its_worker(run: Run):
    source = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for call in (lambda: libc.ptrace(16, 1, 0, 0), lambda: libc.process_vm_readv(1, None, 0, None, 0, 0)):
    print(call(), ctypes.get_errno())
"""
    assert run(source).stdout == b"-1 1\n" * 2


def test_slowing_or_starving_its_worker(run: Run):
    source = """
import os, resource
for call in (lambda: os.setpriority(os.PRIO_PROCESS, 1, 19), lambda: os.sched_setaffinity(1, {0}),
             lambda: resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))):
    try: call()
    except PermissionError: print("refused")
"""
    assert run(source).stdout == b"refused\n" * 3


def test_a_daemon_left_behind(run: Run):
    """It would see the next program's process group, and continue computing."""
    source = """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: pass
    os._exit(0)
os.wait()
"""
    assert run(source, processes=4).ended == Termination.EXITED
    assert run("import os\ntry: os.kill(-1, 0)\nexcept ProcessLookupError: print('alone')").stdout == b"alone\n"


def test_a_program_of_the_system_has_no_more_rights(run: Run, user: int):
    """A set-user-id file gives nothing, and nothing that is executed sheds the filter."""
    assert run("import os; print(os.getresuid())").stdout == f"{(user, user, user)}\n".encode()
    assert run("import os\nos.setuid(0)").exit == 1


# What it says of itself -----------------------------------------------------------------------------------------------


def test_ending_at_once_with_a_good_status(run: Run):
    seen = run("import os\nos._exit(0)\nos.write(3, b'right')")
    assert (seen.exit, seen.results) == (0, b"")


def test_closing_or_moving_the_results(run: Run):
    assert run("import os\nos.close(3)").results == b""
    assert run("import os\nos.dup2(1, 3)\nos.write(3, b'x')").results == b""


def test_a_crash(run: Run):
    seen = run("import ctypes; ctypes.string_at(0)")
    assert (seen.ended, seen.signal) == (Termination.SIGNALLED, signal.SIGSEGV)


def test_killing_itself_is_no_limit_passed(run: Run):
    seen = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (seen.ended, seen.signal) == (Termination.SIGNALLED, signal.SIGKILL)


def test_what_is_printed_is_bytes_and_nothing_of_the_protocol(run: Run):
    forged = '{"ended": "exited", "exit": 0}\\n\\0\\xff'
    seen = run(f"import sys; sys.stdout.buffer.write(b'{forged}'); sys.exit(3)")
    assert (seen.exit, seen.stdout) == (3, b'{"ended": "exited", "exit": 0}\n\0\xff')
