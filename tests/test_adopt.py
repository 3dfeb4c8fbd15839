"""The models of the roles other than policy, as `adopt` keeps them."""

from dataclasses import replace
from pathlib import Path

import pytest

from selftaught.errors import BadInput, Unavailable
from selftaught.recipe import Recipe
from selftaught.round import adopt as adopting
from selftaught.round.adopt import adopt, adopt_roles, roles
from selftaught.round.job import Workplace
from tests.rounds import database, model, place, recipe, recorded_blocks

__all__ = ["database", "model", "place", "recorded_blocks"]


def judged(policy: Path) -> Recipe:
    """A recipe with a judge."""
    told = recipe(policy)
    return Recipe.model_validate(told | {"models": told["models"] | {"judge": "someone/judge"}})


def test_a_model_that_cannot_be_had_again_leaves_the_one_that_was_kept(
    place: Workplace, model: Path, monkeypatch: pytest.MonkeyPatch
):
    def kept(place: Workplace, name: str) -> tuple[str, str]:
        return "a" * 64, "file:///judge"

    def gone(place: Workplace, name: str) -> tuple[str, str]:
        raise Unavailable(f"{name}: the hub does not answer")

    told = judged(model)
    monkeypatch.setattr(adopting, "keep", kept)
    adopt_roles(place, told, "line")
    monkeypatch.setattr(adopting, "keep", gone)
    with pytest.raises(Unavailable):
        adopt_roles(place, told, "line")
    assert roles(place, told, "line")["judge"].digest == "a" * 64


@pytest.mark.parametrize("line", ["l" * 40, "Support", "9to5"])
def test_a_line_that_could_never_be_served_on_a_cluster_is_not_begun(place: Workplace, model: Path, line: str):
    there = replace(place, settings=place.settings.model_copy(update={"serving": "kserve"}))
    with pytest.raises(BadInput, match="part of a Service's name"):
        adopt(there, Recipe.model_validate(recipe(model)), line)
    assert there.tracker.versions(line) == []
