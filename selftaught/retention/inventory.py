"""What there is, as the planner sees it: frozen rows without a store or a tracker behind them.

Digests name data sets and models alike, so lineage is one graph over both. Times are seconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from selftaught.campaign.kfp.versions import Version
from selftaught.state.round_key import RoundKey

FolderKind = Literal["models", "datasets"]
Holds = Literal["tasks", "groups", "trees", "examples", "scores", ""]
"""What a data set holds: `groups` and `trees` are rollouts without and with a search; empty for what is not complete.
"""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the store; `parents` are the digests that a data set's manifest names."""

    kind: FolderKind
    digest: str
    bytes: int
    written: float
    holds: Holds = ""
    parents: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Registered:
    """A model version: its aliases, its outcome, and the digests that its tags name (parent, examples, tasks)."""

    line: str
    version: str
    digest: str
    aliases: tuple[str, ...] = ()
    outcome: str = ""
    parents: tuple[str, ...] = ()
    removed: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """One attempt at a round. `refers` is every digest in its plan, `tasks` the data set that all its others follow.

    `recorded` are the data sets that its record names, `replayed` those of them that later rounds may train on, and
    `challenger` the model that came out of it; all empty until the record is there. `lines` are its own and those of
    the roles that it trains.
    """

    key: RoundKey
    lines: frozenset[str]
    ended: bool
    started: float
    tasks: str
    refers: frozenset[str]
    recorded: frozenset[str] = frozenset()
    replayed: frozenset[str] = frozenset()
    challenger: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.key.name


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that goes with what it names: a step's output, or the tasks of a plan whose round has ended.

    `examples` is what the named models were trained on, where they are models.
    """

    key: str
    names: tuple[str, ...]
    examples: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal by its key; `step` is the claim of the step that wrote it."""

    key: str
    step: str
    bytes: int
    written: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that is served: its line, its digest and since when."""

    line: str
    digest: str
    since: float


class Deployments(Protocol):
    """What serves models where endpoints outlive a round, such as KServe: the part of a serving backend needed here.

    A model that `served` names keeps its files, so `remove` comes first, and a name stays until its pods are gone.
    """

    def served(self, line: str) -> Mapping[str, float]:
        """The digests that are served for `line`, with their age in seconds."""
        ...

    def remove(self, line: str, digest: str) -> None:
        """Stop serving this model; nothing happens when it is not served."""
        ...


class NoDeployments:
    """Where engines die with the process that started them there is nothing to remove."""

    def served(self, line: str) -> Mapping[str, float]:
        """Nothing."""
        return {}

    def remove(self, line: str, digest: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """A version of a pipeline in Kubeflow Pipelines that submissions made, and what needs it (empty: nothing does)."""

    name: str
    made: float
    kept: str = ""


class Pipelines(Protocol):
    """The versions of pipelines that submissions have made: the part of Kubeflow Pipelines needed here."""

    def made(self) -> Sequence[Version]:
        """All of them but the newest of each pipeline."""
        ...

    def remove(self, name: str) -> None:
        """Remove one of those that `made` has listed."""
        ...


class NoPipelines:
    """Where there is no Kubeflow Pipelines."""

    def made(self) -> Sequence[Version]:
        """Nothing."""
        return ()

    def remove(self, name: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything there is. `held` maps further digests that are needed to the reason; `references` are of models.

    `unknown` says why the versions of pipelines are not known; empty where they are.
    """

    folders: tuple[Folder, ...] = ()
    versions: tuple[Registered, ...] = ()
    rounds: tuple[Round, ...] = ()
    claims: tuple[Claim, ...] = ()
    journals: tuple[Journal, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    pipelines: tuple[PipelineVersion, ...] = ()
    unknown: str = ""
    references: frozenset[str] = frozenset()
    held: tuple[tuple[str, str], ...] = ()
