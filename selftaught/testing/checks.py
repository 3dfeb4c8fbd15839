"""What every block of an axis has to hold to, tried on a few tasks. What one's own block means is for one's own tests.

Verifiers are tried on gold answers, on nothing, on the question said again and on several answers at once; samplers
on a model that says what `answers` say, metrics on answers that are right half of the time. What controls, curators,
objectives and task sources have to hold to is in modules of their own.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from selftaught.blocks import Block, Context, Control, Curator, Metric, Objective, Sampler, TaskSource, Verifier
from selftaught.blocks.boundary import awaited, called
from selftaught.core.errors import SelftaughtError
from selftaught.records import Group, Task, Verdict
from selftaught.testing.apart import run_apart
from selftaught.testing.controls import check_control
from selftaught.testing.curators import check_curator
from selftaught.testing.models import Answer, ScriptedModel
from selftaught.testing.objectives import check_objective
from selftaught.testing.rows import group_of, verified, wrong
from selftaught.testing.sources import check_source
from selftaught.verification.gold import stating

Problem = tuple[Task | None, str]
"""What is wrong, in words, and the task that shows it, if one does."""


def check_block(block: Block, tasks: Sequence[Task] = (), answers: Answer | Sequence[Answer] = ()) -> list[str]:
    """What `block` does that none of its axis may, a sentence each; nothing where all is well.

    `tasks` have gold answers (or worked solutions, where they have a check), two of which differ at least; a source of
    tasks needs none. May be called where an event loop runs, as in a notebook. Raises TypeError for a gate and for
    what is no block, ValueError for tasks with one answer.
    """
    said = (answers,) if isinstance(answers, str) or callable(answers) else answers
    _require_checkable(block, tasks, said)
    return _gathered(_told(_problems(block, tasks, said)))


def _require_checkable(block: object, tasks: Sequence[Task], answers: Sequence[Answer]) -> None:
    if not isinstance(block, Block):
        name = block.__name__ if isinstance(block, type) else "AnswerMatch"
        raise TypeError(f"{block!r}: not a block. Give one, such as {name}().")
    if isinstance(block, TaskSource) or (answers and tasks and not isinstance(block, Verifier)):
        return
    if len({task.answer or stating(task) for task in tasks}) < 2:
        raise ValueError("tasks: give two whose gold answers differ, such as selftaught.testing.sums()")


def _told(problems: Iterator[Problem]) -> Iterator[Problem]:
    """`problems`, of which the last is the error that ended the check, if one did."""
    try:
        yield from problems
    except SelftaughtError as error:
        yield None, str(error)


def _gathered(problems: Iterator[Problem]) -> list[str]:
    """A sentence for each: one that several tasks show names the first, and how many more there are."""
    shown_by = dict[str, dict[str, None]]()
    for task, words in problems:
        shown_by.setdefault(words, {}).update({task.question: None} if task else {})
    return [f"{_named(list(questions))}{words}" for words, questions in shown_by.items()]


def _named(questions: Sequence[str]) -> str:
    others = f" (and {len(questions) - 1} more)" if questions[1:] else ""
    return f"{questions[0]!r}{others}: " if questions else ""


def _problems(block: Block, tasks: Sequence[Task], answers: Sequence[Answer]) -> Iterator[Problem]:
    match block:
        case Verifier():
            found = _verifier(block, tasks, answers)
        case Sampler():
            found = _sampler(block, tasks, answers)
        case Curator():
            found = _of_no_task(check_curator(block, tasks))
        case Metric():
            found = _metric(block, tasks)
        case Control():
            found = _of_no_task(check_control(block, tasks))
        case Objective():
            found = _of_no_task(check_objective(block, tasks))
        case TaskSource():
            found = _of_no_task(check_source(block))
        case _:
            raise TypeError(f"{type(block).__name__}: gates cannot be checked, blocks of all other axes can")
    return found


def _of_no_task(problems: Iterator[str]) -> Iterator[Problem]:
    return ((None, problem) for problem in problems)


# Verifiers ------------------------------------------------------------------------------------------------------------


def _verifier(verifier: Verifier, tasks: Sequence[Task], answers: Sequence[Answer]) -> Iterator[Problem]:
    for task in tasks:
        gold, empty, echoed, *both = run_apart(_judged(verifier, task, _texts(task, tasks), answers))
        yield from ((task, each.error) for each in (gold, empty, echoed, *both) if each.error)
        if not verifier.reads_answer:
            continue
        if not gold.passed and not gold.error:
            own = task.answer or stating(task)
            yield task, f"refuses the gold answer {own!r}: {gold.reason or 'no reason given'}"
        if empty.passed:
            yield task, "passes an empty answer"
        if echoed.passed:
            yield task, "passes the question said again"
        if all(each.passed for each in both):
            yield task, f"passes {wrong(task, tasks)!r} and {stating(task)!r} together, whichever is last"
    again = [run_apart(_judged(verifier, tasks[0], _texts(tasks[0], tasks), answers)) for _ in range(2)]
    if again[0] != again[1]:
        yield tasks[0], "two verdicts on one answer differ"


def _texts(task: Task, tasks: Sequence[Task]) -> list[str]:
    """The gold answer, nothing, the question, and two answers at once, in both orders."""
    gold, other = stating(task), wrong(task, tasks)
    return [gold, "", task.question, f"{gold}\n{other}", f"{other}\n{gold}"]


async def _judged(verifier: Verifier, task: Task, texts: Sequence[str], answers: Sequence[Answer]) -> Sequence[Verdict]:
    return await verifier.judge(group_of(task, texts), _context(verifier, answers))


# Samplers, metrics ----------------------------------------------------------------------------------------------------


def _sampler(sampler: Sampler, tasks: Sequence[Task], answers: Sequence[Answer]) -> Iterator[Problem]:
    made = [[run_apart(_sampled(sampler, task, answers)) for task in tasks] for _ in range(2)]
    for task, group in zip(tasks, made[0], strict=True):
        if group.task != task:
            yield task, "its group is of another task"
        if not group.rollouts and group.tree is None:
            yield task, "no rollout"
        if not {rollout.task for rollout in group.rollouts} <= {each.id for each in (task, *group.minted)}:
            yield task, "a rollout names another task"
        if len({rollout.index for rollout in group.rollouts}) < len(group.rollouts):
            yield task, "two rollouts have the same index"
    if made[0] != made[1]:
        yield None, "equal tasks, seed and answers of the model gave different groups"


async def _sampled(sampler: Sampler, task: Task, answers: Sequence[Answer]) -> Group:
    return await awaited(sampler, "sample", Group, lambda: sampler.sample(task, _context(sampler, answers)))


def _metric(metric: Metric, tasks: Sequence[Task]) -> Iterator[Problem]:
    least, most = metric.bounds or (float("-inf"), float("inf"))
    for group in (verified(task, tasks) for task in tasks):
        value = called(metric, "value", float, partial(metric.value, group))
        if not least <= value <= most:
            yield group.task, f"{value}, which is not in {metric.bounds}"
        if value != called(metric, "value", float, partial(metric.value, group)):
            yield group.task, "two values of one group differ"


# The model ------------------------------------------------------------------------------------------------------------


def _context(block: Block, answers: Sequence[Answer]) -> Context:
    """One with the roles that `block` names, as in a round."""
    return Context(models={"policy": ScriptedModel(*answers)}, asked=block.roles())
