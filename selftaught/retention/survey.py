"""What there is, read from the store, the registry and this machine: the planner's `State`. It changes nothing.

Claims are read before data sets and the registry last: what a claim names was stored before it, so whatever a step
makes meanwhile is seen as a new data set, never as a claim without one. Plans are read for the digests in them alone,
wherever they stand, so that a recipe whose blocks are not installed here keeps what it needs all the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from selftaught.campaign.kfp.versions import Version
from selftaught.core.errors import SelftaughtError, StoreError
from selftaught.lines.serve import noted
from selftaught.platform import Platform
from selftaught.records.dataset import Manifest
from selftaught.report.data import RoundRecord, RoundReport
from selftaught.retention.inventory import (
    Claim,
    Deployment,
    Deployments,
    Folder,
    FolderKind,
    Holds,
    Journal,
    NoPipelines,
    Pipelines,
    PipelineVersion,
    Registered,
    Round,
    State,
)
from selftaught.retention.lineage import is_champion
from selftaught.round.history import ENDED, GONE, plan_of
from selftaught.round.job import Plan, role_line
from selftaught.state.claims import parse_claim
from selftaught.state.journal import stored_journals
from selftaught.state.ledger import (
    EndEntry,
    Entry,
    Ledger,
    PlanEntry,
    RecordEntry,
    ReferenceEntry,
    RoleEntry,
    StepEntry,
    TrainingEntry,
    named_in,
)
from selftaught.state.round_key import RoundKey
from selftaught.state.store import Store, Stored

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E", bound=Entry)

NO_PIPELINES = NoPipelines()
DIGEST = re.compile(r"[0-9a-f]{64}")
OVER = (*ENDED, *GONE)
"""The outcomes of rounds that are not resumed."""
_PARENTS = ("selftaught.parent", "selftaught.examples", "selftaught.tasks")
_KINDS: Mapping[str, Holds] = {"tasks": "tasks", "groups": "groups", "examples": "examples", "scores": "scores"}


class Memory:
    """What never changes once it is there (manifests, plans, records), so that a second look reads it no more."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._manifests: dict[str, Manifest] = {}
        self._claims: dict[str, bytes | None] = {}

    def manifest(self, digest: str) -> Manifest | None:
        """The manifest of a stored data set, or None when it was removed after it was listed.

        Raises StoreError when it cannot be read: lineage must not be guessed.
        """
        if digest not in self._manifests:
            try:
                self._manifests[digest] = self._read(digest)
            except StoreError:
                if self.store.has("datasets", digest):
                    raise
                return None
        return self._manifests[digest]

    def _read(self, digest: str) -> Manifest:
        try:
            return Manifest.model_validate_json(self.store.read("datasets", digest, "manifest.json"))
        except ValidationError:
            uri = self.store.uri("datasets", digest)
            raise StoreError(
                f"{uri}/manifest.json: damaged, so the sources of the data set are unknown, and nothing was "
                f"removed. Remove {uri} and run again."
            ) from None

    def claim(self, key: str) -> bytes | None:
        """The value of a claim that is never changed."""
        if self._claims.get(key) is None:
            self._claims[key] = self.store.claimed(key)
        return self._claims[key]


def survey(
    platform: Platform, deployments: Deployments, memory: Memory, now: float, pipelines: Pipelines = NO_PIPELINES
) -> State:
    """Everything there is at `now`; a Kubeflow Pipelines that does not say what it has is left out.

    Raises StoreError, Unavailable, and what `deployments` raises.
    """
    store, ledger = platform.store, platform.ledger
    claims = (*_claims(ledger), *_trainings(ledger))
    plans = _plans(store, memory)
    references = frozenset(entry.digest for entry in ledger.entries(ReferenceEntry))
    journals = tuple(map(_journal, stored_journals(store)))
    held = (*_roles(ledger), *_served_here(platform), *_unread(store, memory))
    folders = (*_models(store), *_datasets(store, memory))
    rounds = tuple(_rounds(platform, plans, memory))
    ended = tuple(Claim(PlanEntry(round.key).key, (round.tasks,)) for round in rounds if round.ended)
    versions = tuple(_versions(platform))
    listed, unknown = _listed(pipelines)
    return State(
        folders=folders,
        versions=versions,
        rounds=rounds,
        claims=(*claims, *ended),
        journals=journals,
        deployments=tuple(_deployments(platform, deployments, now)),
        pipelines=tuple(_pipelines(platform, listed, versions)),
        unknown=unknown,
        references=references,
        held=held,
    )


