"""The profiles of shipped recipes: every one loads and plans, on rows like those of the data sets that it names.

No hub is asked: the rows are made here, in the form that each data set has there.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from selftaught.campaign import estimate
from selftaught.campaign.order import CampaignOrder
from selftaught.core import shipped
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Split, Task
from selftaught.tasks.sources.huggingface import HuggingFace
from selftaught.tasks.sources.rows import Table
from tests.round.test_intake import put, word_problems

Row = dict[str, str]

RECIPES = sorted(shipped.recipes().glob("*.yaml"))
PROFILES = [(path, name) for path in RECIPES for name in Recipe.load(path).profiles]


def words(seed: int) -> str:
    """Seven letters that no other number gives."""
    return "".join(chr(97 + seed // 26**power % 26) for power in range(7))


def gsm8k(seed: int) -> Row:
    """A row of openai/gsm8k."""
    answer = f"{words(seed)} has 2 * 3 = <<2*3=6>>6.\n#### 6"
    return {"question": f"How many has {words(seed)} of {words(seed * 7)}?", "answer": answer}


def hendrycks(seed: int) -> Row:
    """A row of zwhe99/MATH."""
    problem = f"Find what {words(seed)} is to {words(seed * 7)}."
    return {"problem": problem, "solution": "It is $\\boxed{\\frac12}$.", "expected_answer": "\\frac12"}


ROWS: Mapping[tuple[str, str | None], tuple[Callable[[int], Row], Mapping[str, int]]] = {
    ("openai/gsm8k", "main"): (gsm8k, {"train": 7473, "test": 1319}),
    ("zwhe99/MATH", None): (hendrycks, {"train": 7500, "math500": 500}),
}
"""What a row is, and how many there are in each split that is used, by data set and configuration."""

SHARE = 60
"""Of rows, and of tasks, there are so many fewer here."""


def table(source: HuggingFace, split: Split = "train") -> Table:
    """The rows of the split of `split` in what `source` names."""
    row, splits = ROWS[source.dataset, source.subset]
    wanted = str(getattr(source, source.own_rows.get(split, "hf_split")))
    first = 10_000 * list(splits).index(wanted)
    rows = [("here", row(first + index)) for index in range(math.ceil(splits[wanted] / SHARE))]
    return Table(source.dataset, lambda: iter(rows), dict.fromkeys(row(0)))


def fewer(recipe: Recipe) -> list[str]:
    """What makes the tasks of `recipe` as few as the rows here."""
    if recipe.tasks.name == "inbox":
        return ["tasks.at_least=2"]
    return [f"tasks.{split}={math.ceil(size / SHARE)}" for split, size in recipe.tasks.sizes().items()]


def untried(tasks: Sequence[Task], recipe: Recipe) -> tuple[str, ...]:
    """No verifier is tried on gold answers: those made up here say nothing of it."""
    return ()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A home without a line, and a data set hub that answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(HuggingFace, "table", table)
        patch.setattr(estimate, "gold", untried)
        patch.chdir(tmp_path_factory.mktemp("work"))
        put(Path("inbox"), word_problems(1))
        yield Platform.open()


def test_every_recipe_that_follows_a_paper_has_a_profile_of_its_numbers() -> None:
    with_paper = [path.stem for path in RECIPES if (about := Recipe.load(path).about) and about.paper]
    assert [path.stem for path, name in PROFILES if name == "paper"] == with_paper


@pytest.mark.parametrize(("path", "profile"), PROFILES, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_profile_plans_a_round(path: Path, profile: str, platform: Platform) -> None:
    recipe = Recipe.load(path, fewer(Recipe.load(path, (), profile)), profile)
    planned = estimate.plan(platform, CampaignOrder(recipe, "line", "campaign"))
    assert not planned.nothing_new
    assert planned.train_tasks == recipe.tasks.train or recipe.tasks.name == "inbox"
    assert planned.rounds == sum(stage.rounds for stage in recipe.stages)


def test_a_control_differs_from_its_recipe_by_what_it_keeps_in_the_papers_profile_too() -> None:
    verified, control = (Recipe.load(Path(name), (), "paper") for name in ("rft", "unfiltered"))
    first, second = (recipe.model_dump(exclude={"name", "description", "about"}) for recipe in (verified, control))
    curated = [stages["stages"][-1].pop("curate") for stages in (first, second)]
    assert first == second
    assert [each["type"] for each in curated[0]] == ["accepted", "references"]
    assert [each["type"] for each in curated[1]] == ["unfiltered", "references"]
