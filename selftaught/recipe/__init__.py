"""Recipes: one self-training method as one YAML file, resolved into blocks here and nowhere else.

Reads YAML, merges what it extends, applies a profile and `--set` overrides, and gives a frozen `Recipe` whose axes hold
the blocks themselves. Every mistake is reported with file and line, field, value and what would have been accepted.
Running a recipe is `selftaught.campaign`'s business; what a block does is the block's.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from selftaught import __version__
from selftaught.blocks import Control, Curator, Gate, Metric, Objective, Sampler, TaskSource, Verifier, registered
from selftaught.blocks.loading import OnAxis, OneOrMore, load_blocks
from selftaught.core import shipped
from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput, BadRecipe, did_you_mean
from selftaught.recipe.about import About
from selftaught.recipe.axes import AXES, blocks
from selftaught.recipe.errors import NAME, ROLE, Written
from selftaught.recipe.inheritance import resolved
from selftaught.recipe.models import RoleModel, externals, independent, require_policy, require_weights
from selftaught.recipe.overrides import path_to, put, relocate, set_field
from selftaught.recipe.schema import schema_of
from selftaught.recipe.sets import EvaluationSet, require_fair, require_minded
from selftaught.recipe.text import contents
from selftaught.records import TargetType

__all__ = ["AXES", "Iterate", "OnAxis", "Recipe", "Stage", "blocks", "load_blocks", "registered", "schema"]

ARGUMENT = 100_000
"""Bytes of a recipe in a pipeline's arguments: with everything else, one has less than 131,072 on Linux."""

NOT_THE_TEMPLATES = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents", "max_length"}
    | {"messages", "padding", "return_dict", "return_tensors", "tokenize", "tokenizer_kwargs", "tools", "truncation"}
)
"""What servers and transformers decide when they render a chat: arguments of theirs, which no recipe may set."""

Iterate = Literal["base", "head", "champion"]

FORMATS = (1, 2)
"""The formats of recipes that are read."""


def _refuse_late(extends: str | None) -> None:
    """Raise ValueError where `extends` was not yet there when recipes were merged."""
    if extends is not None:
        raise ValueError(f"{extends}: comes too late here. Write it in a recipe or a stage, not in a profile or --set.")


