"""The file of an effect: every mistake is found before an arm runs, and said with its line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks import Draw, Sampler
from selftaught.core.errors import BadRecipe
from selftaught.effects.effect import Effect
from selftaught.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]
FILE = """\
system: rft
claim: verified samples teach more than others
recipe: rft
set: [tasks.report=400]
arms:
  - name: verified
  - {name: unfiltered, recipe: unfiltered}
control: unfiltered
metric: mean@8
smallest: 0.05
"""


def load(folder: Path, old: str = "", new: str = "") -> Effect:
    """The effect in FILE with `new` for `old`."""
    file = folder / "rft.yaml"
    file.write_text(FILE.replace(old, new, 1) if old else FILE)
    assert old in FILE
    return Effect.load(file)


def test_an_arm_has_the_effects_recipe_and_overrides_unless_it_says_otherwise(tmp_path: Path):
    effect = load(tmp_path, "- name: verified", "- {name: verified, set: [stages.main.sample.k=2]}")
    verified, unfiltered = effect.recipes.values()
    assert (verified.name, verified.tasks.report, verified.stages[0].sample.model_dump()["k"]) == ("rft", 400, 2)
    assert (unfiltered.name, unfiltered.tasks.report) == ("unfiltered", 400)
    assert unfiltered.stages[0].sample.model_dump()["k"] == 4
    assert list(effect.treated) == ["verified"]


def test_arms_may_run_in_a_profile_of_their_recipe(tmp_path: Path):
    recipe = "{name: own, extends: rft, profiles: {small: {tasks: {train: 12}}}}"
    (tmp_path / "own.yaml").write_text(recipe)
    text = FILE.replace("recipe: rft", f"recipe: {tmp_path / 'own.yaml'}").replace(", recipe: unfiltered", "")
    (tmp_path / "effect.yaml").write_text(text)
    usual, small = Effect.load(tmp_path / "effect.yaml"), Effect.load(tmp_path / "effect.yaml", "small")
    assert [each.recipes["verified"].tasks.train for each in (usual, small)] == [480, 12]
    with pytest.raises(BadRecipe, match=r"effect.yaml:6: arms.verified: --profile smal: no such profile of"):
        Effect.load(tmp_path / "effect.yaml", "smal")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric:", "metrik:", "rft.yaml:9: metrik: no such field. Did you mean 'metric'?"),
        ("smallest: 0.05", "smallest: -1", "rft.yaml:10: smallest: -1: should be greater than 0."),
        ("smallest: 0.05", "smallest: yes", "rft.yaml:10: smallest: True: should be a number."),
        ("claim: verified samples teach more than others\n", "", "rft.yaml:1: claim: is missing."),
        ("name: unfiltered", "nam: unfiltered", "rft.yaml:7: arms.1.nam: no such field. Did you mean 'name'?"),
        ("control: unfiltered", "control: unfiltred", "control: 'unfiltred' is no arm. Did you mean 'unfiltered'?"),
        ("{name: unfiltered", "{name: verified", "two arms share a name (verified)."),
        ("- name: verified", "- name: base", "an arm cannot be called 'base'"),
        ("  - name: verified\n", "", "'unfiltered' is the only arm."),
        ("metric: mean@8", "metric: mean@9", "rft.yaml:6: arms.verified: stages.main does not measure 'mean@9'."),
        ("recipe: unfiltered", "recipe: unfilterd", "rft.yaml:7: arms.unfiltered: unfilterd: no such recipe."),
        (
            "tasks.report=400",
            "tasks.reprot=4",
            "rft.yaml:6: arms.verified: --set tasks.reprot=4: tasks.reprot: no",
        ),
        ("recipe: unfiltered}", "set: [tasks.report=90]}", "rft.yaml:7: arms.unfiltered: tasks differ from those of"),
    ],
)
def test_a_mistake_is_said_with_its_line_and_what_would_do(old: str, new: str, message: str, tmp_path: Path):
    with pytest.raises(BadRecipe) as raised:
        load(tmp_path, old, new)
    assert message in str(raised.value)


def test_a_metric_that_no_arm_is_measured_by_is_a_mistake(tmp_path: Path):
    arms = "  - {name: verified, metric: accuracy}\n  - {name: unfiltered, recipe: unfiltered, metric: accuracy}\n"
    with pytest.raises(BadRecipe, match="metric: 'mean@8' is measured of no arm"):
        load(tmp_path, FILE[FILE.index("  - name") : FILE.index("control:")], arms)


def test_an_effect_is_not_taken_for_a_recipe():
    with pytest.raises(BadRecipe, match=r"rft\.yaml: an effect, not a recipe: `selftaught compare rft.yaml --dry-run`"):
        Recipe.parse(FILE, "rft.yaml")


def test_a_recipes_name_is_no_effects_file():
    with pytest.raises(BadRecipe, match=r"rft: no such effect\. A recipe has that name: give the effect's own file"):
        Effect.load(Path("rft"))


def test_what_is_no_effect_is_not_taken_for_one(tmp_path: Path):
    (tmp_path / "rft.yaml").write_text(FILE)
    with pytest.raises(BadRecipe, match=r"rtf\.yaml: no such effect\. Did you mean 'rft\.yaml'\?"):
        Effect.load(tmp_path / "rtf.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(BadRecipe, match=r"an effect is a mapping with system, .*, not a list"):
        Effect.load(tmp_path / "list.yaml")


def test_the_base_is_the_control_of_what_trains_one_model_and_measures_it_from_the_start(tmp_path: Path):
    assert load(tmp_path, "control: unfiltered", "control: base").treated == ["verified", "unfiltered"]
    cases = {
        "recipe: unfiltered}": ("recipe: tot-baseline, metric: vote}", "trains nothing"),
        "- name: verified": ("- {name: verified, metric: pass@8}", "control: base is one model with one metric"),
    }
    for old, (new, message) in cases.items():
        (tmp_path / "base.yaml").write_text(FILE.replace("control: unfiltered", "control: base").replace(old, new, 1))
        with pytest.raises(BadRecipe, match=message):
            Effect.load(tmp_path / "base.yaml")


@pytest.mark.parametrize("file", sorted((REPOSITORY / "effects").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_effects_can_be_run_and_are_called_like_their_files(file: Path):
    effect = Effect.load(file)
    assert effect.system == file.stem
    for tasks in {recipe.tasks.model_dump_json(): recipe.tasks for recipe in effect.recipes.values()}.values():
        assert len([task for task in tasks.draw(Draw(1, 2)) if task.split == "report"]) == tasks.report >= 176


def test_an_arm_may_have_overrides_of_one_profile(tmp_path: Path):
    (tmp_path / "own.yaml").write_text("{name: own, extends: rft, profiles: {small: {tasks: {train: 12}}}}")
    text = FILE.replace("recipe: rft", f"recipe: {tmp_path / 'own.yaml'}").replace(
        "{name: unfiltered, recipe: unfiltered}", "{name: unfiltered, profiles: {small: [stages.main.sample.k=2]}}"
    )
    (tmp_path / "effect.yaml").write_text(text)
    for profile, counts in (("", [4, 4]), ("small", [4, 2])):
        recipes = Effect.load(tmp_path / "effect.yaml", profile).recipes.values()
        assert [each.stages[0].sample.model_dump()["k"] for each in recipes] == counts


def test_in_the_papers_profile_all_arms_sample_answers_of_one_length():
    """An arm that spells its sampler out has to name the profile's length too."""
    for file in sorted((REPOSITORY / "effects").glob("*.yaml")):
        recipes = Effect.load(file, "paper").recipes.values()
        for stage in {stage.name for recipe in recipes for stage in recipe.stages}:
            found = {longest(each.sample) for recipe in recipes for each in recipe.stages if each.name == stage}
            assert len(found) == 1, f"{file.stem}: {stage}: {found}"


def longest(sampler: Sampler) -> int:
    """The largest `max_tokens` of any request of `sampler`, however deep it stands."""

    def lengths(value: Any) -> Iterator[int]:
        if isinstance(value, dict):
            yield from (each for key, each in value.items() if key == "max_tokens")
            yield from (length for each in value.values() for length in lengths(each))
        elif isinstance(value, list):
            yield from (length for each in value for length in lengths(each))

    return max(lengths(sampler.model_dump(mode="json")), default=0)
