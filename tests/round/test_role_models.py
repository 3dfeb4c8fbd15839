"""Roles that iterates play: which version each is, who is asked in a round, and what is kept of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Group, dataset
from selftaught.round.adopt import adopt
from selftaught.round.history import recorded
from selftaught.round.in_use import in_use
from selftaught.round.role_models import of_other_lines, parent_of, role_models
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import Version
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests, tiny_model

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

Begun = Literal["base", "head", "champion"]


def judged(policy: Path, judge: object, **stage: Any) -> dict[str, Any]:
    """A recipe whose rollouts `judge` judges."""
    found = recipe(policy, **({"verify": {"type": "judged"}} | stage))
    return found | {"models": found["models"] | {"judge": judge}}


@given(st.lists(st.tuples(st.sampled_from(["base", "head", "champion"]), st.booleans())))
def test_previous_is_what_the_last_round_that_trained_began_from(rounds: list[tuple[Begun, bool]]):
    """For any history of rounds, each begun from some iterate and promoted or refused."""
    pointers = dict.fromkeys(("base", "head", "champion"), "0")
    versions: list[tuple[Version, Mapping[str, str]]] = [(_version("0"), {})]
    began = None
    for number, (start, promoted) in enumerate(rounds, start=1):
        began = pointers[start]
        versions.append((_version(str(number)), {"selftaught.parent": _version(began).digest}))
        pointers |= {"head": str(number), **({"champion": str(number)} if promoted else {})}
    found = parent_of(_version(pointers["head"]), versions)
    assert (found.version if found else None) == began


def _version(number: str) -> Version:
    return Version("line", number, f"{int(number):064x}", "")


def test_roles_of_one_digest_share_an_engine(platform: Platform, engines: Path, model: Path, tmp_path: Path):
    round = Round(tmp_path / "round", judged(model, {"iterate": "champion"}))
    for step in (round.prepare, round.sample, round.verify):
        step()
    assert round.job.roles["judge"] == round.job.champion
    served = {json.loads(line)["model"] for line in engines.read_text().splitlines()}
    assert served == {f"line-{round.job.champion.digest[:8]}"}
    assert len(list((platform.settings.home / "engines").glob("*.log"))) == 1


def test_a_judge_is_the_iterate_that_it_was_when_the_round_was_prepared(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    """The policy samples as the new champion while the first one still judges, in this round and in its record."""
    first = Round(tmp_path / "first", recipe(model, train={"type": "nudge", "gain": 0.9}))
    assert first.run() == "promoted"
    base, champion = (platform.tracker.resolve("line", alias) for alias in ("base", "champion"))
    assert base and champion and base != champion
    second = Round(tmp_path / "second", judged(model, {"iterate": "previous"}, gate=None, evaluate=[]), number=2)
    second.prepare()
    assert (second.job.roles["judge"].digest, second.job.sampler.digest) == (base.digest, champion.digest)
    assert base.digest in in_use(platform, "line")
    for step in (second.sample, second.verify):
        step()
    groups = dataset.read(Path(second.made["verified"].path), Group)
    assert {verdict.error for group in groups for on_one in group.verdicts for verdict in on_one} == {None}
    asked = [json.loads(line) for line in engines.read_text().splitlines()]
    assert len(
        [each for each in asked if each["model"] == f"line-{base.digest[:8]}" and not each["temperature"]]
    ) >= len(groups)


def test_who_judged_is_in_the_record_and_on_the_version(platform: Platform, engines: Path, model: Path, tmp_path: Path):
    rule = {"verify": {"type": "answer_match"}, "train": {"type": "nudge", "gain": 0.9}}
    assert Round(tmp_path / "round", judged(model, {"iterate": "base"}, **rule)).run() == "promoted"
    base = platform.tracker.resolve("line", "base")
    champion = platform.tracker.resolve("line", "champion")
    record = recorded(platform, RoundKey("line", "campaign", 1, 0))
    assert record and base and champion
    assert [(each.role, each.digest, each.named) for each in record.round.roles] == [
        ("judge", base.digest, "the line's base")
    ]
    assert platform.tracker.version_tags(champion)["selftaught.role.judge"] == base.digest
    assert record.versions["recorded-blocks"] == "0.1"


def test_the_champion_of_another_line_teaches(platform: Platform, model: Path, tmp_path: Path):
    teacher = adopt(platform, Recipe.model_validate(recipe(tiny_model(tmp_path / "teacher", skill=0.9))), "rft")
    found = Recipe.model_validate(judged(model, {"line": "rft", "iterate": "champion"}))
    assert role_models(platform, found, "line")["judge"].digest == teacher.digest
    assert of_other_lines(platform, found, "line") == {"judge": teacher}
    own = Recipe.model_validate(judged(model, {"line": "line", "iterate": "champion"}))
    assert of_other_lines(platform, own, "line") == {}


def test_a_line_that_does_not_exist_is_named_with_those_that_do(platform: Platform, model: Path):
    found = Recipe.model_validate(judged(model, {"line": "lines", "iterate": "champion"}))
    with pytest.raises(BadInput, match=r"(?s)models.judge: unknown model line 'lines'.*'line'.*accepted: line$"):
        role_models(platform, found, "line")


def test_an_iterate_whose_files_were_removed_is_not_asked(platform: Platform, model: Path):
    base = platform.tracker.resolve("line", "base")
    assert base
    platform.tracker.mark_removed(base, "2026-01-01")
    with pytest.raises(BadInput, match="files of the line's base, version 1, were removed on 2026-01-01"):
        role_models(platform, Recipe.model_validate(judged(model, {"iterate": "base"})), "line")
