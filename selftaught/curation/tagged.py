"""Tagged: right and wrong answers are both learnt, each behind a tag that says which it is.

What a model has to be asked with to answer well is learnt with the answers, so a wrong one teaches something without
being imitated: LeTI (Wang et al. 2023, arXiv 2305.10314), Chain of Hindsight (Liu et al. 2023, arXiv 2302.02676),
mistake tuning (CoTErrorSet, Tong et al. 2024, arXiv 2403.20046). Tags stand in what the model is asked, so they are
never learnt themselves. Whoever samples from the model or measures it has to ask with the tag: a model that is asked
without it is another policy.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from selftaught.core.templates import filled, slots, with_slots
from selftaught.curation.answers import judged
from selftaught.curation.base import PerGroupCurator, distinct, drawn, sampled
from selftaught.records import Example, Group, Message, Rollout, Segment, TargetType, content_id

Form = Literal["p", "n", "pn", "np"]


class Tags(BaseModel):
    """What stands for right and for wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: Annotated[str, Field(min_length=1, description="the tag of answers that passed")]
    failed: Annotated[str, Field(min_length=1, description="the tag of answers that failed")]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.passed == self.failed:
            raise ValueError(f"passed and failed are both '{self.passed}', so nothing tells them apart; change one")
        return self


class Tagged(PerGroupCurator, type="tagged"):
    """An example each answer, or pair of answers, asked for with the tag of what became of it.

    Forms: `p`, an answer that passed; `n`, one that failed; `np` and `pn`, one of each in this order, the second asked
    for with `again`. Answers that were cut off, hinted, or could not be judged are left out, and so are duplicates; an
    answer is in one example of a form at most.
    """

    gives: ClassVar[TargetType | None] = "imitate"

    tags: Annotated[Tags, Field(description="the tags: {passed: …, failed: …}")]
    forms: Annotated[tuple[Form, ...], Field(min_length=1, description="what examples are made of")] = ("p", "n")
    ask: Annotated[
        str,
        with_slots("tag", "task", "feedback"),
        Field(description="what is asked; {tag}, {task} (the question) and {feedback} are filled in"),
    ] = "{tag}\n{task}"
    again: Annotated[
        str,
        with_slots("tag", "feedback"),
        Field(min_length=1, description="what the second answer of two is asked for with"),
    ] = "{tag}"
    feedback: Annotated[
        str,
        with_slots("reason"),
        Field(description="what {feedback} is for an answer that failed; {reason} is why it did"),
    ] = "{reason}"
    per_task: Annotated[PositiveInt | None, Field(description="examples of each form and task; null is all")] = 4

    @model_validator(mode="after")
    def _asks_for_the_task(self) -> Self:
        if "task" not in slots(self.ask):
            raise ValueError("ask: {task} is missing, so the question would not be asked; add it")
        return self

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """The examples of `group`, form by form, in the order drawn."""
        passed, failed = self._answers(group, True, seed), self._answers(group, False, seed)
        sides: dict[Form, list[tuple[Rollout, ...]]] = {
            "p": [(each,) for each in passed],
            "n": [(each,) for each in failed],
            "pn": list(zip(passed, failed, strict=False)),
            "np": list(zip(failed, passed, strict=False)),
        }
        for form in self.forms:
            yield from (self._example(group, answers) for answers in sides[form][: self.per_task])

    def _answers(self, group: Group, passed: bool, seed: int) -> list[Rollout]:
        found = (rollout for at, rollout in judged(group) if group.passed(at) == passed)
        return drawn(distinct(found), None, seed)

    def _example(self, group: Group, answers: Sequence[Rollout]) -> Example:
        segments = [segment for at, each in enumerate(answers) for segment in self._said(group, each, first=not at)]
        ids = [each.id for each in answers]
        return Example(
            sequences=(tuple(segments),), task=group.id, rollout=ids[0] if len(ids) == 1 else content_id(ids)
        )

    def _said(self, group: Group, rollout: Rollout, *, first: bool) -> Iterator[Segment]:
        """What is asked with the tag, and the answer."""
        at = group.rollouts.index(rollout)
        values = {"tag": self.tags.passed if group.passed(at) else self.tags.failed, "feedback": self._why(group, at)}
        *before, question = group.task.messages
        asked = Message(role="user", content=filled(self.ask, values | {"task": question.content}))
        if not first:
            before, asked = [], Message(role="user", content=filled(self.again, values))
        yield Segment.context([*before, asked])
        yield from sampled(group, rollout).sequences[0][1:]

    def _why(self, group: Group, at: int) -> str:
        reasons = [each.reason for each in group.verdicts_on(at) if each.fails and each.reason]
        return "" if group.passed(at) else filled(self.feedback, {"reason": "; ".join(reasons)})
