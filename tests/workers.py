"""How `make pytest` shares the tests among processes: `-p tests.workers -n auto` of pytest-xdist.

A file's tests stay together, so that what they share is made once. Files with tests that load the starter model are one
group, which comes first: an engine takes 5 GB, so only one worker ever has one. Without these options pytest starts no
worker. xdist's own groups (`xdist_group`) are no help: up to 3.8 they do nothing under pytest 9.2, without a word.
"""

import os
from functools import cache
from pathlib import Path
from typing import cast

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

GB = 10**9
MEMORY_OF_A_WORKER = 4 * GB
"""Four workers take some 4 GB together; one of them starts engines, and builds of the images may run beside them."""


def affordable(cores: int, available: int) -> int:
    """How many workers: two more than cores, because tests mostly wait, as far as the `available` bytes reach."""
    return max(1, min(cores + 2, available // MEMORY_OF_A_WORKER))


@cache
def group(file: Path) -> str:
    """The name of what runs in one worker, one after the other, with the tests of `file`."""
    return "model" if "pytest.mark.model" in file.read_text(encoding="utf-8") else str(file)


class Groups(LoadFileScheduling):
    """Hands groups of files to workers, once every file could be read."""

    def schedule(self) -> None:
        """End where pytest does with one process: xdist runs what is left, and tells the errors at the end."""
        session = cast("pytest.Session", self.config.pluginmanager.getplugin("session"))
        if self.collection is None and session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} error(s) during collection")
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return group(self.config.rootpath / nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Files in groups, whatever `--dist` says."""
    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)  # xdist's own comes later, and would be asked first: one a core
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    available = next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    return affordable(len(os.sched_getaffinity(0)), available)


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker its share of the cores before it imports torch, and no width of a terminal."""
    given = getattr(config, "workerinput", None)
    if given:
        os.environ.pop("COLUMNS", None)  # a console would be as wide as that from its import on
        share = len(os.sched_getaffinity(0)) // given["workercount"]
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The group with the model first: it takes longest. A file's tests stay side by side, for what a module shares."""
    items.sort(key=lambda item: group(item.path) != "model")
