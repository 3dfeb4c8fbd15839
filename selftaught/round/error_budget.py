"""The error budget of gate tasks: what every round, of whatever line and campaign, has spent on them in this store.

A round that reaches its gate notes what it spent, whatever becomes of it, under the next free number: a claim, so two
that decide at once are counted one after the other, and a gate that is run again finds its own note and decides as it
did. What was spent counts for a round on the same pool, or on any of the same tasks (a file that has grown, or that
goes by another name). Rounds of generated tasks spend nothing here: `TaskSource.resamples_gate` says why.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selftaught.blocks import Decision, TaskSource
from selftaught.core.canonical import canonical
from selftaught.platform import Platform
from selftaught.round.history import history
from selftaught.round.job import Job, dump
from selftaught.state.claims import parse_claim
from selftaught.state.round_key import RoundKey

NOTES = "budget"
_NOT_THE_POOL = ("train", "gate", "report", "guard", "system", "instruction")
"""Fields of a source that do not say which problems there are; those that begin with `guard` neither."""


class BudgetEntry(BaseModel):
    """What one round spent on its gate tasks (`gate`, by id), out of `pool`, after `before` had been spent."""

    model_config = ConfigDict(frozen=True)

    round: str
    pool: str
    gate: tuple[str, ...]
    alpha: float
    before: float


def decided(platform: Platform, job: Job, gate: Sequence[str], decide: Callable[[float], Decision]) -> Decision:
    """What `decide` makes of what was spent on the tasks `gate` before this round, once what it spends is noted."""
    if job.recipe.tasks.resamples_gate and job.recipe.tasks.over == "tasks":
        return decide(0.0)
    while True:
        number, notes = _next(platform), list(_notes(platform))
        own = next((note for note in notes if note.round == job.name), None)
        before = own.before if own else _spent(platform, job, gate, notes)
        decision = decide(before)
        note = BudgetEntry(round=job.name, pool=job.pool, gate=tuple(gate), alpha=decision.alpha, before=before)
        content = note.model_dump_json().encode()
        if own or platform.store.claim(f"{NOTES}/{number:06}", content) == content:
            return decision


def spent(platform: Platform, pool: str) -> float:
    """What rounds of any line and campaign have spent on the pool."""
    return sum(note.alpha for note in _notes(platform) if pool and note.pool == pool)


def pool_of(source: TaskSource) -> str:
    """A digest of what gate tasks are drawn from, over rounds; empty where every round has its own.

    Of the rows of local files and of the fields that say where others are; not of how many are asked for, nor of what
    the prompt says around them.
    """
    if source.resamples_gate:
        return ""
    fields = {name: value for name, value in dump(source).items() if name not in _NOT_THE_POOL}
    rows = {name: _content(value) for name, value in fields.items() if not name.startswith("guard")}
    return hashlib.sha256(canonical(rows)).hexdigest()


def _content(value: object) -> object:
    """`value`, or the digest of the file that it names."""
    if not isinstance(value, str) or not Path(value).is_file():
        return value
    with Path(value).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _notes(platform: Platform) -> Iterator[BudgetEntry]:
    for key in platform.store.claims(NOTES):
        if claim := platform.store.claimed(key):
            yield parse_claim(platform.store, key, claim, BudgetEntry)


def _next(platform: Platform) -> int:
    """The number after the last one: some before it may have been removed."""
    names = [key.rpartition("/")[2] for key in platform.store.claims(NOTES)]
    return max((int(name) for name in names if name.isdecimal()), default=-1) + 1


def _spent(platform: Platform, job: Job, gate: Sequence[str], notes: Sequence[BudgetEntry]) -> float:
    """On the pool or any of the tasks; and by the campaign's rounds of before there were notes."""
    own = set(gate)
    shared = [note.alpha for note in notes if (job.pool and note.pool == job.pool) or own & set(note.gate)]
    return sum(shared) + sum(_unnoted(platform, job, notes))


def _unnoted(platform: Platform, job: Job, notes: Sequence[BudgetEntry]) -> Iterator[float]:
    noted = {note.round for note in notes}
    for past in history(platform, job) if not job.recipe.tasks.resamples_gate else ():
        if past.gate and RoundKey(job.line, job.campaign, past.round, past.attempt - 1).name not in noted:
            yield past.gate.alpha
