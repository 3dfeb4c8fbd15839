"""True or false: partial solutions with the word that says whether they are right, for p(True) to be learnt.

Kadavath et al. 2022 (arXiv 2207.05221): the policy is fine-tuned to say True or False, so that no second model is
needed to value a search. The question is the one that the `p_true` value asks.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from selftaught.curation.base import PerGroupCurator, drawn
from selftaught.curation.step_values import StepValues
from selftaught.records import Example, Group, Message, Segment, TargetType


class TrueFalse(PerGroupCurator, type="true_false"):
    """A completion example each node of a tree that is known to be right or wrong, as `step_values` knows it.

    There are as many of either word as the rarer one has.
    """

    gives: ClassVar[TargetType | None] = "imitate"

    prompt: Annotated[str, Field(description="question about a partial solution: the one of `p_true`")] = (
        "Is this solution correct so far? Answer True or False, one word."
    )
    per_task: Annotated[
        Annotated[int, Field(ge=2)] | None,
        Field(description="examples of one task at most, drawn by the seed; null is all"),
    ] = None

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """Examples of both words, in turn."""
        made = StepValues(minimum=0).examples(group, seed)
        sides: dict[str, list[Example]] = {"True": [], "False": []}
        for each in made:
            # its value would not do: it says how far a path has come, and is low where a right one begins
            sides[str(each.regress.right)].append(each)
        most = min(*map(len, sides.values()), *([self.per_task // 2] if self.per_task else ()))
        even = [self._asked(each, word) for word, side in sides.items() for each in drawn(side, most, seed)]
        return iter(drawn(even, None, seed))

    def _asked(self, example: Example, word: str) -> Example:
        said = Message(role="assistant", content=example.completion[0].content.strip())
        asked = Message(role="user", content=self.prompt)
        prompt = Segment.context((*example.prompt, said, asked))
        return Example(sequences=((prompt, Segment.answer(word)),), task=example.task, rollout=example.rollout)
