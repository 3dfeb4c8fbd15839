"""References: train on the tasks' own worked solutions.

Demonstrations, as supervised fine-tuning has them: for a warm start, for SPIN and Masked Thought, as a control. What is
learnt from them was not found by the model, so the report says that they were used. Nothing that was sampled is read.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from selftaught.core.errors import RoundFailed
from selftaught.curation.base import PerGroupCurator, completion_example
from selftaught.records import Example, Group, TargetType, content_id


class References(PerGroupCurator, type="references"):
    """The text called `field` of each task, as what is to be said to it; tasks without one give nothing."""

    gives: ClassVar[TargetType | None] = "imitate"

    field: Annotated[str, Field(min_length=1, description="name of the text among those of a task")] = "reference"

    @property
    @override
    def uses_references(self) -> bool:
        return True

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """The worked solution of the group's task, if it has one."""
        if text := group.task.texts.get(self.field):
            yield completion_example(group, text, source=content_id([group.id, self.field]))

    @override
    def check(self, given: int) -> None:
        """Raise RoundFailed when no task has such a text, or when there are fewer than `minimum`."""
        if not given:
            raise RoundFailed(
                f"curate: 'references': none of the tasks has a text '{self.field}'. Take tasks that come with worked "
                "solutions (word_problems, or rows with tasks.reference), or correct `field`."
            )
        super().check(given)
