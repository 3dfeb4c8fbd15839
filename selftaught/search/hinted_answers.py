"""Hints: a tree in which no answer is right gets answers that were sampled with the gold answer in sight.

The documented remedy for trees that yield no process value, because no leaf is right (ReST-MCTS*, arXiv 2406.03816,
drops them). What was sampled becomes steps like all others, marked as hinted; the hint is in no training prompt.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from selftaught.blocks import Completion, Context, OneOf, Verifier
from selftaught.blocks.hints import Hint, with_hint
from selftaught.core.errors import NoAnswer
from selftaught.search.expansion import Steps
from selftaught.search.insertion import insert
from selftaught.search.tree import SearchTree
from selftaught.search.values import as_group, right


class Hints(BaseModel):
    """`k` answers sampled with the hint, where the verifiers fail all of a tree's answers.

    A model that sees the answer writes it below whatever it calculated: `check` leaves such answers out, so that no
    step becomes a right one by the answer that was only copied below it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    k: Annotated[PositiveInt, Field(description="answers a tree")] = 4
    temperature: Annotated[float, Field(gt=0, description="that they are sampled at")] = 0.7
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an answer at most")] = 128
    prompt: Hint = "(Hint: the answer is {answer}. Write the solution that leads to it.)"
    check: Annotated[
        Verifier | None, OneOf("verify"), Field(description="leaves out what it fails (`equations`, `last: answer`)")
    ] = None

    async def help(self, tree: SearchTree, expand: Steps, context: Context) -> None:
        """Add hinted answers to `tree` where it has a gold answer and no right one. Raises what `ChatModel` raises."""
        answers = [(node.so_far(), node.finish_reason) for node in tree.terminals()]
        if tree.task.answer is None or not all(each is False for each in await right(tree, answers, context)):
            return
        asked = with_hint(tree.task, self.prompt, tree.task.answer)
        try:
            said = await context.tokens().complete(
                asked, n=self.k, temperature=self.temperature, max_tokens=self.max_tokens
            )
        except NoAnswer:  # the hint made the prompt too long
            return
        spent = sum(len(each.token_ids) for each in said)
        tree.tally.tokens += spent
        tree.tally.hint_tokens += spent
        for answer in await self._held(tree, said, context):
            insert(tree, answer, expand.ends(), hinted=True)

    async def _held(self, tree: SearchTree, said: Sequence[Completion], context: Context) -> list[Completion]:
        """The answers of `said` that `check` does not fail."""
        if self.check is None:
            return list(said)
        answers = [(each.text, each.finish_reason) for each in said]
        verdicts = await self.check.judge(as_group(tree, answers), context)
        return [each for each, verdict in zip(said, verdicts, strict=True) if verdict.passed]
