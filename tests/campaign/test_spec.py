"""A campaign's document: what it comes to, what is refused, and that its schema is the resource's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selftaught.campaign.spec import CRON, LINE, CampaignDocument, CampaignFile, CampaignSpec, schema
from selftaught.core import shipped
from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe

CRD = Path(__file__).parent / "crd_campaign.yaml"
WEEKLY = """\
apiVersion: selftaught.io/v1alpha1
kind: Campaign
metadata: {name: weekly, namespace: team-a, labels: {owner: bo}}
spec:
  line: support
  recipe: {name: rft, set: [tasks.train=40]}
  schedule: {cron: "0 3 * * 1", timeZone: Europe/Berlin}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "campaign.yaml"
    path.write_text(text)
    return path


# What it comes to ---------------------------------------------------------------------------------------------------


def test_a_document_comes_to_an_order_that_is_called_like_it(tmp_path: Path):
    order = CampaignFile.load(written(tmp_path, WEEKLY)).order()
    assert (order.line, order.campaign, order.shards, order.rounds) == ("support", "weekly", 2, 0)
    assert order.recipe == Recipe.load(Path("rft"), ["tasks.train=40"])


def test_a_spec_alone_is_called_like_its_recipe(tmp_path: Path):
    order = CampaignFile.load(written(tmp_path, "line: support\nrecipe: {name: rft}\nshards: 3\n")).order()
    assert (order.line, order.campaign, order.shards) == ("support", "rft", 3)


