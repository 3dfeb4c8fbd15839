"""The ledger: the outcome of every round and step, stored as claims.

One entry a fact, each written once by the first writer. It is the one truth of what was planned, made and decided in a
line's rounds; MLflow's runs, the pages and whatever else shows rounds are made of it and can be recreated. Who is
champion is not in it: that is the registry's alias.

An entry knows its key, which digests its value names, and nothing of who reads it: the models that values are parsed
into belong to the modules that write them. Journals (`selftaught.state.journal`) and turns (`selftaught.state.turns`)
are work in progress and no entries.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import override

from selftaught.state.claims import parse_claim
from selftaught.state.round_key import RoundKey
from selftaught.state.store import Store

M = TypeVar("M", bound=BaseModel)
E = TypeVar("E", bound="Entry")

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Entry(ABC):
    """One claim that the ledger knows. `FOLDER` is what the keys of all entries of a kind begin with."""

    FOLDER: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> str:
        """The key of the claim."""

    @classmethod
    @abstractmethod
    def parse(cls, key: str) -> Self | None:
        """The entry with this key; None for what is not an entry of this kind."""

    def digests(self, value: bytes) -> tuple[str, ...]:
        """The models and data sets that the value names: every digest in it, whichever version wrote it."""
        return named_in(value)


def named_in(value: bytes) -> tuple[str, ...]:
    """Every digest in `value`."""
    return tuple(_DIGEST.findall(value.decode(errors="replace")))


# Rounds ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoundEntry(Entry):
    """Something that is kept of one attempt at one round."""

    round: RoundKey

    @property
    @override
    def key(self) -> str:
        return f"{self.FOLDER}/{self.round.name}"

    @classmethod
    @override
    def parse(cls, key: str) -> Self | None:
        folder, _, name = key.partition("/")
        round = RoundKey.parse(name)
        return cls(round) if folder == cls.FOLDER and round else None


class PlanEntry(RoundEntry):
    """What `prepare` fixed: there once the round was begun."""

    __slots__ = ()
    FOLDER = "plans"


class RecordEntry(RoundEntry):
    """What became of the round: there once it has ended in a promotion or a refusal."""

    __slots__ = ()
    FOLDER = "rounds"


class DetailEntry(RoundEntry):
    """What only the page of the round shows; written before its record."""

    __slots__ = ()
    FOLDER = "details"


class StateEntry(RoundEntry):
    """What the controls of the campaign's stages remember after the round; written before its record."""

    __slots__ = ()
    FOLDER = "states"


class EndEntry(RoundEntry):
    """That the round ended without a decision: it failed, or was given up. The next attempt is redrawn."""

    __slots__ = ()
    FOLDER = "ends"


class RoundEnd(BaseModel):
    """Why a round ended without a decision; `when` is in seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    outcome: Literal["failed", "abandoned"]
    reason: str = ""
    when: float = Field(default_factory=time.time)


# Steps and models -----------------------------------------------------------------------------------------------------


class NamedEntry(Entry):
    """An entry whose key is its folder and then its fields, which are texts; `PARTS` is what these may be."""

    __slots__ = ()
    PARTS: ClassVar[str]

    @classmethod
    def pattern(cls) -> str:
        """What a key of this kind looks like: a group a field."""
        return f"{cls.FOLDER}/{cls.PARTS}"

    @property
    @override
    def key(self) -> str:
        return "/".join([self.FOLDER, *astuple(cast(Any, self))])

    @classmethod
    @override
    def parse(cls, key: str) -> Self | None:
        found = re.fullmatch(cls.pattern(), key)
        return cls(*found.groups()) if found else None


@dataclass(frozen=True, slots=True)
class StepEntry(NamedEntry):
    """What a step made of its inputs, which `inputs` is a digest of: a data set's digest, or a training's record."""

    FOLDER: ClassVar[str] = "steps"
    PARTS: ClassVar[str] = r"(\w+)/([0-9a-f]{64})"
    step: str
    inputs: str

    @classmethod
    def of_journal(cls, name: str) -> Self | None:
        """The step that a journal is of, whose key is a part of the journal's."""
        found = re.search(cls.pattern(), name)
        return cls.parse(found.group()) if found else None

    @override
    def digests(self, value: bytes) -> tuple[str, ...]:
        """Of a training the models that it made; of any other step all that it names."""
        training = _parsed(_Training, value) if self.step == "train" else None
        if training is None:
            return named_in(value)
        return training.digest, *(other.digest for other in training.others.values())

    def examples(self, value: bytes) -> str:
        """What the models that the value names were trained on; empty where it names none."""
        training = _parsed(_Training, value) if self.step == "train" else None
        return training.examples if training else ""


