"""A recipe's `about`: the paper, what it published, what differs here, and the expected effect.

People read it (`selftaught recipes list`); no round does. It changes no digest, so a recipe whose words are fixed is
the recipe that it was. How blocks differ from their papers is said by the blocks.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from selftaught.core.errors import BadInput, did_you_mean

Family = Literal[
    "rejection-sampling",
    "supervised",
    "search",
    "self-correction",
    "feedback-conditioned",
    "preference",
    "online",
    "self-play",
    "inference",
    "control",
]
FAMILIES: tuple[str, ...] = get_args(Family)

ESCAPED = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_"}
    | {"{": r"\textbraceleft{}", "}": r"\textbraceright{}", "\\": r"\textbackslash{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)
"""What LaTeX reads as something else than the letter. Braces are commands: BibTeX counts escaped ones too."""

SHORT = frozenset({"a", "an", "on", "the", "toward", "towards"})
"""What a title may begin with that says nothing of it."""

Text = Annotated[str, Field(min_length=1)]


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, use_attribute_docstrings=True)


class Paper(_Words):
    """A publication, as far as it takes to find and to cite it."""

    title: Text
    """Its title, with the capitals that it has."""
    authors: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Full names, the given name first."""
    year: Annotated[int, Field(ge=1900, le=2999)]
    """The year of its first version."""
    arxiv: Annotated[str, Field(pattern=r"^\d{4}\.\d{4,5}$")] | None = None
    """Its number on arXiv, such as 2203.14465."""
    doi: Annotated[str, Field(pattern=r"^10\.\d{4,9}/\S+$")] | None = None
    """Its DOI, such as 10.1000/182."""

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if not self.arxiv and not self.doi:
            raise ValueError("names neither arxiv nor doi, so nobody can find it. Add one.")
        return self

    @property
    def where(self) -> str:
        """Where it can be found: `arXiv 2203.14465`, or its DOI."""
        return f"arXiv {self.arxiv}" if self.arxiv else f"doi {self.doi}"

    def matches(self, query: str) -> bool:
        """Whether `query` stands in the title, in an author's name, or in what it is found by; any case."""
        return any(query.casefold() in text.casefold() for text in (self.title, *self.authors, self.where))

    @property
    def key(self) -> str:
        """What a citation calls it: the first author's last name, the year, the title's first word."""
        words = re.findall(r"[a-z0-9]+", _plain(self.title))
        word = next((each for each in words if each not in SHORT), words[0] if words else "")
        return "".join(re.findall(r"[a-z0-9]+", _plain(self.authors[0].split()[-1]))) + str(self.year) + word

    def bibtex(self) -> str:
        """An entry for BibTeX and BibLaTeX; the title's capitals are kept."""
        link = f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else f"https://doi.org/{self.doi}"
        fields = {
            "title": f"{{{_latex(self.title)}}}",
            "author": " and ".join(map(_latex, self.authors)),
            "year": str(self.year),
            **({"eprint": self.arxiv, "archivePrefix": "arXiv"} if self.arxiv else {}),
            **({"doi": self.doi} if self.doi else {}),
            "url": link,
        }
        rows = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        return f"@misc{{{self.key},\n{rows}}}\n"


class About(_Words):
    """The method that a recipe runs, and how far it is that of its paper."""

    family: Family
    """What kind of method it is."""
    paper: Paper | None = None
    """The paper that the recipe follows."""
    published: Text
    """The method, as it was published."""
    differs: Text | None = None
    """What the recipe does otherwise, and why."""
    effect: Text | None = None
    """What has to be seen where the method works."""


def require_family(name: str) -> None:
    """Raise BadInput where `name` is not a family; empty is any."""
    if name and name not in FAMILIES:
        raise BadInput(
            f"--family {name}: no such family.{did_you_mean(name, FAMILIES)}\n  accepted: {', '.join(FAMILIES)}"
        )


def references(about: Iterable[About | None]) -> str:
    """The papers of recipes as a BibTeX file, each once."""
    papers = {each.paper: None for each in about if each and each.paper}
    return "\n".join(paper.bibtex() for paper in papers)


def _plain(text: str) -> str:
    """`text` in lower case without accents."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().casefold()


def _latex(text: str) -> str:
    return text.translate(ESCAPED)
