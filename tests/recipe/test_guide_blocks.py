"""The blocks of docs/blocks.md, one of each axis: they hold to what every block of the axis has to, as they stand."""

import re
import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from selftaught.blocks import Block
from selftaught.curation.base import PerGroupCurator
from selftaught.records import Message
from selftaught.testing import check_block, sums

PAGE = (Path(__file__).parents[2] / "docs" / "blocks.md").read_text()
SECTION = PAGE.partition("## One of each axis\n")[2].partition("\n## ")[0]
CODES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> list[type[Block]]:
    """What each piece of code defines, as a module of its own."""
    return [defined(tmp_path_factory.mktemp("guide") / f"guide_{at}.py", code) for at, code in enumerate(CODES)]


def defined(file: Path, code: str) -> type[Block]:
    """The block that `code` defines."""
    file.write_text(code)
    spec = spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    sys.modules[file.stem] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, re.findall(r"^class (\w+)", code, re.MULTILINE)[-1])


def test_there_is_one_for_each_axis_that_has_a_check(blocks: list[type[Block]]):
    assert [block.axis for block in blocks] == ["verify", "sample", "curate", "curate", "evaluate"]


@pytest.mark.parametrize("at", range(len(CODES)))
def test_nothing_is_to_be_said_against_it(blocks: list[type[Block]], at: int):
    block = blocks[at]
    fields = {"minimum": 0} if issubclass(block, PerGroupCurator) else {}
    assert check_block(block.model_validate(fields), sums(), answers=(adds,)) == []


def adds(chat: Sequence[Message]) -> str:
    """What a judge says who can add: Yes to an answer with the sum and no other number in it."""
    question, _, answer = chat[-1].content.partition("\nAnswer:")
    total = sum(map(int, re.findall(r"\d+", question)))
    return "Yes." if re.findall(r"\d+", answer) == [str(total)] else "No."