class _Model(BaseModel):
    digest: str


class _Training(_Model):
    """What the train step keeps, as far as it names models and data sets."""

    examples: str
    others: Mapping[str, _Model] = {}


class _Order(BaseModel):
    """The input of the nodes of a TrainJob, without the objective: that may be another version's."""

    model: str
    examples: str


def _parsed(kind: type[M], value: bytes) -> M | None:
    """The value as a `kind`; None where another version, or nobody, wrote it."""
    with suppress(ValidationError):
        return kind.model_validate_json(value)
    return None


@dataclass(frozen=True, slots=True)
class TrainingEntry(NamedEntry):
    """The input of the nodes of a TrainJob (`order`), and the model (`answer`) or `failure` that came of it."""

    FOLDER: ClassVar[str] = "trainings"
    PARTS: ClassVar[str] = r"([^/]+)/(order|answer|failure)"
    job: str
    part: str

    def named(self, order: bytes, value: bytes) -> tuple[tuple[str, ...], str] | None:
        """What the part names, and what a model that it names was trained on; None where it cannot be read."""
        ordered = _parsed(_Order, order)
        if ordered is None:
            return None
        if self.part != "answer":
            return (ordered.model, ordered.examples), ""
        answer = _parsed(_Model, value)
        return ((answer.digest,), ordered.examples) if answer else None


@dataclass(frozen=True, slots=True)
class RoleEntry(NamedEntry):
    """The model that plays a role on a line, by the digest of the name that recipes call it by."""

    FOLDER: ClassVar[str] = "roles"
    PARTS: ClassVar[str] = r"([^/]+)/([^/]+)/([0-9a-f]{64})"
    line: str
    role: str
    named: str


@dataclass(frozen=True, slots=True)
class ReferenceEntry(NamedEntry):
    """A model's own log-probabilities of the probe prompts, which an engine that serves it is compared with."""

    FOLDER: ClassVar[str] = "references"
    PARTS: ClassVar[str] = r"([0-9a-f]{64})"
    digest: str

    @override
    def digests(self, value: bytes) -> tuple[str, ...]:
        """The model's."""
        return (self.digest,)


# The ledger -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries in a store."""

    store: Store

    def entries(self, kind: type[E], *within: str) -> list[E]:
        """Every entry of `kind` whose key continues with `within` (a line, then a campaign), in the order of their
        keys.

        None is read. What lies there and is not an entry of this kind is left out.
        """
        found = map(kind.parse, self.store.claims("/".join([kind.FOLDER, *within])))
        return [entry for entry in found if entry is not None]

    def rounds(self, kind: type[RoundEntry], line: str, campaign: str) -> list[RoundKey]:
        """The rounds of the campaign that have an entry of `kind`, in their order."""
        return sorted(entry.round for entry in self.entries(kind, line, campaign))

    def value(self, entry: Entry) -> bytes | None:
        """What was written; None while nobody has."""
        return self.store.claimed(entry.key)

    def read(self, entry: Entry, kind: type[M]) -> M | None:
        """The value as a `kind`. Raises StoreError, naming the claim, where it cannot be read as one."""
        value = self.value(entry)
        return None if value is None else parse_claim(self.store, entry.key, value, kind)

    def write(self, entry: Entry, value: BaseModel) -> bytes:
        """Write `value` unless the entry is there; returns what it has, which is the first writer's."""
        return self.store.claim(entry.key, value.model_dump_json().encode())
