"""The task domain of one's own in docs/tasks.md: it is as short as is said, and holds what a source has to hold."""

import re
from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks import Context, Draw
from selftaught.blocks.block import _REGISTRY
from selftaught.tasks.contamination import PAIRS, overlaps
from selftaught.testing.checks import check_block, group_of
from selftaught.verification.gold import gold_checks, require_gold, stating
from selftaught.verification.task_check import TaskCheck, _verifier

GUIDE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")


@pytest.fixture
def domain() -> Any:
    """The example as a notebook has it, and its blocks for as long as a test takes."""
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "class Multiples" in block]
    before, space = {axis: dict(blocks) for axis, blocks in _REGISTRY.items()}, {"__name__": "__main__"}
    assert len(re.findall(r"^.*\S.*$", example, re.MULTILINE)) <= 40
    exec(compile(example, "multiples.py", "exec", dont_inherit=True), space)
    yield space
    for axis, blocks in before.items():
        _REGISTRY[axis] = blocks
    _verifier.cache_clear()


async def test_its_source_and_its_verifier_work_with_what_there_is(domain: Any):
    tasks = domain["Multiples"](train=20, gate=10, report=10, guard=10).draw(Draw(1, 2))
    assert len(tasks) == 50
    for one, other in PAIRS:
        assert overlaps([t for t in tasks if t.split == one], [t for t in tasks if t.split == other]) == []
    (check,) = await gold_checks(tasks, [TaskCheck()])
    require_gold([check])
    assert (check.tasks, check.failed) == (50, 0)
    (wrong,) = await TaskCheck().judge(group_of(tasks[0], [stating(tasks[0]) + "1"]), Context())
    assert (wrong.passed, wrong.error) == (False, None)
    assert check_block(domain["IsMultiple"](), tasks) == []
    assert check_block(domain["Multiples"](train=20, gate=10, report=10, guard=10)) == []
