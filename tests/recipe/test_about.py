"""What a recipe says of itself is checked and shown, and is not part of its method."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.recipe.about import About, Paper, references

REPOSITORY = Path(__file__).parents[2]
SHIPPED = sorted((REPOSITORY / "recipes").glob("*.yaml"))
STAR = {
    "title": "STaR: Bootstrapping Reasoning With Reasoning",
    "authors": ["Eric Zelikman", "Noah D. Goodman"],
    "year": 2022,
    "arxiv": "2203.14465",
}


def text(**changes: object) -> str:
    """rft.yaml with other fields at its top; None takes one out."""
    fields = yaml.safe_load((REPOSITORY / "recipes" / "rft.yaml").read_text()) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_says_what_it_follows_and_what_differs(path: Path):
    recipe = Recipe.load(path)
    assert recipe.format == 2 and recipe.about is not None and recipe.about.paper is not None
    assert recipe.about.differs or recipe.about.family == "control"


def test_what_a_recipe_says_of_itself_changes_no_digest():
    """Rounds, claims and campaigns go by the digest: a recipe of the earlier format stays the same one."""
    earlier = Recipe.parse(text(format=None, about=None))
    assert (earlier.format, earlier.about) == (1, None)
    assert earlier.digest == Recipe.parse(text()).digest
    assert earlier.digest == Recipe.parse(text(about={"family": "search", "published": "Another method."})).digest
    assert earlier.digest != Recipe.parse(text(description="other")).digest


def test_a_recipe_says_the_same_of_itself_after_its_way_through_a_pipeline():
    """All but its profiles, one of which may have been merged into it: a run has no other any more."""
    recipe = Recipe.parse(text(profiles=None))
    assert Recipe.parse(recipe.as_argument()) == recipe
    assert Recipe.parse(Recipe.parse(text()).as_argument()) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "about is of format 2. Add `format: 2`."),
        ({"format": 1}, "about is of format 2. Add `format: 2`."),
        ({"format": 3}, "3 is a format that Selftaught .* does not read: 1, 2. Install a newer Selftaught"),
        ({"about": {"family": "serch", "published": "x"}}, "about.family: .*serch.*search"),
        ({"about": {"family": "search"}}, "about.published"),
        ({"about": {"family": "search", "published": "x", "papers": {}}}, "about.papers"),
        (
            {"about": {"family": "search", "published": "x", "paper": STAR | {"arxiv": None}}},
            "about.paper: names neither arxiv nor doi",
        ),
        ({"about": {"family": "search", "published": "x", "paper": STAR | {"arxiv": "cs/0112017v1"}}}, "paper.arxiv"),
    ],
)
def test_a_mistake_in_what_it_says_is_told_with_its_place(changes: dict[str, object], message: str):
    with pytest.raises(BadRecipe, match=message):
        Recipe.parse(text(**changes))


def test_a_paper_is_cited_as_bibtex():
    assert Paper.model_validate(STAR).bibtex() == (
        "@misc{zelikman2022star,\n"
        "  title = {{STaR: Bootstrapping Reasoning With Reasoning}},\n"
        "  author = {Eric Zelikman and Noah D. Goodman},\n"
        "  year = {2022},\n"
        "  eprint = {2203.14465},\n"
        "  archivePrefix = {arXiv},\n"
        "  url = {https://arxiv.org/abs/2203.14465},\n"
        "}\n"
    )


def test_a_paper_without_an_arxiv_number_is_cited_by_its_doi():
    paper = Paper(title="The Art & Craft of 50% Rules", authors=("Ada Łęcka",), year=1999, doi="10.1000/182")
    assert paper.key == "ecka1999art"
    assert "title = {{The Art \\& Craft of 50\\% Rules}}" in paper.bibtex()
    assert "doi = {10.1000/182},\n  url = {https://doi.org/10.1000/182}," in paper.bibtex()


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_whatever_a_title_holds_the_braces_of_its_entry_close(title: str, author: str):
    """BibTeX counts braces, escaped ones too, so those of a text have to come in pairs or as commands."""
    entry = Paper(title=title, authors=(author,), year=2020, arxiv="2001.00001").bibtex()
    depth = 0
    for letter in entry:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0


def test_a_paper_of_several_recipes_is_one_reference():
    about = About.model_validate({"family": "search", "published": "x", "paper": STAR})
    assert references([about, None, about]) == Paper.model_validate(STAR).bibtex()


@pytest.mark.parametrize(
    ("family", "paper", "follows"),
    [
        ("", "", True),
        ("rejection-sampling", "", True),
        ("search", "", False),
        ("", "2308.01825", True),
        ("", "scaling RELATIONSHIP", True),
        ("", "zheng yuan", True),
        ("", "2203.14465", False),
        ("search", "2308.01825", False),
    ],
)
def test_recipes_are_found_by_family_and_paper(family: str, paper: str, follows: bool):
    assert Recipe.parse(text()).follows(family, paper) is follows
    silent = Recipe.parse(text(format=None, about=None))
    assert silent.follows(family, paper) is (not family and not paper)
