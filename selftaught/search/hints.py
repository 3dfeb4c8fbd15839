"""Hints: a tree in which no answer is right gets answers that were sampled with the gold answer in sight.

The documented remedy for trees that yield no process value, because no leaf is right (ReST-MCTS*, arXiv 2406.03816,
drops them). What was sampled becomes steps like all others, marked as hinted; the hint is in no training prompt.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from selftaught.blocks import Completion, Context
from selftaught.errors import NoAnswer
from selftaught.hints import Hint, with_hint
from selftaught.search.expansion import ENDS, Steps, whole_tokens
from selftaught.search.tree import SearchTree
from selftaught.search.values import passed


class Hints(BaseModel):
    """`k` answers sampled with the hint, where the verifiers pass none of a tree's answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    k: Annotated[PositiveInt, Field(description="answers a tree")] = 4
    temperature: Annotated[float, Field(gt=0, description="that they are sampled at")] = 0.7
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an answer at most")] = 128
    prompt: Hint = "(Hint: the answer is {answer}. Write the solution that leads to it.)"

    async def help(self, tree: SearchTree, expand: Steps, context: Context) -> None:
        """Add hinted answers to `tree` where it has a gold answer and no right one. Raises what `ChatModel` raises."""
        ended = [(node.so_far(), node.finish_reason) for node in tree.terminals()]
        if tree.task.answer is None or (ended and await passed(tree, ended, context) > 0):
            return
        asked = with_hint(tree.task, self.prompt, tree.task.answer)
        try:
            said = await context.tokens().complete(
                asked, n=self.k, temperature=self.temperature, max_tokens=self.max_tokens
            )
        except NoAnswer:  # the hint made the prompt too long
            return
        tree.tally.tokens += sum(len(each.token_ids) for each in said)
        for answer in said:
            node = tree.root
            for step in steps(answer, expand.stop or ENDS[expand.unit]):
                node = tree.add(node, step, hinted=True)


def steps(answer: Completion, stops: tuple[str, ...]) -> Iterator[Completion]:
    """`answer` cut into steps at `stops`, each with its tokens; the last one carries how the answer ended.

    An engine that tells no tokens' texts gives one step.
    """
    begin, text = 0, ""
    for end, token in enumerate(answer.tokens, 1):
        text += token
        found = next((stop for stop in stops if stop in text.lstrip()), None)
        if found is None or end == len(answer.tokens):
            continue
        cut = whole_tokens(_part(answer, begin, end, text, found))
        yield cut
        begin += len(cut.token_ids)
        text = "".join(answer.tokens[begin:end])
    yield replace(
        _part(answer, begin, len(answer.token_ids), text, None) if begin else answer,
        finish_reason=answer.finish_reason,
    )


def _part(answer: Completion, begin: int, end: int, text: str, stop: str | None) -> Completion:
    return replace(
        answer,
        text=text,
        token_ids=answer.token_ids[begin:end],
        logprobs=answer.logprobs[begin:end],
        tokens=answer.tokens[begin:end],
        stop=stop,
        finish_reason="stop",
    )
