"""Look, plan, and do what was planned: safe beside a running campaign, and to kill and run again.

A line that is being run on this machine is left alone, and nobody starts one meanwhile (its lock). What an unfinished
round anywhere refers to is needed. Before folders go, everything is checked once more: what came to be needed since
the first look stays. The order of moves, and what is needed, are `planning`'s and `lineage`'s.
"""

import fcntl
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.retention.inventory import Deployments, NoDeployments, NoPipelines, Pipelines
from selftaught.retention.planning import Fate, RetentionPlan, Scope, plan, with_roles
from selftaught.retention.policy import RetentionPolicy
from selftaught.retention.survey import Memory, survey
from selftaught.state.journal import remove_journal
from selftaught.state.tracking import Version

FOLDERS = ("models", "datasets", "unmark")
"""The moves of after the second look."""
LAST = ("pipeline",)
"""The moves on what nothing else waits for."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Plans and removes by `policy`, on one line or (empty) on all; `now` is in seconds since the epoch."""

    platform: Platform
    policy: RetentionPolicy
    line: str = ""
    deployments: Deployments = field(default_factory=NoDeployments)
    pipelines: Pipelines = field(default_factory=NoPipelines)
    now: float = 0.0

    def plan(self) -> RetentionPlan:
        """What would go. Changes nothing. Raises StoreError or Unavailable when something cannot be read."""
        with held_lines(self.platform.settings.home) as busy:
            pass
        return self._look(Memory(self.platform.store), busy)

    def collect(self, planned: Callable[[RetentionPlan], None], moving: Callable[[Fate], None]) -> RetentionPlan:
        """Remove what goes, and return the plan.

        `planned` gets the plan before anything happens, `moving` each move before it is made.

        Killed at any moment, or stopped by StoreError or Unavailable, the next call does the rest. Raises BadInput
        while another process of this machine collects.
        """
        memory, home = Memory(self.platform.store), self.platform.settings.home
        with _alone(home), held_lines(home) as busy:
            first = self._look(memory, busy)
            planned(first)
            for fate in first.go:
                if fate.kind not in (*FOLDERS, *LAST):
                    self._move(fate, moving)
            for fate in self._still(first, memory, busy):
                self._move(fate, moving)
            for fate in first.go:
                if fate.kind in LAST:
                    self._move(fate, moving)
        return first

    def _look(self, memory: Memory, busy: frozenset[str]) -> RetentionPlan:
        now = self.now or time.time()
        state = survey(self.platform, self.deployments, memory, now, self.pipelines)
        only = with_roles(state, frozenset([self.line])) if self.line else None
        return plan(state, self.policy, now, Scope(only, with_roles(state, busy)))

    def _still(self, first: RetentionPlan, memory: Memory, busy: frozenset[str]) -> list[Fate]:
        """What a second look finds right too of the moves on folders, and which marks came to be wrong meanwhile.

        It asks for no line: the claims that say whose a data set is may be gone by now.
        """
        wanted = {(fate.kind, fate.key) for fate in first.go if fate.kind in FOLDERS}
        if not wanted:
            return []
        now = self.now or time.time()
        state = survey(self.platform, self.deployments, memory, now)
        again = plan(state, self.policy, now, Scope(None, with_roles(state, busy)))
        serving = {each.digest for each in state.deployments}  # an endpoint that is on its way out still reads files
        right = [fate for fate in again.go if fate.kind == "unmark" or (fate.kind, fate.key) in wanted]
        return [fate for fate in right if fate.key not in serving]

    def _move(self, fate: Fate, moving: Callable[[Fate], None]) -> None:
        moving(fate)
        store = self.platform.store
        match fate.kind:
            case "served":
                line, _, digest = fate.key.rpartition("/")
                self.deployments.remove(line, digest)
            case "pipeline":
                self.pipelines.remove(fate.key)
            case "journal":
                remove_journal(store, fate.key)
            case "claim":
                store.release(fate.key)
            case "mark":
                self._mark(fate.key, datetime.now(UTC).date().isoformat())
            case "unmark":
                self._mark(fate.key, "")
            case "models" | "datasets":
                store.remove(fate.kind, fate.key)

    def _mark(self, key: str, when: str) -> None:
        line, _, number = key.rpartition("/")
        self.platform.tracker.mark_removed(Version(line, number, "", ""), when)


@contextmanager
def _alone(home: Path) -> Generator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "gc.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{home}: another `selftaught gc` is running. Wait for it.") from None
        yield


@contextmanager
def held_lines(home: Path) -> Generator[frozenset[str]]:
    """Hold the lock of every line that was ever run on this machine; yields the lines that someone else holds."""
    busy: set[str] = set()
    with ExitStack() as stack:
        for lock in sorted(home.glob("campaigns/*/lock")):
            file = stack.enter_context(lock.open())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy.add(lock.parent.name)
        yield frozenset(busy)