# Claims ---------------------------------------------------------------------------------------------------------------


def _claims(ledger: Ledger) -> Iterator[Claim]:
    for entry, value in _values(ledger, StepEntry):
        yield Claim(entry.key, entry.digests(value), entry.examples(value))


def _trainings(ledger: Ledger) -> Iterator[Claim]:
    """What training steps ordered of the nodes of TrainJobs, and what those answered."""
    answers = dict(_values(ledger, TrainingEntry))
    for entry, value in answers.items():
        order = answers.get(replace(entry, part="order"))
        if order is None:
            continue  # it is being removed
        if named := entry.named(order, value):  # what cannot be read is nobody's to remove
            yield Claim(entry.key, *named)


def _plans(store: Store, memory: Memory) -> list[tuple[Plan, frozenset[str]]]:
    """Every plan, and every digest in it."""
    values = [(key, value) for key, value in _beside(memory.claim, store.claims(PlanEntry.FOLDER)) if value]
    return [(plan, frozenset(named_in(value))) for key, value in values if (plan := plan_of(key, value)) is not None]


def _unread(store: Store, memory: Memory) -> Iterator[tuple[str, str]]:
    """What is named under plans by what is not a plan that can be read here: it may be another version's."""
    for key, value in _beside(memory.claim, store.claims(PlanEntry.FOLDER)):
        if value and plan_of(key, value) is None:
            yield from ((digest, f"named in claims/{key}, which is not a plan") for digest in named_in(value))


def _journal(stored: Stored) -> Journal:
    step = StepEntry.of_journal(stored.name)
    return Journal(stored.name, step.key if step else "", stored.bytes, stored.written)


def _roles(ledger: Ledger) -> Iterator[tuple[str, str]]:
    for entry, value in _values(ledger, RoleEntry):
        yield from ((model, f"{entry.role} model of {entry.line}") for model in entry.digests(value))


def _values(ledger: Ledger, kind: type[E]) -> Iterator[tuple[E, bytes]]:
    """Every entry of `kind` with its value, read many at a time."""
    for entry, value in _beside(ledger.value, ledger.entries(kind)):
        if value is not None:
            yield entry, value


def _served_here(platform: Platform) -> Iterator[tuple[str, str]]:
    for path in sorted((platform.settings.home / "served").glob("*.json")):
        note = noted(path)
        if note is not None:
            yield note.digest, f"served on this machine for {note.line}"


# Folders --------------------------------------------------------------------------------------------------------------


def _models(store: Store) -> Iterator[Folder]:
    return (_folder("models", stored) for stored in _ours(store, "models"))


def _datasets(store: Store, memory: Memory) -> Iterator[Folder]:
    found = {stored.name: stored for stored in _ours(store, "datasets")}
    manifests = dict(_beside(memory.manifest, [name for name, stored in found.items() if stored.complete]))
    return (_folder("datasets", stored, manifests.get(name)) for name, stored in found.items())


def _ours(store: Store, kind: FolderKind) -> Iterator[Stored]:
    """The folders that a digest names; whatever else lies there was not put there by Selftaught."""
    return (stored for stored in store.stored(kind) if DIGEST.fullmatch(stored.name))


def _folder(kind: FolderKind, stored: Stored, manifest: Manifest | None = None) -> Folder:
    return Folder(
        kind,
        stored.name,
        stored.bytes,
        stored.written,
        holds=_holds(manifest) if manifest else "",
        parents=tuple(manifest.parents.values()) if manifest else (),
        complete=stored.complete and (kind == "models" or manifest is not None),
    )


