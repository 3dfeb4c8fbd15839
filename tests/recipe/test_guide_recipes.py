"""The YAML of the guides: each example is read as what it is a part of, a recipe, its models or a stage of `rft`."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from selftaught.recipe import Recipe, Stage

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = [
    pytest.param(code, id=f"{page}-{at}")
    for page in ("recipes", "tasks", "search", "blocks")
    for at, code in enumerate(re.findall(r"```yaml\n(.*?)```", (DOCS / f"{page}.md").read_text("utf-8"), re.DOTALL))
]
RFT: Mapping[str, Any] = {"extends": "rft", "name": "example", "profiles": {"paper": None}}


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_is_part_of_a_recipe(code: str) -> None:
    fields = yaml.safe_load(
        textwrap.dedent(code).replace(", …", "").replace("- …", "- name: main").replace("multiples", "word_problems")
    )
    assert Recipe.parse(yaml.safe_dump(_recipe(fields)), str(DOCS / "example.yaml"))


def _recipe(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe that `fields` are a part of."""
    if "extends" in fields or {"models", "tasks", "stages"} <= fields.keys():
        return fields
    if fields.keys() <= Recipe.model_fields.keys():
        return {**RFT, **fields}
    if fields.keys() <= Stage.model_fields.keys():
        rewound = {"train_from": "champion", "replay": 0} if "online" in fields else {}
        return {**RFT, "stages": [{"name": "main", **rewound, **fields}]}
    if fields.keys() <= {"value", "expand", "models"}:
        search = {"type": "search", "select": {"type": "uct"}, **{k: v for k, v in fields.items() if k != "models"}}
        models = {"policy": "smollm2-135m-instruct", **fields.get("models", {})}
        return {**RFT, "models": models, "stages": [{"name": "main", "sample": search}]}
    return {**RFT, "models": fields}