@pytest.mark.parametrize("how", ["name", "path", "inline"])
def test_a_recipe_is_the_same_by_name_by_path_and_inline(tmp_path: Path, how: str):
    text = (shipped.recipes() / "rft.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text)
    source = {"name": "rft", "path": "mine.yaml", "inline": text}
    spec = yaml.safe_dump({"line": "support", "recipe": {how: source[how]}})
    assert CampaignFile.load(written(tmp_path, spec)).order().recipe == Recipe.load(Path("rft"))


def test_overrides_of_a_command_come_after_those_of_the_file(tmp_path: Path):
    file = CampaignFile.load(written(tmp_path, WEEKLY))
    assert [file.order(more).recipe.tasks.train for more in ([], ["tasks.train=50"])] == [40, 50]


SPECS = st.builds(
    lambda line, recipe, schedule, suspend, shards: CampaignSpec.model_validate(
        {"line": line, "recipe": recipe, "suspend": suspend, "shards": shards} | schedule
    ),
    st.from_regex(LINE, fullmatch=True),
    st.sampled_from([{"name": "rft"}, {"path": "a/b.yaml", "set": ["tasks.train=4"]}, {"inline": "name: x"}]),
    st.one_of(
        st.just({}),
        st.builds(
            lambda cron, zone: {"schedule": {"cron": cron, "timeZone": zone}},
            st.from_regex(CRON, fullmatch=True).filter(lambda cron: len(cron) <= 64),
            st.sampled_from(["Etc/UTC", "Europe/Berlin"]),
        ),
    ),
    st.booleans(),
    st.integers(1, 64),
)


@given(spec=SPECS)
def test_a_document_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, spec: CampaignSpec):
    fields = {"apiVersion": "selftaught.io/v1alpha1", "kind": "Campaign", "metadata": {"name": "weekly"}}
    document = fields | {"spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True)}
    read = CampaignFile.load(written(tmp_path_factory.getbasetemp(), yaml.safe_dump(document)))
    assert (read.spec, read.name) == (spec, "weekly")


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("line: support", "line: Support", "campaign.yaml:5: spec.line: 'Support': should be lower-case letters"),
        ("  line: support\n", "", "campaign.yaml:4: spec.line: is missing."),
        ("0 3 * * 1", "0 3 * *", "campaign.yaml:7: spec.schedule.cron: '0 3 * *': should be five fields"),
        ("timeZone", "time_zone", "no such field. Did you mean 'timeZone'?\n  accepted: cron, timeZone"),
        ("{name: rft,", "{name: rft, path: x,", "campaign.yaml:6: spec.recipe: has name and path. Give one of inline"),
        ("name: rft, ", "", "campaign.yaml:6: spec.recipe: has no recipe. Give one of inline, name and path."),
        ("tasks.train=40", "tasks.train", "spec.recipe.set.0: 'tasks.train': not of the form path.to.field=value."),
        ("line: support", "line: support\n  shards: 65", "campaign.yaml:6: spec.shards: 65: should be less than"),
        ("line: support", "line: support\n  shards: true", "spec.shards: True: should be a number"),
        ("name: weekly,", "name: Weekly,", "campaign.yaml:3: metadata.name: 'Weekly': should be at most 40 lower-case"),
        ("kind: Campaign", "kind: Approval", "campaign.yaml:2: kind: 'Approval': should be 'Campaign'"),
        ("v1alpha1", "v2", "apiVersion: 'selftaught.io/v2': should be 'selftaught.io/v1alpha1'"),
        ("kind: Campaign\n", "", "campaign.yaml:1: kind: is missing."),
        ("name: rft", "name: rfd", "rfd.yaml: no such recipe. Did you mean 'rft"),
        ("=40", "=no", "--set tasks.train=no: tasks.train: "),
        ("line: support", "line: support\n  approval: {required: true}", "spec.approval: no such field"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_what_is_accepted(tmp_path: Path, before: str, after: str, said: str):
    assert before in WEEKLY
    with pytest.raises(BadRecipe) as refused:
        CampaignFile.load(written(tmp_path, WEEKLY.replace(before, after))).order()
    assert said in str(refused.value)


def test_a_mistake_in_an_inline_recipe_names_the_campaigns_file(tmp_path: Path):
    spec = yaml.safe_dump({"line": "support", "recipe": {"inline": "name: rft\nstages: none\n"}})
    with pytest.raises(BadRecipe, match=r"campaign.yaml: recipe.inline:2: stages: 'none': should be a list"):
        CampaignFile.load(written(tmp_path, spec)).order()


# The resource's schema ----------------------------------------------------------------------------------------------

REFUSED = {"watch", "approval", "recipe.configMap"}
"""What the resource has and needs its controller."""
OF_FILES = {"recipe.name", "recipe.path"}
"""What a file may say and the resource does not have: where a recipe is on this machine."""
DASHES = {"recipe.set": "^[A-Za-z0-9_.-]+="}
"""Names of stages have dashes, which the resource's pattern of an override does not take."""


def fields(schema: Mapping[str, Any], above: str = "") -> dict[str, dict[str, Any]]:
    """The keywords of every field below a schema, by its path; what describes or refuses unknown fields left out."""
    found: dict[str, dict[str, Any]] = {}
    for name, field in schema.get("properties", {}).items():
        ours = {k: v for k, v in field.items() if k not in ("description", "additionalProperties", "properties")}
        found[above + name] = {k: v for k, v in ours.items() if not k.startswith("x-")}
        found |= fields(field, f"{above}{name}.")
    return found


def resource() -> dict[str, Any]:
    (version,) = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]


def test_the_schema_is_the_resources_as_far_as_this_release_does_what_it_says():
    ours, theirs = fields(schema()["properties"]["spec"]), fields(resource())
    refused = {name for name in theirs if name.startswith(tuple(REFUSED))}
    assert ours.keys() - theirs.keys() == OF_FILES
    assert theirs.keys() - ours.keys() == refused
    assert ours["recipe.set"]["items"]["pattern"] == DASHES["recipe.set"]
    del ours["recipe.set"], theirs["recipe.set"]
    assert {name: ours[name] for name in ours.keys() & theirs.keys()} == {
        name: theirs[name] for name in ours.keys() & theirs.keys()
    }
    assert schema()["properties"]["spec"]["required"] == resource()["required"]


def test_the_schema_takes_what_is_read_and_refuses_what_is_not():
    from jsonschema import Draft202012Validator

    document = yaml.safe_load(WEEKLY)
    check = Draft202012Validator(schema())
    assert check.is_valid(document)
    assert CampaignDocument.model_validate(document).spec.line == "support"
    for wrong in ({"line": "Support"}, {"approval": {}}, {"shards": 0}):
        assert not check.is_valid(document | {"spec": document["spec"] | wrong})
