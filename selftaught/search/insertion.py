"""Whole answers in a tree: cut into steps with their tokens, and merged with what is there where they begin alike.

What a hint gave and what was sampled independently becomes part of a tree in this way. What answers are worth is not
looked at here.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from selftaught.blocks import Completion
from selftaught.search.tree import SearchNode, SearchTree


def insert(tree: SearchTree, answer: Completion, stops: tuple[str, ...], *, hinted: bool = False) -> list[SearchNode]:
    """Put `answer` into `tree`, cut into steps at `stops`; returns its path, from below the root to where it ends.

    A step that the tree has at that position is resumed and not added; its tokens are those that came first.
    """
    node, path = tree.root, list[SearchNode]()
    for step in steps(answer, stops):
        node = _same(node, step) or tree.add(node, step, hinted=hinted)
        path.append(node)
    return path


def _same(node: SearchNode, step: Completion) -> SearchNode | None:
    """The child of `node` that says `step`, white space apart, and ends as that does."""
    words = step.text.split()
    found = (child for child in node.children if child.text.split() == words and child.ends_as(step))
    return next(found, None)


def steps(answer: Completion, stops: tuple[str, ...], most: int | None = None) -> Iterator[Completion]:
    """`answer` cut into steps at `stops`, each with its tokens; the last one carries how the answer ended.

    It is cut `most` times at most: what comes after is the last step.

    The steps' texts are together the answer's, in which an end token says nothing. One step where that cannot be: an
    engine that tells no tokens' texts, or letters of several tokens.
    """
    cuts = list(islice(_cuts(answer, stops), most))
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
        cut = complete_tokens(_part(answer, begin, end, text, found))
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


def complete_tokens(step: Completion) -> Completion:
    r"""`step` with text and tokens in agreement: an engine cuts its text at a stop string, its tokens after one.

    A last token that only separates (`\n\n`, `.\n`) stays, with all of its text; one that begins the next step goes.
    """
    if step.stop is None or not step.tokens:
        return step
    last = step.tokens[-1]
    shown = next(k for k in range(len(last), -1, -1) if step.text.endswith(last[:k]))
    if any(letter.isalnum() for letter in last) and len(step.tokens) > 1:
        return replace(
            step,
            text=step.text[: len(step.text) - shown],
            token_ids=step.token_ids[:-1],
            logprobs=step.logprobs[:-1],
            tokens=step.tokens[:-1],
        )
    return replace(step, text=step.text + last[shown:])
