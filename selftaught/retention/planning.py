"""The plan: what goes, what stays, and why. A pure function of what there is, the ages and the time.

Moves are in the order in which they are safe. An endpoint goes before its model's files, a journal before its step's
claim, and a claim before what it names: killed anywhere, a step that runs again finds all of its output or no claim,
and recreates it. A version is marked before its files go, so that nobody rolls back to it meanwhile.
Versions of pipelines go last: nothing waits for them, and Kubeflow Pipelines may not answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from selftaught.retention.inventory import Deployment, Folder, Holds, Journal, PipelineVersion, State
from selftaught.retention.lineage import in_progress, needed, owners
from selftaught.retention.policy import RetentionPolicy
from selftaught.state.ledger import ReferenceEntry

DAY = 86400.0
Kind = Literal["served", "pipeline", "journal", "mark", "claim", "models", "datasets", "unmark"]
"""`mark` says on a version that its files are gone, `unmark` that they are there; `claim` is any claim."""


@dataclass(frozen=True, slots=True)
class Fate:
    """One thing and what becomes of it: `key` is its digest, its claim or journal, or `<line>/<digest or version>`."""

    kind: Kind
    key: str
    why: str
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What goes, in the order of going, and what stays. `unknown` says why versions of pipelines are in neither."""

    go: tuple[Fate, ...]
    kept: tuple[Fate, ...]
    unknown: str = ""

    @property
    def bytes(self) -> int:
        """What is freed."""
        return sum(fate.bytes for fate in self.go)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look: `only` these lines (None: all of them, and what is of no line), without those that are `busy`."""

    only: frozenset[str] | None = None
    busy: frozenset[str] = frozenset()

    def excuse(self, lines: frozenset[str]) -> str:
        """Why what belongs to `lines` is not checked; empty when it is."""
        if lines & self.busy:
            return f"line {min(lines & self.busy)} is being run"
        if self.only is not None and not (lines and lines <= self.only):
            return "not of this line alone"
        return ""


EVERYWHERE = Scope()


def plan(state: State, policy: RetentionPolicy, now: float, scope: Scope = EVERYWHERE) -> RetentionPlan:
    """What `policy` says of everything in `state` at `now`. Equal arguments give equal plans."""
    return _Planner(state, policy, now, scope).plan()


def with_roles(state: State, lines: frozenset[str]) -> frozenset[str]:
    """`lines` and the lines of the roles that are trained beside them."""
    return lines.union(*(round.lines for round in state.rounds if round.lines & lines))


class _Planner:
    """What several decisions share: reasons, owners, ages."""

    def __init__(self, state: State, policy: RetentionPolicy, now: float, scope: Scope) -> None:
        self.state, self.policy, self.now, self.scope = state, policy, now, scope
        self.claims = {claim.key: claim for claim in state.claims}
        self.called = {v.digest: f"{v.line} version {v.version}, {v.outcome or 'no champion'}" for v in state.versions}
        self.owners = owners(state)
        self.needed = needed(state)
        self.open = [round for round in state.rounds if not round.ended]
        self.using = set[str]().union(*(in_progress(state, round) for round in self.open))

    def plan(self) -> RetentionPlan:
        served = [self._deployment(each) for each in self.state.deployments]
        for each, (goes, _) in zip(self.state.deployments, served, strict=True):
            if not goes:
                self.needed.setdefault(each.digest, f"served for {each.line}")
        journals = [self._journal(each) for each in self.state.journals]
        folders = [self._folder(each) for each in self.state.folders]
        pipelines = [self._pipeline(each) for each in self.state.pipelines]
        fates = [*served, *pipelines, *journals, *folders]
        gone = {fate.key for goes, fate in folders if goes}
        go = [
            *(fate for goes, fate in served if goes),
            *(fate for goes, fate in journals if goes),
            *self._marks(gone),
            *self._claims(gone),
            *(fate for goes, fate in folders if goes),
            *self._unmarks(gone),
            *(fate for goes, fate in pipelines if goes),
        ]
        return RetentionPlan(tuple(go), tuple(fate for goes, fate in fates if not goes), self.state.unknown)

    def _deployment(self, served: Deployment) -> tuple[bool, Fate]:
        """Its own aliases and rounds keep it, but not that its model is of some lineage: files do for that."""
        aliases = [a for v in self.state.versions if v.digest == served.digest for a in v.aliases]
        kept = f"{', '.join(sorted(set(aliases)))} of {served.line}" if aliases else ""
        kept = kept or ("a round that is not finished uses it" if served.digest in self.using else "")
        return self._fate(
            Fate("served", f"{served.line}/{served.digest}", "no alias points at it"),
            kept or self.scope.excuse(frozenset([served.line])),
            self.policy.served,
            served.since,
        )

    def _pipeline(self, version: PipelineVersion) -> tuple[bool, Fate]:
        fate = Fate("pipeline", version.name, "no run and no champion is of it")
        return self._fate(fate, version.kept or self.scope.excuse(frozenset()), self.policy.pipelines, version.made)

    def _journal(self, journal: Journal) -> tuple[bool, Fate]:
        claim = self.claims.get(journal.step)
        kept, why, lines = "", "its step is done", frozenset[str]()
        if claim is None:
            why = "its step was given up"
            if any(round.started <= journal.written for round in self.open):
                kept = "its step may resume: an unfinished round started before"
        else:
            kept = "its round is not finished" if self.using.intersection(claim.names) else ""
            lines = lines.union(*(self.owners.get(name, frozenset()) for name in claim.names))
        fate = Fate("journal", journal.key, why, journal.bytes)
        return self._fate(fate, kept or self.scope.excuse(lines), self.policy.journals, journal.written)

    def _folder(self, folder: Folder) -> tuple[bool, Fate]:
        limit, why = _limit(folder, self.policy)
        why = self.called.get(folder.digest, why)
        kept = self.needed.get(folder.digest, "")
        kept = kept or self.scope.excuse(self.owners.get(folder.digest, frozenset()))
        return self._fate(Fate(folder.kind, folder.digest, why, folder.bytes), kept, limit, folder.written)

    def _fate(self, fate: Fate, kept: str, limit: int, written: float) -> tuple[bool, Fate]:
        """Whether it goes, and why: `kept` is what speaks against it besides its age."""
        days = (self.now - written) / DAY
        if not kept and days < limit:
            kept = f"younger than {limit} day{'s' * (limit > 1)}"
        why = kept or f"{fate.why}, {days:.0f} days old"
        return not kept, Fate(fate.kind, fate.key, why, fate.bytes)

    def _marks(self, gone: set[str]) -> Iterator[Fate]:
        for version in self.state.versions:
            if version.digest in gone and not version.removed:
                yield Fate("mark", f"{version.line}/{version.version}", "its files go; the version stays")

    def _unmarks(self, gone: set[str]) -> Iterator[Fate]:
        there = {f.digest for f in self.state.folders if f.kind == "models" and f.complete} - gone
        for version in self.state.versions:
            if version.removed and version.digest in there:
                yield Fate("unmark", f"{version.line}/{version.version}", "its files are there")

    def _claims(self, gone: set[str]) -> Iterator[Fate]:
        there = {folder.digest for folder in self.state.folders if folder.complete}
        for claim in self.state.claims:
            if gone.intersection(claim.names):
                yield Fate("claim", claim.key, "what it names goes")
            elif not there.issuperset(claim.names):
                yield Fate("claim", claim.key, "what it refers to is gone")
        for digest in sorted(self.state.references & gone):
            yield Fate("claim", ReferenceEntry(digest).key, "its model goes")


_DATA: Mapping[Holds, tuple[str, str]] = {
    "tasks": ("rollouts", "tasks of no finished round"),
    "examples": ("rollouts", "examples of no finished round"),
    "groups": ("rollouts", "rollouts"),
    "trees": ("trees", "rollouts with their trees"),
    "scores": ("scores", "scores"),
}
"""The age that each kind of data set is kept for, and what it is called."""


def _limit(folder: Folder, policy: RetentionPolicy) -> tuple[int, str]:
    """How many days a folder is kept that nothing needs, and what it is called."""
    if not folder.complete:
        return policy.torn, "left by a killed process"
    if folder.kind == "models":
        return policy.models, "a model of no line"
    age, words = _DATA[folder.holds]
    return getattr(policy, age), words
