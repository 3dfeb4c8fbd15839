"""The input of every step of a round (`Job`), and what the claims of a round are kept under.

What steps work with is `selftaught.platform`'s business.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AliasPath, BaseModel, ConfigDict, Field

from selftaught.blocks.packages import packages
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.serving.engines.precision import on_cpu
from selftaught.settings import Settings
from selftaught.state.ledger import PlanEntry
from selftaught.state.round_key import RoundKey


class ModelRef(BaseModel):
    """A model of the line by digest and registered version."""

    model_config = ConfigDict(frozen=True)

    digest: str
    version: str = ""


class ReplaySource(BaseModel):
    """What an earlier round of the campaign was trained on, by digest."""

    model_config = ConfigDict(frozen=True)

    tasks: str
    examples: str


class Reused(BaseModel):
    """An earlier round (its name) whose trees a search may resume from: their data set by digest, and how many rows.

    `valued` says whether their values are those that this round's blocks and models would give.
    """

    model_config = ConfigDict(frozen=True)

    round: str
    trees: str
    rows: int
    valued: bool


class Plan(BaseModel):
    """One attempt at one round as it was fixed, without its recipe: what is read of plans long after.

    Another version wrote some of them, with recipes that this one, or this machine, may not be able to read.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    line: str
    campaign: str
    round: int
    attempt: int
    run: str
    """Id of the round's MLflow run."""
    started: float
    """When the round was fixed (seconds since the epoch)."""
    tasks: str
    """Digest of the data set of tasks."""
    drops: tuple[str, ...] = ()
    """The batches that the round uses up, where its tasks come from an inbox."""
    champion: ModelRef
    anchor: ModelRef | None = None
    """What the line began with: the guard holds the challenger against it too. None in a plan of before it did."""
    sampler: ModelRef
    trainee: ModelRef
    roles: Mapping[str, ModelRef] = {}
    """The models of the roles other than policy, as far as there are any yet."""
    instruction: Annotated[
        str | None, Field(exclude=True, validation_alias=AliasPath("recipe", "tasks", "instruction"))
    ] = None
    """What its recipe said after every question; None where it is not known, as in a plan that was not read again."""
    trainees: Mapping[str, ModelRef] = {}
    """What the stage trains beside the policy, by role: the newest version, or the policy's trainee where none is."""

    @property
    def key(self) -> RoundKey:
        """What the round is called."""
        return RoundKey(self.line, self.campaign, self.round, self.attempt)

    @property
    def name(self) -> str:
        """The key's name."""
        return self.key.name

    def lineage(self, recipe: str, parent: str, examples: str) -> dict[str, str]:
        """The tags of a version that the round made: where it came from, and who played the other roles.

        Retention keeps the parent and the data that they name.
        """
        return {
            "selftaught.recipe": recipe,
            "selftaught.campaign": self.campaign,
            "selftaught.round": str(self.round),
            "selftaught.parent": parent,
            "selftaught.examples": examples,
            "selftaught.tasks": self.tasks,
            **{f"selftaught.role.{role}": model.digest for role, model in self.roles.items()},
        }


class Job(Plan, defer_build=True):
    """One attempt at one round, as `prepare` fixed it: aliases are resolved once, and everything after goes by this."""

    recipe: Recipe
    stage: str
    seed: int
    campaign_seed: int
    shards: int
    """How many sampling tasks share the training tasks."""
    broken: tuple[str, ...] = ()
    """What is wrong with the batches that were set aside."""
    pool: str = ""
    """Digest of what gate tasks are drawn from over the rounds; empty where every round has its own."""
    earlier: tuple[ReplaySource, ...] = ()
    """The rounds whose examples are replayed; none where the stage replays none."""
    packages: Annotated[Mapping[str, str], Field(exclude_if=lambda packages: not packages)] = {}
    """The versions of the packages that brought blocks of the stage, when the round was fixed."""
    reused: tuple[Reused, ...] = ()
    """The rounds whose trees the search resumes from, newest first; none unless it reuses them."""
    controlled: Stage | None = None
    """The round's stage as its controls have set it; None where the stage has none."""

    @classmethod
    def read(cls, path: str) -> Self:
        """The job that `prepare` wrote to `path`."""
        return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))

    def scoped(self, key: str) -> str:
        """The key of a step as a name of this line's own, for what is unfinished: lines may be at one step at once."""
        return f"{self.line}/{key}"

    @property
    def blocks(self) -> Stage:
        """The blocks of this round's stage, as its controls have set them."""
        return self.controlled or self.recipe.stage(self.stage)


def role_line(line: str, role: str) -> str:
    """The line on which the trained models of a role other than policy are registered, beside the policy's."""
    return f"{line}-{role}"


def begun(platform: Platform, key: RoundKey) -> Job | None:
    """The round's job, where it was fixed already. Raises StoreError when it cannot be read."""
    return platform.ledger.read(PlanEntry(key), Job)


def dump(blocks: Any) -> Any:
    """Blocks as plain data, for input digests."""
    if isinstance(blocks, BaseModel):
        return blocks.model_dump(mode="json")
    return [block.model_dump(mode="json") for block in blocks]


def brought_by(*blocks: object) -> dict[str, Any]:
    """The packages that brought `blocks`, by version, for input digests: nothing where all are Selftaught's own."""
    found = packages(*blocks)
    return {"packages": found} if found else {}


def asked(platform: Platform, job: Job) -> dict[str, Any]:
    """What answers depend on beside models and blocks, for input digests: whatever is not the default of it.

    The variables of the chat template, and how engines on this machine are run.
    """
    settings = platform.settings
    engine = {name: value for name in ANSWERS if (value := getattr(settings, name)) != _default(name)}
    if settings.serving == "local" and (dtype := on_cpu(settings.engine_dtype)) != settings.engine_dtype:
        engine["engine_dtype"] = dtype
    template = job.recipe.chat_template
    return {**({"chat_template": template} if template else {}), **({"engine": engine} if engine else {})}


ANSWERS = ("engine_context", "engine_dtype")
"""The settings of engines that change what they answer, or whether they do."""


def _default(setting: str) -> Any:
    return Settings.model_fields[setting].default
