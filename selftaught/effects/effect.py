"""The file of an effect: what a system claims, the arms that are compared, and what is measured of them.

It is checked completely, the recipe of every arm included, before any arm runs. Running the arms is `arms`' business,
and what their scores come to is `comparison`'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from selftaught.core.errors import BadInput, BadRecipe, did_you_mean
from selftaught.recipe import Recipe, Stage
from selftaught.recipe.errors import NAME, Written
from selftaught.recipe.text import contents, mapping

BASE = "base"
"""The control of an effect whose arms are held against the models that they began with."""

Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Arm(_Frozen):
    """One of the things that are compared: a recipe with overrides."""

    name: Name
    """What results and model lines call it."""
    recipe: str = ""
    """A recipe's file, or the name of a shipped one; the effect's unless given."""
    set: tuple[str, ...] = ()
    """Overrides in the form of `--set`, applied after the effect's."""
    profiles: Mapping[str, tuple[str, ...]] = {}
    """More of them in a profile of the recipe, by its name: lengths and numbers that are another size there."""
    metric: str = ""
    """What is measured of this arm; the effect's unless given. Strategies of one recipe differ in it."""


class Effect(_Frozen):
    """A claim of one system that arms with equal tasks can show, or fail to."""

    system: Name
    """What the effect is called: lower case, digits and dashes."""
    claim: Text
    """The claim in a sentence."""
    recipe: Text
    """The recipe of every arm that names none: a file, or the name of a shipped one."""
    profile: str = ""
    """The profile that is merged over the recipe of every arm; `--profile` of the command replaces it."""
    set: tuple[str, ...] = ()
    """Overrides of all arms (`tasks.report=400`), in the form of `--set`."""
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    """What is compared; arms may differ in anything but their held-out tasks."""
    control: Name
    """The arm that the others are held against; `base` is the model that an arm began with."""
    metric: Text
    """What is measured on the report set, which no gate sees: `accuracy`, `mean@8`."""
    direction: Literal["rises", "falls"] = "rises"
    """Whether the claim is that the metric is higher than the control's, or lower."""
    smallest: Annotated[float, Field(gt=0)]
    """The smallest difference that is worth showing: below it the effect is not shown, however certain."""
    seeds: PositiveInt = 3
    """Repetitions, each with tasks of its own, which are equal in all arms."""
    notes: str = ""
    """What a reader of the result should know."""

    @classmethod
    def load(cls, path: Path, profile: str = "") -> Self:
        """The effect in `path`, its recipes in `profile` where one is named.

        Raises BadRecipe: file and line, field, value, and the accepted ones.
        """
        form = "an effect is a mapping with system, claim, recipe, arms, control, metric and smallest"
        data, locations = mapping(contents(path, "effect", path.parent), str(path), form)
        written = Written({**data, **({"profile": profile} if profile else {})}, locations, cls)
        effect = written.checked()
        if effect.control != BASE and effect.metric not in map(effect.metric_of, effect.arms):
            raise BadRecipe(
                f"{written.at(('metric',))}: '{effect.metric}' is measured of no arm, as each names another. Set it to "
                "that of an arm."
            )
        for index, arm in enumerate(effect.arms):
            for problem in _problems(effect, arm):
                raise BadRecipe(f"{written.at(('arms', index))}: {problem}")
        return effect

    @model_validator(mode="after")
    def _arms_differ(self) -> Self:
        names = [arm.name for arm in self.arms]
        if BASE in names:
            raise ValueError(f"an arm cannot be called '{BASE}', which is the model that arms begin with. Rename it.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two arms share a name ({', '.join(twice)}). Name each arm once.")
        return self

    @model_validator(mode="after")
    def _has_a_control(self) -> Self:
        accepted = [*(arm.name for arm in self.arms), BASE]
        if self.control not in accepted:
            raise ValueError(
                f"control: '{self.control}' is no arm.{did_you_mean(self.control, accepted)}\n"
                f"  accepted: {', '.join(accepted)}"
            )
        if [arm.name for arm in self.arms] == [self.control]:
            raise ValueError(f"control: '{self.control}' is the only arm. Add another, or set `control: {BASE}`.")
        return self

    @cached_property
    def recipes(self) -> Mapping[str, Recipe]:
        """The recipe of every arm by its name, with overrides applied. Raises BadRecipe where one is wrong."""
        return {arm.name: self.recipe_of(arm) for arm in self.arms}

    def recipe_of(self, arm: Arm) -> Recipe:
        """The recipe of `arm`, as `recipes` has it."""
        overrides = (*self.set, *arm.set, *arm.profiles.get(self.profile, ()))
        return Recipe.load(Path(arm.recipe or self.recipe), overrides, self.profile)

    def metric_of(self, arm: Arm) -> str:
        """What is measured of `arm`."""
        return arm.metric or self.metric

    @property
    def treated(self) -> Sequence[str]:
        """The names of the arms that are held against the control."""
        return [arm.name for arm in self.arms if arm.name != self.control]


def _problems(effect: Effect, arm: Arm) -> Iterator[str]:
    """Why `arm` cannot be measured, or not be compared with the others."""
    try:
        recipe = effect.recipe_of(arm)
    except BadInput as error:
        yield str(error)
        return
    last, metric = recipe.stages[-1], effect.metric_of(arm)
    yield from _unmeasured(last, metric)
    if last.train and not last.trains_policy:
        yield f"{recipe.name}: stages.{last.name} trains no policy, so there is no model to measure after it."
    if effect.control == BASE:
        yield from _no_base(effect, arm, recipe)
    if _held_out(recipe) != _held_out(effect.recipe_of(effect.arms[0])):
        yield (
            f"tasks differ from those of '{effect.arms[0].name}' in more than `train`, so results could not be paired. "
            "Set them for all arms, in the effect's `set`."
        )


def _no_base(effect: Effect, arm: Arm, recipe: Recipe) -> Iterator[str]:
    """Why the model that `arm` begins with cannot be its control."""
    if not recipe.stages[-1].train:
        yield f"{recipe.name} trains nothing, so what it begins with is what it ends with. Name an arm as the control."
    if effect.metric_of(arm) != effect.metric or recipe.models != effect.recipe_of(effect.arms[0]).models:
        yield f"control: {BASE} is one model with one metric: let the arms share both, or name an arm as the control."
    yield from _unmeasured(recipe.stages[0], effect.metric)


def _unmeasured(stage: Stage, metric: str) -> Iterator[str]:
    measured = [name for block in stage.evaluate for name in block.scored]
    if metric not in measured:
        yield (
            f"stages.{stage.name} does not measure '{metric}'.{did_you_mean(metric, measured)}\n"
            f"  accepted: {', '.join(measured) or 'none; add it to evaluate'}"
        )


def _held_out(recipe: Recipe) -> Mapping[str, Any]:
    """What the tasks that are measured on depend on."""
    return recipe.tasks.model_dump(mode="json", exclude={"train"})
