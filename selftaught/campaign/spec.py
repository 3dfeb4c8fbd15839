"""A campaign as a document: what a team declares, with the fields of the cluster's Campaign resource.

    apiVersion: selftaught.io/v1alpha1
    kind: Campaign
    metadata: {name: weekly}
    spec:
      line: support
      recipe: {name: rft, set: [tasks.train=400]}
      schedule: {cron: "0 3 * * 1", timeZone: Europe/Berlin}
      shards: 2

A file may hold the spec alone. Only what this release does is accepted: fields of the resource that need its controller
are refused. Reads documents and makes orders of them; what runs an order is `local`'s and `kfp`'s business.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from selftaught.campaign.order import CampaignOrder
from selftaught.core import shipped
from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.recipe.errors import Written
from selftaught.recipe.text import contents, mapping

LINE = "^[a-z]([-a-z0-9]{0,42}[a-z0-9])?$"
CRON = "^[-0-9A-Za-z*/,?]+( [-0-9A-Za-z*/,?]+){4}$"
OVERRIDE = "^[A-Za-z0-9_.-]+="
NAME = "^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$"


def _require(pattern: str, words: str, text: str) -> str:
    if not re.match(pattern, text):
        raise ValueError(f"'{text}': {words}")
    return text


def _pattern(pattern: str, words: str) -> AfterValidator:
    """What refuses text that does not match, in `words`: pydantic's own message would show the pattern alone."""
    return AfterValidator(partial(_require, pattern, words))


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RecipeSource(_Part):
    """Where the recipe of a campaign is: one of `inline`, `name` and `path`; `set` overrides fields of it."""

    inline: Annotated[str | None, Field(min_length=1, max_length=65536)] = None
    """The recipe itself, as YAML."""
    name: str | None = None
    """A shipped recipe."""
    path: str | None = None
    """The recipe's file; a relative path starts at the folder of the campaign's file."""
    set: Annotated[
        tuple[
            Annotated[
                str,
                Field(max_length=256, json_schema_extra={"pattern": OVERRIDE}),
                _pattern(OVERRIDE, "not of the form path.to.field=value."),
            ],
            ...,
        ],
        Field(max_length=32),
    ] = ()
    """Overrides, as `--set` takes them: `stages.main.sample.k=4`."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = [name for name in ("inline", "name", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"has {' and '.join(given) or 'no recipe'}. Give one of inline, name and path.")
        return self

    def load(self, file: Path, overrides: Sequence[str] = (), profile: str = "") -> Recipe:
        """The recipe of the campaign in `file`, with one of its profiles; `overrides` come after its own.

        Raises BadRecipe.
        """
        every = (*self.set, *overrides)
        if self.inline is not None:
            return Recipe.parse(self.inline, f"{file}: recipe.inline", every, profile)
        path = shipped.recipes() / f"{self.name}.yaml" if self.path is None else file.parent / self.path
        try:
            return Recipe.load(path, every, profile)
        except BadRecipe as error:
            raise BadRecipe(f"{file}: recipe: {error}") from None


class Schedule(_Part):
    """When rounds of a campaign are submitted."""

    cron: Annotated[
        str,
        Field(max_length=64, json_schema_extra={"pattern": CRON}),
        _pattern(CRON, "should be five fields, such as '0 3 * * 1' for Mondays at 3."),
    ]
    """Minute, hour, day of the month, month and day of the week."""
    time_zone: Annotated[str, Field(alias="timeZone", max_length=64)] = "Etc/UTC"
    """Of the cron, such as Europe/Berlin."""


class CampaignSpec(_Part):
    """What a campaign does: a recipe on a model line, by hand or on a schedule."""

    line: Annotated[
        str,
        Field(json_schema_extra={"pattern": LINE}),
        _pattern(LINE, "should be lower-case letters, digits and dashes, the first a letter, at most 44 of them."),
    ]
    """The model line, and the name of its address."""
    recipe: RecipeSource
    """The recipe that its rounds run."""
    schedule: Schedule | None = None
    """When rounds are submitted; without one they are run by hand."""
    suspend: bool = False
    """Whether the schedule submits nothing for now."""
    shards: Annotated[int, Field(ge=1, le=64)] = 2
    """Sampling tasks that run in parallel; a round that has begun keeps its number."""


class Metadata(BaseModel):
    """What Kubernetes knows of the resource. Only its name matters to rounds: labels and the like are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    name: Annotated[
        str,
        Field(max_length=40, json_schema_extra={"pattern": NAME}),
        _pattern(NAME, "should be at most 40 lower-case letters, digits and dashes: CronJobs are called after it."),
    ]
    """The campaign's name."""


class CampaignDocument(_Part):
    """A Campaign as a Kubernetes resource is written."""

    api_version: Annotated[Literal["selftaught.io/v1alpha1"], Field(alias="apiVersion")]
    kind: Literal["Campaign"]
    metadata: Metadata
    spec: CampaignSpec


@dataclass(frozen=True, slots=True)
class CampaignFile:
    """A campaign as it stands in a file. `name` is the campaign's; empty where the file holds a spec alone."""

    path: Path
    spec: CampaignSpec
    name: str = ""

    @classmethod
    def load(cls, path: Path) -> Self:
        """The campaign in `path`. Raises BadRecipe: file and line, field, value, and the accepted ones."""
        text = contents(path, "campaign", path.parent)
        data, locations = mapping(text, str(path), "a campaign is a mapping with kind, metadata and spec")
        if not data.keys().isdisjoint({"stages", "extends"}):
            raise BadRecipe(f"{path}: a recipe, not a campaign: `selftaught run {path}` runs it.")
        if data.keys().isdisjoint({"apiVersion", "kind", "metadata", "spec"}):
            return cls(path, Written(data, locations, CampaignSpec).checked())
        document = Written(data, locations, CampaignDocument).checked()
        return cls(path, document.spec, document.metadata.name)

    def order(self, overrides: Sequence[str] = (), profile: str = "") -> CampaignOrder:
        """The order that it comes to, `overrides` applied after its own. Raises BadRecipe."""
        recipe = self.spec.recipe.load(self.path, overrides, profile)
        return CampaignOrder(recipe, self.spec.line, self.name or recipe.name, shards=self.spec.shards)


def schema() -> dict[str, Any]:
    """The JSON Schema of a campaign's document, without references, as a CustomResourceDefinition has its schemas."""
    made = CampaignDocument.model_json_schema()
    inlined = _inlined(made, made.pop("$defs"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **cast(dict[str, Any], inlined)}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """`schema` with the definitions in place of references to them; a field that may be left out is not null."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    keywords = cast(dict[str, Any], schema)
    if reference := keywords.pop("$ref", ""):
        keywords = definitions[reference.rpartition("/")[2]] | keywords
    if "anyOf" in keywords:  # X | None
        keywords = _inlined(keywords["anyOf"][0], definitions) | keywords
    return {key: _inlined(each, definitions) for key, each in keywords.items() if _is_said(key, each)}


def _is_said(keyword: str, value: Any) -> bool:
    """Whether a keyword says something to who writes a document: titles repeat names."""
    return keyword not in ("anyOf", "title") and (keyword, value) != ("default", None)