class Online(BaseModel):
    """A stage that samples while it trains: in every step the policy answers some tasks and learns from its answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: PositiveInt
    """Steps of a round."""
    tasks: PositiveInt = 8
    """Training tasks that a step samples, verifies and curates; all are attempted before one is attempted again."""
    updates: PositiveInt = 1
    """Updates of the weights a step, each on all of its examples (`batch_size` of them in memory at once)."""


class Stage(BaseModel):
    """One stage of a recipe: a block or a list of blocks on every axis, repeated for `rounds`.

    A stage that trains without a `gate` is a warm-up: what it trains is the head, for later stages to sample and train
    from, and no version is promoted. One without `train` is an inference strategy: it is measured (`selftaught
    evaluate`), and has no round to run.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    extends: Annotated[str | None, Field(exclude=True)] = None
    """A stage of the stage library, or the path of a stage's file, whose fields hold where this stage has none."""
    name: Annotated[str, Field(pattern=NAME)] = "main"
    """What overrides and reports call it: lower case, digits and dashes."""
    rounds: PositiveInt = 1
    """Rounds before the next stage begins; the last stage continues after its own."""
    sample: Annotated[Sampler, OnAxis("sample")]
    """How the training tasks are attempted."""
    verify: Annotated[tuple[Annotated[Verifier, OnAxis("verify")], ...], Field(min_length=1), OneOrMore()]
    """What says whether a rollout is right to train on: each of them has to pass it. Metrics never go by it."""
    curate: Annotated[tuple[Annotated[Curator, OnAxis("curate")], ...], OneOrMore()] = ()
    """How verified rollouts become training examples: those of all curators are trained on."""
    train: Annotated[tuple[Annotated[Objective, OnAxis("train")], ...], OneOrMore()] = ()
    """How models learn from the examples; objectives of one role follow one another."""
    evaluate: Annotated[tuple[Annotated[Metric, OnAxis("evaluate")], ...], OneOrMore()] = ()
    """What is measured of champion and challenger on held-out tasks; without a gate, on the report set alone."""
    gate: Annotated[Gate | None, OnAxis("gate")] = None
    """What decides whether the challenger becomes the champion; without one nobody does."""
    sample_from: Iterate = "champion"
    """The policy that answers the training tasks: `champion` is what users get, `head` the latest iterate, promoted or
    not, `base` where the line began."""
    train_from: Iterate = "champion"
    """The policy that training starts from; see `sample_from`."""
    online: Annotated[Online | None, Field(exclude_if=lambda online: online is None)] = None
    """Sample, verify and curate within training, in `steps` of some `tasks`, by the weights as they are then; absent:
    once, before training."""
    replay: NonNegativeInt = 0
    """Examples of each kind from earlier rounds to train on again, at most."""
    control: Annotated[
        tuple[Annotated[Control, OnAxis("control")], ...], OneOrMore(), Field(exclude_if=lambda controls: not controls)
    ] = ()
    """What adapts the stage to what its earlier rounds have shown: its tasks, its settings, when it is over."""

    _nothing_late = field_validator("extends")(_refuse_late)

    def with_fields(self, fields: Mapping[str, Any]) -> Self:
        """The stage with other values of `fields`, which are named as `--set` names them: `sample.temperature`.

        Raises BadRecipe where one is no field of it, or the value is none of the field's.
        """
        data = self.model_dump(mode="json", exclude={"control"})
        for field, value in fields.items():
            put(data, path_to(data, field, f"stage {self.name}: {field}"), value)
        changed = Written(data, {(): f"stage {self.name}"}, type(self)).checked()
        return changed.model_copy(update={"control": self.control})

    @property
    def trained_roles(self) -> frozenset[str]:
        """The roles other than policy that the stage trains."""
        return frozenset(objective.role for objective in self.train) - {"policy"}

    @property
    def trains_policy(self) -> bool:
        """Whether the policy is trained, so that there is a challenger."""
        return any(objective.role == "policy" for objective in self.train)

    @model_validator(mode="after")
    def _what_training_needs(self) -> Self:
        given = {"train": self.train, "curate": self.curate}
        missing = [axis for axis, blocks in given.items() if not blocks]
        if missing and (self.gate or len(missing) == 1):
            types = ", ".join(registered(missing[0]))
            raise ValueError(
                f"{missing[0]} is missing: a stage has train and curate, and a gate if it is to promote, or none of "
                f"them and is measured only.\n  accepted: {types}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_measured(self) -> Self:
        if not self.evaluate and (self.gate or not self.train):
            purpose = "a gate decides by metrics" if self.gate else "what trains nothing is there to be measured"
            raise ValueError(f"evaluate is missing: {purpose}.\n  accepted: {', '.join(registered('evaluate'))}")
        if self.train and not self.trains_policy and (self.gate or self.evaluate):
            named = "gate" if self.gate else "evaluate"
            raise ValueError(
                f"{named} is about the policy, and train has objectives of {', '.join(sorted(self.trained_roles))} "
                "alone. Leave gate and evaluate out, or train the policy too."
            )
        return self

    @model_validator(mode="after")
    def _what_learns_online(self) -> Self:
        if self.online is None:
            return self
        if [(each.role, each.online) for each in self.train] != [("policy", True)]:
            able = ", ".join(name for name, each in registered("train").items() if cast(Any, each).online)
            raise ValueError(
                f"online: such a stage has one objective, of the policy, that learns while it samples ({able}). Train "
                "other roles in a stage of their own."
            )
        for field, how in _NOT_ONLINE.items():
            value = getattr(self.train[0], field, None)
            if value is not None and value != type(self.train[0]).model_fields[field].default:
                raise ValueError(f"online: train.{field}: {value} has no effect there. Leave it out: {how}.")
        if self.sample_from != self.train_from:
            raise ValueError(
                f"online: the policy that is trained samples, so sample_from: {self.sample_from} and train_from: "
                f"{self.train_from} have to be the same. Set both to {self.train_from}."
            )
        if self.replay:
            raise ValueError("online: such a stage replays nothing. Set replay: 0.")
        return self

    @model_validator(mode="after")
    def _turns_are_said(self) -> Self:
        said = self.sample.turn_names
        for axis, placed in (("curate", self.curate), ("verify", self.verify)):
            named = [name for block in placed for name in block.turn_names]
            if said is not None and (missing := [name for name in named if name not in said]):
                has = f"{', '.join(said)}. Name one of these." if said else "no turns with names. Sample by `dialogue`."
                raise ValueError(f"{axis} names the turn '{missing[0]}', but sample has {has}")
        return self

    @model_validator(mode="after")
    def _named_verifiers_are_asked(self) -> Self:
        asked = [name for verifier in self.verify if (name := verifier.verdict_name)]
        if len(asked) < len(self.verify):
            return self  # what the tasks' own checks are is not known before
        naming: list[tuple[str, Curator | Sampler]] = [("curate", each) for each in self.curate]
        naming += [("sample", self.sample), *(("evaluate", each.sampler()) for each in self.evaluate)]
        for axis, block in naming:
            if missing := [name for name in block.verifiers if name not in asked]:
                raise ValueError(
                    f"{axis}: '{block.name}' goes by the verifier '{missing[0]}', but verify has "
                    f"{', '.join(asked)}.{did_you_mean(missing[0], asked)} Name one of these."
                )
        return self

    @model_validator(mode="after")
    def _objectives_have_examples(self) -> Self:
        given = {block.gives: block.name for block in self.curate}
        for objective in self.train:
            target = getattr(objective, "target", None)
            known = target in get_args(TargetType) and None not in given
            if given and known and target not in given:
                giving = [name for name, each in registered("curate").items() if cast(Any, each).gives == target]
                able = [name for name, each in registered("train").items() if getattr(each, "target", None) in given]
                raise ValueError(
                    f"train: '{objective.name}' learns from examples to {target}, and curate "
                    f"({', '.join(given.values())}) gives some to {' and '.join(map(str, given))}. Train by "
                    f"{' or '.join(able)}, or curate by {' or '.join(giving)}."
                )
        return self

    @model_validator(mode="after")
    def _answers_are_enough(self) -> Self:
        answers = self.sample.answer_names
        if self.sample.turn_names == ():  # one answer, which needs no name
            answers = ("the answer",)
        for block in self.curate:
            if answers is not None and len(answers) < block.answers:
                raise ValueError(
                    f"curate: '{block.name}' keeps rollouts by what became of {block.answers} answers, and sample has "
                    f"{len(answers)} (turns of kind attempt or refinement: {', '.join(answers) or 'none'}). Set keep: "
                    "passed, or sample by a dialogue with two such turns."
                )
        return self

    @model_validator(mode="after")
    def _is_trained_as_sampled(self) -> Self:
        for block in self.curate:
            if block.on_policy and not self.sample.is_one_conversation:
                raise ValueError(
                    f"curate: '{block.name}' trains what the policy said as one conversation, and a turn of sample has "
                    "a system message or a prompt that its other turns do not see. Leave out its system and view."
                )
        return self

    @model_validator(mode="after")
    def _the_old_policy_is_the_one_that_sampled(self) -> Self:
        """Who trains from another policy, or on another round's rollouts, cannot compute what sampled them."""
        for at, objective in enumerate(self.train):
            recomputed = getattr(objective, "old", None) == "recomputed"
            before = [each.name for each in self.train[:at] if each.role == objective.role]
            other = self.replay or self.sample_from != self.train_from or before
            if recomputed and other and getattr(objective, "loss", "") != "reinforce":  # which has no ratio to it
                trained = f", behind '{before[-1]}'" if before else ""
                raise ValueError(
                    f"train: '{objective.name}' with old: recomputed takes the policy that training starts from for "
                    f"the one that sampled, and with sample_from: {self.sample_from}, train_from: {self.train_from} "
                    f"and replay: {self.replay}{trained} it is another. Set old: sampled (vLLM gives what that needs), "
                    "or sample_from and train_from to the same, replay to 0, and train by it first."
                )
        return self

    @model_validator(mode="after")
    def _rollouts_are_trained_whatever_their_length(self) -> Self:
        """Long ones are often wrong: without them, what is left has advantages over answers that are never learnt."""
        longest = self.sample.longest()
        for objective in self.train if any(block.on_policy for block in self.curate) else ():
            fits = getattr(objective, "max_length", None)
            if fits is not None and fits <= longest:
                raise ValueError(
                    f"train.max_length: {fits} leaves out rollouts of which sample allows {longest} new tokens, and "
                    "their failures would never be learnt. Raise it above these and the prompt, or lower max_tokens."
                )
        return self

    @model_validator(mode="after")
    def _bases_are_known(self) -> Self:
        """What a line began with is its policy: a trained role has a line of its own, of newer versions."""
        for objective in self.train:
            if objective.held_to == "base" and objective.role != "policy":
                raise ValueError(
                    f"train: '{objective.name}' holds the role {objective.role} to `base`, which is the policy that "
                    "the line began with. Hold it to `start`."
                )
        return self

    @model_validator(mode="after")
    def _metrics_differ(self) -> Self:
        require_fair(self.evaluate)
        names = [block.name for block in self.evaluate]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"evaluate lists {', '.join(twice)} twice. Keep one, or give it another k.")
        return self

    @model_validator(mode="after")
    def _controls_differ(self) -> Self:
        names = [control.name for control in self.control]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"control lists {', '.join(twice)} twice. Keep one.")
        if names and not self.train:
            raise ValueError(f"control lists {', '.join(names)}, but a stage that trains nothing has no rounds.")
        return self

    @model_validator(mode="after")
    def _gate_metrics_are_measured(self) -> Self:
        metric = getattr(self.gate, "metric", None)
        if metric is not None:
            self._require_merit("gate.metric is", metric)
        for guarding in sorted(self.gate.anchored - {metric}) if self.gate else ():
            self._require_merit("gate.guard names", guarding)
        return self

    def _require_merit(self, named: str, metric: str) -> None:
        """Raise ValueError where `metric` is not measured, or says nothing of which model is better."""
        measured = {block.name: block for block in self.evaluate}
        if metric not in measured:
            raise ValueError(
                f"{named} '{metric}', but evaluate measures {', '.join(measured)}. "
                f"Add it to evaluate, or name one of these."
            )
        if not measured[metric].higher_is_better:
            better = ", ".join(name for name, block in measured.items() if block.higher_is_better)
            raise ValueError(
                f"{named} '{metric}', of which more is not better: a gate would promote what is merely longer or "
                f"dearer. Name another of those that evaluate measures ({better or 'none yet; add accuracy'})."
            )


