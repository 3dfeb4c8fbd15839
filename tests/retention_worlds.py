"""Small worlds for retention: lines with rounds of every outcome, as `State` and, written out, as a store and registry.

A world also knows the truth that the planner has to find out from tags, manifests, claims and records: what each thing
was made of (`made_of`).
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from hypothesis import strategies as st

from selftaught.platform import Platform
from selftaught.records.dataset import Manifest
from selftaught.report.data import DatasetRef, ModelVersion, ReportData, RoundReport
from selftaught.retention.inventory import Claim, Folder, Holds, Journal, Registered, Round, State
from selftaught.retention.planning import DAY, RetentionPlan
from selftaught.state.ledger import PlanEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.store import MARKER, DirectoryStore
from tests.plans import end_round, fixed

NOW = 2_000_000_000.0
STEPS = ("tasks", "groups", "verified", "examples", "model", "scores", "record")
"""How far a round may have come, in order."""


@dataclass(frozen=True)
class Spec:
    """A round to be made: `came` counts the steps that it did; one that is `open` has no outcome in the registry."""

    outcome: str = "refused"
    searched: bool = False
    came: int = len(STEPS)
    from_head: bool = False
    replays: bool = False
    open: bool = False


@dataclass
class World:
    """A world that is being made. `age` gives the age in days of each thing that is written."""

    age: Callable[[], float] = lambda: 1000.0
    folders: list[Folder] = field(default_factory=list)
    versions: list[Registered] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    journals: list[Journal] = field(default_factory=list)
    made_of: dict[str, set[str]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    numbers: count = field(default_factory=lambda: count(1))

    @property
    def state(self) -> State:
        versions = (
            replace(
                version,
                aliases=tuple(
                    sorted(a for (line, a), d in self.aliases.items() if (line, d) == (version.line, version.digest))
                ),
            )
            for version in self.versions
        )
        return State(
            folders=tuple(self.folders),
            versions=tuple(versions),
            rounds=tuple(self.rounds),
            claims=tuple(self.claims),
            journals=tuple(self.journals),
            references=frozenset(folder.digest for folder in self.folders if folder.kind == "models"),
        )

    def digest(self) -> str:
        return f"{next(self.numbers):064x}"

    def written(self) -> float:
        return NOW - self.age() * DAY

    def data(self, holds: Holds, parents: Iterable[str] = ()) -> str:
        digest, parents = self.digest(), tuple(parents)
        self.folders.append(Folder("datasets", digest, 10, self.written(), holds, parents))
        self.made_of[digest] = set(parents)
        return digest

    def model(self, parents: Iterable[str] = ()) -> str:
        digest = self.digest()
        self.folders.append(Folder("models", digest, 1000, self.written()))
        self.made_of[digest] = set(parents)
        return digest

    def register(self, line: str, digest: str, parents: Sequence[str] = (), outcome: str = "") -> None:
        number = 1 + sum(version.line == line for version in self.versions)
        self.versions.append(Registered(line, str(number), digest, (), outcome, tuple(parents)))

    def step(self, name: str, digest: str, examples: str = "", *more: str) -> None:
        key = f"steps/{name}/{self.digest()}"
        self.claims.append(Claim(key, (digest, *more), examples))
        if name == "sample":
            self.journals.append(Journal(key, key, 5, self.written()))

    def adopt(self, line: str) -> None:
        digest = self.model()
        self.register(line, digest)
        for alias in ("base", "head", "champion"):
            self.aliases[line, alias] = digest

    def round(self, line: str, number: int, spec: Spec) -> "Made":
        """One round on `line`, as far as it came."""
        champion, head = self.aliases[line, "champion"], self.aliases[line, "head"]
        sampler = head if spec.from_head else champion
        earlier = [each for each in self.rounds if spec.replays and each.replayed and line in each.lines]
        replayed = sorted({digest for each in earlier for digest in each.replayed})
        made = Made(self, spec, line, champion, sampler, [d for d in replayed if self.kinds.get(d) == "examples"])
        made.run()
        refers = frozenset({champion, sampler, *replayed, made.get("tasks")} - {""})
        recorded = (
            {made.get(name) for name in ("tasks", "verified", "examples", "scores")} if made.get("record") else set()
        )
        round = Round(
            key=RoundKey(line, "weekly", number),
            lines=frozenset([line]),
            ended=not spec.open,
            started=NOW - 2 * DAY,
            tasks=made.get("tasks"),
            refers=refers,
            recorded=frozenset(recorded),
            replayed=frozenset({made.get("tasks"), made.get("examples")}) if recorded else frozenset(),
            challenger=made.get("model") if recorded else "",
        )
        self.rounds.append(round)
        if round.ended:
            self.claims.append(Claim(f"plans/{round.name}", (round.tasks,)))
        if made.get("model"):
            self.made_of[made.get("model")] |= refers | (recorded if recorded else set())
        return made


@dataclass
class Made:
    """What one round made, by step."""

    world: World
    spec: Spec
    line: str
    champion: str
    sampler: str
    replayed: Sequence[str]
    outputs: dict[str, str] = field(default_factory=dict)

    def get(self, step: str) -> str:
        return self.outputs.get(step, "")

    def run(self) -> None:
        for step in STEPS[: self.spec.came]:
            self.outputs[step] = getattr(self, f"_{step}")()

    def _tasks(self) -> str:
        return self.world.data("tasks")

    def _groups(self) -> str:
        digest = self.world.data(self._rollouts, [self.get("tasks"), self.sampler])
        self.world.step("sample", digest)
        return digest

    def _verified(self) -> str:
        digest = self.world.data(self._rollouts, [self.get("groups")])
        self.world.step("verify", digest)
        return digest

    @property
    def _rollouts(self) -> Holds:
        return "trees" if self.spec.searched else "groups"

    def _examples(self) -> str:
        digest = self.world.data("examples", [self.get("verified"), *self.replayed])
        self.world.kinds[digest] = "examples"
        self.world.step("curate", digest)
        return digest

    def _model(self) -> str:
        parents = (self.champion, self.get("examples"), self.get("tasks"))
        digest = self.world.model(parents)
        self.world.step("train", digest, self.get("examples"))
        outcome = self.spec.outcome if self.spec.came == len(STEPS) else ""
        self.world.register(self.line, digest, parents, outcome)
        self.world.aliases[self.line, "challenger"] = digest
        return digest

    def _scores(self) -> str:
        parts = [self.world.data("scores", [model, self.get("tasks")]) for model in (self.champion, self.get("model"))]
        for part in parts:
            self.world.step("evaluate", part)
        return self.world.data("scores", [*parts, self.get("tasks")])

    def _record(self) -> str:
        self.world.aliases[self.line, "head"] = self.get("model")
        if self.spec.outcome == "promoted":
            self.world.aliases[self.line, "previous"] = self.champion
            self.world.aliases[self.line, "champion"] = self.get("model")
        return "recorded"


# Random ones ----------------------------------------------------------------------------------------------------------


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    outcome = draw(st.sampled_from(["promoted", "refused", "refused", "failed"]))
    came = draw(st.integers(1, len(STEPS) - 1)) if outcome == "failed" else len(STEPS)
    return Spec(outcome, draw(st.booleans()), came, draw(st.booleans()), draw(st.booleans()))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """One or two lines of rounds, the last perhaps still open, with things of every age, and what nobody knows."""
    ages = st.sampled_from([0.1, 5.0, 20.0, 60.0, 200.0, 1000.0])
    world = World(age=lambda: draw(ages))
    for line in draw(st.sampled_from([("rft",), ("rft", "star")])):
        world.adopt(line)
        for number, spec in enumerate(draw(st.lists(specs(), max_size=5)), start=1):
            world.round(line, number, spec)
        if draw(st.booleans()):
            world.round(line, 9, replace(draw(specs()), came=draw(st.integers(1, len(STEPS))), open=True))
        if draw(st.booleans()):  # somebody rolls back, or points an alias of their own
            alias = draw(st.sampled_from(["champion", "canary"]))
            world.aliases[line, alias] = draw(st.sampled_from([v.digest for v in world.versions if v.line == line]))
    for _ in range(draw(st.integers(0, 2))):
        world.model()
        world.data(draw(st.sampled_from(["tasks", "groups", "trees", "examples", "scores"])))
        world.step("verify", world.digest())  # its data set was removed by hand
    return world


def applied(state: State, plan: RetentionPlan) -> State:
    """What there is after `plan`."""
    gone = {(fate.kind, fate.key) for fate in plan.go}
    folders = [folder for folder in state.folders if (folder.kind, folder.digest) not in gone]
    marks = {
        fate.key: "2033-05-18" if fate.kind == "mark" else "" for fate in plan.go if fate.kind in ("mark", "unmark")
    }
    return replace(
        state,
        folders=tuple(folders),
        versions=tuple(replace(v, removed=marks.get(f"{v.line}/{v.version}", v.removed)) for v in state.versions),
        rounds=tuple(each for each in state.rounds if ("claim", f"plans/{each.name}") not in gone),
        claims=tuple(claim for claim in state.claims if ("claim", claim.key) not in gone),
        journals=tuple(journal for journal in state.journals if ("journal", journal.key) not in gone),
        deployments=tuple(d for d in state.deployments if ("served", f"{d.line}/{d.digest}") not in gone),
        references=frozenset(each for each in state.references if ("claim", f"references/{each}") not in gone),
    )


# Written out ----------------------------------------------------------------------------------------------------------


def write_out(world: World, platform: Platform, scratch: Path) -> None:
    """The world as a real store and a real registry; in a directory things get their ages, in S3 all are new."""
    for number, folder in enumerate(world.folders):
        _write_folder(folder, platform, scratch / str(number))
    for claim in world.claims:
        _write_claim(claim, platform)
    for model in world.state.references:
        platform.store.claim(f"references/{model}", b"{}")
    for journal in world.journals:
        _write_journal(journal, platform)
    for version in world.state.versions:
        _write_version(version, platform)
    for round in world.rounds:
        _write_round(round, world, platform)


def _write_folder(folder: Folder, platform: Platform, scratch: Path) -> None:
    scratch.mkdir(parents=True)
    kind = "groups" if folder.holds == "trees" else folder.holds
    if folder.kind == "datasets":
        manifest = Manifest(
            kind=kind,
            digest=folder.digest,
            rows=1,
            parents={str(number): parent for number, parent in enumerate(folder.parents)},
            counts={"search.nodes": 1.0} if folder.holds == "trees" else {},
        )
        (scratch / "manifest.json").write_text(manifest.model_dump_json())
    (scratch / "data").write_bytes(os.urandom(100))
    platform.store.put(folder.kind, folder.digest, scratch)
    if isinstance(platform.store, DirectoryStore):
        marker = platform.store.directory / folder.kind / folder.digest / MARKER
        os.utime(marker, (folder.written, folder.written))


def _write_claim(claim: Claim, platform: Platform) -> None:
    value = claim.names[0]
    if claim.examples:
        value = json.dumps({"digest": claim.names[0], "examples": claim.examples})
    if not claim.key.startswith("plans/"):
        platform.store.claim(claim.key, value.encode())


def _write_journal(journal: Journal, platform: Platform) -> None:
    if isinstance(platform.store, DirectoryStore):
        path = platform.store.directory / "journals" / f"{journal.key}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}\n")
        os.utime(path, (journal.written, journal.written))
    else:
        platform.store.claim(f"journals/{journal.key}/00000000", b"attempt")


def _write_version(version: Registered, platform: Platform) -> None:
    tags = dict(zip(("selftaught.parent", "selftaught.examples", "selftaught.tasks"), version.parents, strict=False))
    tags |= {"selftaught.outcome": version.outcome} if version.outcome else {}
    made = platform.tracker.register(
        version.line, version.digest, platform.store.uri("models", version.digest), "", tags
    )
    for alias in version.aliases:
        platform.tracker.point(alias, made)  # type: ignore[arg-type]


def _write_round(round: Round, world: World, platform: Platform) -> None:
    key = round.key
    refers = sorted(round.refers)
    plan = json.loads(fixed(key, round.tasks, round.started, champion=refers[0]))
    platform.store.claim(PlanEntry(key).key, json.dumps({**plan, "refers": refers}).encode())
    run = platform.tracker.round_run(key, "main")
    if round.ended:
        platform.tracker.finish(run, _outcome(round, world))
    if round.recorded:
        _write_record(round, world, platform, key)


def _outcome(round: Round, world: World) -> str:
    found = (version.outcome for version in world.versions if version.digest == round.challenger)
    return next(found, "") or "failed"


def _write_record(round: Round, world: World, platform: Platform, key: RoundKey) -> None:
    holds = {folder.digest: folder.holds for folder in world.folders}
    names = {
        "tasks": "tasks",
        "groups": "verified",
        "trees": "verified",
        "examples": "examples",
        "scores": "gate_scores",
    }
    found = RoundReport(
        round=key.number,
        outcome=_outcome(round, world),  # type: ignore[arg-type]
        champion=ModelVersion(digest=""),
        challenger=ModelVersion(digest=round.challenger),
        datasets=tuple(
            DatasetRef(kind=names[holds[digest]], digest=digest, rows=1) for digest in sorted(round.recorded)
        ),
    )
    reported_on = ReportData(line="", recipe="", recipe_yaml="", created="2026-01-01", rounds=(found,))  # type: ignore[arg-type]
    end_round(platform.store, key, reported_on)
