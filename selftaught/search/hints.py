"""Hints: a tree in which no answer is right gets answers that were sampled with the gold answer in sight.

The documented remedy for trees that yield no process value, because no leaf is right (ReST-MCTS*, arXiv 2406.03816,
drops them). What was sampled becomes steps like all others, marked as hinted; the hint is in no training prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from selftaught.blocks import Completion, Context, OneOf, Verifier
from selftaught.errors import NoAnswer
from selftaught.hints import Hint, with_hint
from selftaught.search.expansion import ENDS, Steps, whole_tokens
from selftaught.search.tree import SearchNode, SearchTree, ended
from selftaught.search.values import judged, passed


class Hints(BaseModel):
    """`k` answers sampled with the hint, where the verifiers pass none of a tree's answers.

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
        if tree.task.answer is None or (answers and await passed(tree, answers, context) > 0):
            return
        asked = with_hint(tree.task, self.prompt, tree.task.answer)
        try:
            said = await context.tokens().complete(
                asked, n=self.k, temperature=self.temperature, max_tokens=self.max_tokens
            )
        except NoAnswer:  # the hint made the prompt too long
            return
        tree.tally.tokens += sum(len(each.token_ids) for each in said)
        for answer in await self._held(tree, said, context):
            node = tree.root
            for step in steps(answer, expand.stop or ENDS[expand.unit]):
                node = _same(node, step) or tree.add(node, step, hinted=True)

    async def _held(self, tree: SearchTree, said: Sequence[Completion], context: Context) -> list[Completion]:
        """The answers of `said` that `check` does not fail."""
        if self.check is None:
            return list(said)
        answers = [(each.text, each.finish_reason) for each in said]
        (verdicts,) = await judged(tree, answers, [self.check], context)
        return [each for each, verdict in zip(said, verdicts, strict=True) if verdict.passed]


def _same(node: SearchNode, step: Completion) -> SearchNode | None:
    """The child of `node` that says `step`, white space apart, and ends the answer where that does."""
    words = step.text.split()
    found = (child for child in node.children if child.text.split() == words and child.terminal == ended(step))
    return next(found, None)


def steps(answer: Completion, stops: tuple[str, ...]) -> Iterator[Completion]:
    """`answer` cut into steps at `stops`, each with its tokens; the last one carries how the answer ended.

    The steps' texts are together the answer's, in which an end token says nothing. One step where that cannot be: an
    engine that tells no tokens' texts, or letters of several tokens.
    """
    cuts = list(_cuts(answer, stops))
    text, begin = "".join(cut.text for cut in cuts), sum(len(cut.token_ids) for cut in cuts)
    if not cuts or not answer.text.startswith(text):
        yield answer
        return
    yield from cuts
    last = _part(answer, begin, len(answer.token_ids), answer.text[len(text) :], None)
    yield replace(last, finish_reason=answer.finish_reason)


def _cuts(answer: Completion, stops: tuple[str, ...]) -> Iterator[Completion]:
    """The steps of `answer` that end at one of `stops`: all but the last."""
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
