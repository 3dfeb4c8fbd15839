"""Rows to check blocks with: answers to a task, and what verdicts there are on them."""

from collections.abc import Sequence

from selftaught.records import Group, Rollout, Task, Turn, Verdict
from selftaught.verification.gold import stating


def group_of(task: Task, texts: Sequence[str]) -> Group:
    """`task` with an answer of each of `texts`."""
    rollouts = (
        Rollout(task=task.id, index=at, model="scripted", turns=(turn_of(text),), temperature=1.0)
        for at, text in enumerate(texts)
    )
    return Group(task=task, rollouts=tuple(rollouts))


def turn_of(text: str, name: str = "", agent: str = "", finish_reason: str = "stop") -> Turn:
    """A turn that says `text`, with tokens as a `ScriptedModel` has them."""
    ids = tuple(text.encode(errors="surrogatepass"))  # hostile text may be no Unicode
    logprobs = (-5.5,) * len(ids)
    return Turn(content=text, token_ids=ids, logprobs=logprobs, name=name, agent=agent, finish_reason=finish_reason)


def verified(task: Task, tasks: Sequence[Task]) -> Group:
    """A right answer and a wrong one, with verdicts that say so."""
    verdicts = tuple((Verdict.of("gold", passed),) for passed in (True, False))
    return group_of(task, [stating(task), wrong(task, tasks)]).model_copy(update={"verdicts": verdicts})


def wrong(task: Task, tasks: Sequence[Task]) -> str:
    """What states a wrong answer: another task's, or its worked solution where tasks have no answers."""
    stated = (stating(task.model_copy(update={"answer": each.answer, "texts": each.texts})) for each in tasks)
    return next(each for each in stated if each != stating(task))