_NOT_ONLINE = {
    "epochs": "online.updates says how often a step's examples are learnt from",
    "mask_inputs": "inputs are learnt from as they were sampled",
    "gradient_accumulation": "an update is on all of a step's examples",
    "old": "the trainer reads the log-probabilities before a step's first update itself",
}
"""Fields of objectives that an online stage does without, and what is there instead."""


class Recipe(BaseModel):
    """One self-training method: the models of its roles, its tasks, and its stages in order."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    format: Annotated[
        int,
        Field(
            description="of the file: 2 has `about`; files that do not say are of format 1",
            json_schema_extra={"enum": [1, 2]},
        ),
    ] = 1
    extends: Annotated[
        str | None,
        Field(exclude=True, description="a shipped recipe, or a recipe's path, whose fields hold where this has none"),
    ] = None
    profiles: Annotated[
        dict[Annotated[str, Field(pattern=NAME)], dict[str, Any]],
        Field(exclude=True, description="name to fields of a recipe that `--profile NAME` merges over this one"),
    ] = {}
    name: Annotated[str, Field(pattern=NAME, description="lower case, digits and dashes")]
    description: Annotated[str, Field(description="what it does, for `selftaught recipes list`")] = ""
    about: Annotated[About | None, Field(description="the paper, what it published, what differs, the effect")] = None
    models: Annotated[
        dict[Annotated[str, Field(pattern=ROLE)], RoleModel],
        Field(description="role to starter, folder, hub id, {iterate: …} or {url: …}; others fall back to policy"),
    ]
    chat_template: Annotated[
        dict[str, bool | int | float | str],
        Field(description="variables of the models' chat templates (enable_thinking: false), in training too"),
    ] = {}
    tasks: Annotated[TaskSource, OnAxis("tasks"), Field(description="where tasks come from, and how many of them")]
    sets: Annotated[
        dict[Annotated[str, Field(pattern=NAME)], EvaluationSet],
        Field(exclude_if=lambda sets: not sets, description="name to tasks that are evaluated beside the recipe's own"),
    ] = {}
    stages: Annotated[
        tuple[Stage, ...], Field(min_length=1, description="in order; the last one is used for all further rounds")
    ]

    _nothing_late = field_validator("extends")(_refuse_late)

    @field_validator("format")
    @classmethod
    def _is_known(cls, number: int) -> int:
        if number not in FORMATS:
            raise ValueError(
                f"{number} is a format that Selftaught {__version__} does not read: {', '.join(map(str, FORMATS))}. "
                "Install a newer Selftaught, or write the recipe in one of these."
            )
        return number

    @model_validator(mode="after")
    def _about_has_its_format(self) -> Self:
        if self.about is not None and self.format < 2:
            raise ValueError("about is of format 2. Add `format: 2`.")
        return self

    @field_validator("models")
    @classmethod
    def _has_policy(cls, models: dict[str, RoleModel]) -> dict[str, RoleModel]:
        require_policy(models)
        return models

    @field_validator("chat_template")
    @classmethod
    def _are_the_templates_own(cls, variables: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(variables.keys() & NOT_THE_TEMPLATES):
            raise ValueError(f"{taken[0]} is not a template variable: it controls rendering. Remove it.")
        return variables

    @field_validator("stages")
    @classmethod
    def _stage_names_differ(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages share a name ({', '.join(names)}). Name each stage once.")
        return stages

    @model_validator(mode="after")
    def _controls_fit(self) -> Self:  # here, since a round's stage is one that controls have changed
        for stage in self.stages:
            for control in stage.control:
                self._require_last(stage, control)
                try:
                    control.check(stage)
                except (ValueError, BadRecipe) as error:
                    raise ValueError(f"stages.{stage.name}.control.{control.name}: {error}") from None
        return self

    def _require_last(self, stage: Stage, control: Control) -> None:
        """Raise ValueError where `control` may end the campaign, and `stage` is not the one that would go on."""
        if type(control).ended is not Control.ended and stage is not self.stages[-1]:
            raise ValueError(
                f"stages.{stage.name}.control.{control.name}: it ends the campaign, and {self.stages[-1].name} would "
                "never be reached. Move it there."
            )

    @model_validator(mode="after")
    def _has_tasks_for_its_rounds(self) -> Self:
        if not self.tasks.train and any(stage.train or stage.gate for stage in self.stages):
            raise ValueError(
                f"tasks: {self.tasks.name} has no problems to train on. Name a source that has some, and put this one "
                f"under sets: {{{self.tasks.name.replace('_', '-')}: {{tasks: {{type: {self.tasks.name}}}}}}}."
            )
        return self

    @model_validator(mode="after")
    def _guard_or_none(self) -> Self:
        unguarded = [stage.name for stage in self.stages if stage.gate and stage.gate.anchored]
        if unguarded and not self.tasks.guard:
            rows = getattr(self.tasks, "own_rows", {}).get("guard")
            asked = "Ask for some (`guard: 96` in tasks)"
            if rows:
                asked = f"Name rows of another kind in tasks.{rows} and say how many (`guard: 96`)"
            raise ValueError(
                f"there are no guard tasks, so the gate of {', '.join(unguarded)} cannot see what is lost elsewhere. "
                f"{asked}, or set `guard: none` in the gate."
            )
        return self

    @model_validator(mode="after")
    def _gate_is_not_the_policys_opinion(self) -> Self:
        for stage in self.stages:
            for metric in (metric for metric in stage.evaluate if metric.name in _deciding(stage)):
                for verifier in metric.verify:
                    self._require_judges(f"stages.{stage.name}.evaluate.{metric.name}", verifier)
        return self

    @model_validator(mode="after")
    def _margins_are_minded(self) -> Self:
        require_minded(self.sets, self.stages)
        for name, each in self.sets.items():
            for metric in (metric for stage in self.stages for metric in each.deciding(stage)):
                for verifier in metric.verify:
                    self._require_judges(f"sets.{name}.metrics.{metric.name}", verifier)
        return self

    @model_validator(mode="after")
    def _external_models_are_only_asked(self) -> Self:
        trained = frozenset[str]().union(*(stage.trained_roles for stage in self.stages))
        require_weights(self.models, trained)
        for stage in self.stages:
            for metric in (each for each in stage.evaluate if each.name in _deciding(stage)):
                measured = metric.sampler().roles() | {getattr(metric, "role", "policy")}
                if asked := sorted(externals(self.models).keys() & measured):
                    raise ValueError(
                        f"stages.{stage.name}.evaluate.{metric.name}: the gate decides by it, and it measures what the "
                        f"{asked[0]} model answers, which is {self.models[asked[0]]}. Let an external model judge "
                        "(verify), and measure the policy."
                    )
        return self

    def _require_judges(self, location: str, verifier: Verifier) -> None:
        """Raise ValueError where `verifier`, by which a gate decides, asks a role that the line's own models play."""
        if unnamed := sorted(verifier.roles() - independent(self.models)):
            raise ValueError(
                f"{location}.verify: '{verifier.name}' asks the {unnamed[0]} model, which is the one that is measured "
                "or an iterate of its line, so the gate would go by a model's opinion of itself. Assign another model "
                "to the role (models: {judge: …}, role: judge), or leave verify out, and the gold answers decide."
            )

    @classmethod
    def load(cls, path: Path | str, overrides: Sequence[str] = (), profile: str = "") -> Self:
        """The recipe in `path`, or shipped under that name, with one of its profiles and `--set` overrides.

        Overrides (`stages.main.sample.k=4`) come last. Raises BadRecipe: file and line, field, value, and the accepted
        ones.
        """
        path = shipped.recipe(Path(path))
        return cls.parse(contents(path, "recipe", shipped.recipes()), str(path), overrides, profile)

    @classmethod
    def parse(cls, text: str, name: str = "recipe", overrides: Sequence[str] = (), profile: str = "") -> Self:
        """The recipe in `text` (YAML or JSON); see `load`.

        `name` is what errors call it; relative paths of `extends` start at its folder. Raises BadRecipe.
        """
        written = Written(*resolved(text, Path(name), profile), cls)
        if written.data.keys() >= {"arms", "claim"}:
            raise BadRecipe(f"{name}: an effect, not a recipe: `selftaught compare {name} --dry-run` checks it.")
        if written.data.get("kind") == "Campaign":
            raise BadRecipe(f"{name}: a campaign, not a recipe: `selftaught run -f {name}` runs it.")
        for override in overrides:
            relocate(written.locations, set_field(written.data, override), f"--set {override}")
        return written.checked()

    @property
    def policy(self) -> str:
        """The model that a line of it begins with: a starter model, a folder or a hub id."""
        return cast(str, self.models["policy"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe with every default spelt out; what it says of itself (`about`) does not count."""
        method = self.model_dump(mode="json", exclude={"format", "about"})
        return hashlib.sha256(canonical(method)).hexdigest()

    def as_argument(self) -> str:
        """The recipe as JSON that comes through Kubeflow Pipelines as it is.

        Argo takes `{{` in a run's parameters for a variable of its own, and Kubernetes makes `$` of `$$` and values of
        `$(NAME)` in a container's arguments. Both can stand in JSON in its strings alone, which may write them as
        `\\u007b` and `\\u0024`.

        Raises BadInput when it is longer than an argument of a process may be.
        """
        text = self.model_dump_json().replace("{{", "{\\u007b").replace("$", "\\u0024")
        size = len(json.dumps(text).encode())  # it travels in JSON
        if size > ARGUMENT:
            raise BadInput(
                f"{self.name}: the recipe is {size:,} bytes, and a pipeline takes {ARGUMENT:,}. Shorten its texts."
            )
        return text

    def follows(self, family: str, paper: str) -> bool:
        """Whether it is of that `family` and follows a paper that `paper` matches; empty is any, or none at all."""
        about, found = self.about, self.about and self.about.paper
        return (not family or (about is not None and about.family == family)) and (
            not paper or (found is not None and found.matches(paper))
        )

    def stage(self, name: str) -> Stage:
        """The stage called `name`."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def sources(self) -> dict[str, TaskSource]:
        """Where the tasks of its sets come from, by name."""
        return {name: each.tasks for name, each in self.sets.items()}

    def with_sets(self, stage: Stage) -> Stage:
        """`stage` with the metrics of the sets among its own: all that is measured in its rounds."""
        own = list(stage.evaluate)
        for metric in (metric for each in self.sets.values() for metric in each.measured(stage)):
            own += [metric] * (metric not in own)
        return stage.model_copy(update={"evaluate": tuple(own)})

    def rounds(self) -> Iterator[Stage]:
        """The stage of every round in order, the last stage for ever after its own rounds are done."""
        for stage in self.stages:
            yield from [stage] * stage.rounds
        while True:
            yield self.stages[-1]


def _deciding(stage: Stage) -> frozenset[str | None]:
    """The metrics by which the stage's gate decides."""
    return frozenset({getattr(stage.gate, "metric", None), *(stage.gate.anchored if stage.gate else ())})


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors (`# yaml-language-server: $schema=…`)."""
    return schema_of(Recipe, Stage)