def _holds(manifest: Manifest) -> Holds:
    searched = manifest.kind == "groups" and any(name.startswith("search.") for name in manifest.counts)
    return "trees" if searched else _KINDS[manifest.kind]


# Rounds and versions --------------------------------------------------------------------------------------------------


def _rounds(platform: Platform, plans: Iterable[tuple[Plan, frozenset[str]]], memory: Memory) -> Iterator[Round]:
    """The rounds that were planned. One that the registry does not know is another registry's: it has not ended."""
    outcomes: dict[RoundKey, str] = {}
    plans = list(plans)
    gone = {entry.round for entry in platform.ledger.entries(EndEntry)}
    for line, campaign in sorted({(plan.line, plan.campaign) for plan, _ in plans}):
        for run in platform.tracker.rounds(line, campaign):
            outcomes[run.key] = run.outcome
    for plan, digests in plans:
        entry = RecordEntry(plan.key)
        record = memory.claim(entry.key)
        report = parse_claim(platform.store, entry.key, record, RoundRecord).round if record else None
        yield _round(plan, digests, plan.key in gone or outcomes.get(plan.key, "") in OVER, report)


def _round(plan: Plan, refers: frozenset[str], ended: bool, report: RoundReport | None) -> Round:
    data = {each.kind: each.digest for each in report.datasets} if report else {}
    return Round(
        key=plan.key,
        lines=frozenset([plan.line, *(role_line(plan.line, role) for role in plan.trainees)]),
        ended=ended,
        started=plan.started,
        tasks=plan.tasks,
        refers=refers,
        recorded=frozenset(data.values()),
        replayed=frozenset(data[kind] for kind in ("tasks", "examples") if kind in data),
        challenger=report.challenger.digest if report and report.challenger else "",
    )


def _deployments(platform: Platform, deployments: Deployments, now: float) -> Iterator[Deployment]:
    for line in platform.tracker.lines():
        for digest, age in sorted(deployments.served(line).items()):
            yield Deployment(line, digest, now - age)


def _listed(pipelines: Pipelines) -> tuple[Sequence[Version], str]:
    """The versions of pipelines, or none and why: nothing else that is kept depends on them."""
    try:
        return pipelines.made(), ""
    except SelftaughtError as error:
        return (), str(error)


def _pipelines(
    platform: Platform, made: Sequence[Version], versions: Iterable[Registered]
) -> Iterator[PipelineVersion]:
    """The versions of pipelines, each with the run or the champion that it is needed for."""
    if made:
        champions = {
            _made_by(platform, version): version for version in versions if version.run and is_champion(version)
        }
        for each in made:
            champion = champions.get(each.name)
            kept = f"made {champion.line} version {champion.version}" if champion else ""
            yield PipelineVersion(each.name, each.made, kept or ("a run is of it" if each.runs else ""))


def _made_by(platform: Platform, version: Registered) -> str:
    """The version of the pipeline that trained a model; empty where it was none."""
    return platform.tracker.tags(version.run).get("selftaught.pipeline_version", "")


def _versions(platform: Platform) -> Iterator[Registered]:
    for line in platform.tracker.lines():
        versions = platform.tracker.tagged_versions(line)
        aliases = platform.tracker.aliases(line)  # after the versions: an alias that has just moved is seen where it is
        for version, tags in versions:
            yield Registered(
                line=line,
                version=version.version,
                digest=version.digest,
                aliases=tuple(sorted(alias for alias, to in aliases.items() if to.version == version.version)),
                outcome=tags.get("selftaught.outcome", ""),
                parents=tuple(tags[key] for key in _PARENTS if tags.get(key)),
                removed=version.removed,
                run=version.run,
            )


def _beside(read: Callable[[A], B], keys: Iterable[A]) -> Iterator[tuple[A, B]]:
    """`read` each of `keys`, many at a time, in order: a bucket answers each after milliseconds."""
    keys = list(keys)
    with ThreadPoolExecutor(16) as pool:
        yield from zip(keys, pool.map(read, keys), strict=True)
