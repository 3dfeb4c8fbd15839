"""The models of the roles other than policy, as a round is prepared: each by digest, whatever its recipe calls it.

Named models are in the store since they were adopted; iterates are versions of this line or of another, looked up once
a round, so that all of its steps ask the same one. A model behind a URL has an identity in place of a digest.
"""

from collections.abc import Mapping, Sequence

from selftaught.core.errors import BadInput, did_you_mean
from selftaught.platform import Platform
from selftaught.recipe import Iterate, Recipe
from selftaught.recipe.models import IterateModel, externals, iterates
from selftaught.round.adopt import roles
from selftaught.round.in_use import elsewhere
from selftaught.round.job import ModelRef
from selftaught.state.tracking import Tracker, Version


def role_models(platform: Platform, recipe: Recipe, line: str) -> dict[str, ModelRef]:
    """The model of every role other than policy that `recipe` gives one.

    Raises BadInput for a named model that was not adopted, and for an iterate that is not there.
    """
    versions = {role: resolve(platform, role, model, line) for role, model in iterates(recipe.models).items()}
    return {
        **roles(platform, recipe, line),
        **{role: reference(version) for role, version in versions.items()},
        **{role: ModelRef(digest=model.digest) for role, model in externals(recipe.models).items()},
    }


def of_other_lines(platform: Platform, recipe: Recipe, line: str) -> Mapping[str, Version]:
    """The iterates of other lines that play roles: what has to be there before `line` is begun. Raises as `resolve`."""
    others = {role: model for role, model in iterates(recipe.models).items() if model.line not in (None, line)}
    return {role: resolve(platform, role, model, line) for role, model in others.items()}


def resolve(platform: Platform, role: str, model: IterateModel, line: str) -> Version:
    """The version that `model` is now, for a round of `line`.

    Raises BadInput for a line that does not exist, naming those that do, one without such an iterate, and a version
    whose files are not in this platform's store.
    """
    of, tracker = model.line or line, platform.tracker
    if model.line and model.line not in (lines := tracker.lines()):
        there = ", ".join(lines) or f"none yet in {tracker.uri}: `selftaught run` makes one"
        raise BadInput(f"models.{role}: unknown model line '{of}'.{did_you_mean(of, lines)}\n  accepted: {there}")
    version = previous(tracker, of) if model.iterate == "previous" else iterate(tracker, of, model.iterate)
    if version.removed:
        raise BadInput(
            f"models.{role}: the files of {model}, version {version.version}, were removed on {version.removed} "
            "(`selftaught gc`). Name another iterate."
        )
    if elsewhere(platform, version):
        raise BadInput(
            f"models.{role}: {model} is in {version.uri}, outside {platform.store.root}. Name one of this store."
        )
    return version


def iterate(tracker: Tracker, line: str, alias: Iterate) -> Version:
    """The version of `line` that `alias` points at. Raises BadInput where the line has none."""
    return iterate_of(tracker.aliases(line), line, alias)


def iterate_of(aliases: Mapping[str, Version], line: str, alias: Iterate) -> Version:
    """The version at `alias` of the `aliases` of `line`. Raises as `iterate`."""
    if alias not in aliases:
        raise BadInput(f"{line}: has no {alias} in the registry. `selftaught run` adopts the recipe's model first.")
    return aliases[alias]


def previous(tracker: Tracker, line: str) -> Version:
    """The version that the head of `line` was trained from; where the head is what the line began with, that one."""
    head, base = iterate(tracker, line, "head"), iterate(tracker, line, "base")
    return parent_of(head, tracker.tagged_versions(line)) or base


def parent_of(version: Version, versions: Sequence[tuple[Version, Mapping[str, str]]]) -> Version | None:
    """The one of `versions`, each with its tags, that `version` was trained from; None where none of them is."""
    tags = next(tags for each, tags in versions if each.version == version.version)
    return next((each for each, _ in versions if each.digest == tags.get("selftaught.parent")), None)


def reference(version: Version) -> ModelRef:
    """What a job has of `version`."""
    return ModelRef(digest=version.digest, version=version.version)
