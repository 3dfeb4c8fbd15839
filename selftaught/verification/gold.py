r"""Gold check: does a verifier pass the tasks' own gold answers? If not, no rollout can, whatever the model says.

The gold answer of a task with a check of its own is its answer, or its worked solution, the text `reference`, as it
stands.

A gold answer is tried as the simplest rollout that states it, in the form that the prompt asks for: `\boxed{72}`,
`#### 72`, else `The answer is 72.`. One that marks its own end (a worked solution: `48 + 24 = 72\n#### 72`) is tried as
it stands. What looks at form or steps alone (`reads_answer = False`) is left out, and so is what asks a model: nothing
is started here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten

from selftaught.blocks import ChatModel, Context, Verifier
from selftaught.core.errors import BadInput, SelftaughtError
from selftaught.records import Group, Rollout, Task, Turn, Verdict

MOST_FAILED = 0.05
"""The share of gold answers that a verifier may fail: a slip in a row costs that row, a wrong column the run."""
MOST_TRIED = 250
"""Tasks of each set that are tried, the first by id."""

_PATTERNS = (r"#### (.+)", r"\\boxed\{(.+)\}", r"(?i)answer(?: is|:)\s*(.+?)\.?\s*$")
"""What takes the answer out of a worked solution, the surest first."""


class _AsksModel(SelftaughtError):
    """A verifier asked for a model."""


class _NoModels(dict[str, ChatModel]):
    """No role's model is there; who asks for one is distinguished from who crashes."""

    def __missing__(self, role: str) -> ChatModel:
        raise _AsksModel(role)


@dataclass(frozen=True, slots=True)
class GoldCheck:
    """What `verifier` makes of the gold answers of `tasks` tasks: how many it failed, the first of them, and why.

    `skipped` says why nothing was tried (then `tasks` is 0); `pattern` is the `answer_pattern` that takes an answer
    that passes out of the first one's gold answer. `crashed` is whether it gave no verdict on that one at all.
    """

    verifier: str
    tasks: int = 0
    failed: int = 0
    first: Task | None = None
    said: str = ""
    pattern: str = ""
    skipped: str = ""
    crashed: bool = False

    def text(self) -> str:
        """One line for people."""
        if self.skipped:
            return f"{self.verifier} not tried on the gold answers: {self.skipped}"
        return f"{self.verifier} passes {self.tasks - self.failed} of {self.tasks} gold answers"


async def gold_checks(tasks: Sequence[Task], verifiers: Sequence[Verifier]) -> list[GoldCheck]:
    """One check for each of `verifiers`, on at most `MOST_TRIED` tasks of each set that have a gold answer."""
    tried = list(_tried(tasks))
    return [await _check(verifier, tried) for verifier in verifiers]


def require_gold(checks: Sequence[GoldCheck]) -> None:
    """Raise BadInput, with the first one and the fix, where a verifier fails more than `MOST_FAILED` of the answers."""
    for check in checks:
        if check.first is not None and check.failed > MOST_FAILED * check.tasks:
            raise BadInput(
                f"verify: '{check.verifier}' {_fails(check)} of the tasks' own {check.tasks} gold answers, more "
                f"than {MOST_FAILED:.0%}: a model's answer could not pass either. The first, of the "
                f"{check.first.split} task '{_short(check.first.question, 60)}' ({check.first.source}), is "
                f"'{_short(check.first.answer or stating(check.first), 100)}': {check.said}. {_fix(check)}"
            )


def stating(task: Task) -> str:
    """The simplest rollout that states the gold answer of `task`, in the form that its prompt asks for.

    A task that has none is answered by its worked solution.
    """
    if task.answer is None:
        return task.texts.get("reference", "")
    if task.check:  # which reads the answer as it stands, such as a program
        return task.answer
    gold, asked = task.answer, " ".join(message.content for message in task.messages)
    if any(re.search(pattern, gold) for pattern in _PATTERNS):
        return gold
    if "\\boxed" in asked:
        return f"\\boxed{{{gold}}}"
    return f"#### {gold}" if "####" in asked else f"The answer is {gold}."


def _tried(tasks: Sequence[Task]) -> Iterator[Task]:
    taken = Counter[str]()
    for task in sorted(tasks, key=lambda task: task.id):
        has_gold = task.answer is not None or (task.check and "reference" in task.texts)
        if has_gold and taken[task.split] < MOST_TRIED:
            taken[task.split] += 1
            yield task


async def _check(verifier: Verifier, tasks: Sequence[Task]) -> GoldCheck:
    if not verifier.required:
        return GoldCheck(verifier.name, skipped="it decides nothing")
    if not verifier.reads_answer:
        return GoldCheck(verifier.name, skipped="it does not look at the answer")
    try:
        said = [await _verdict(verifier, task) for task in tasks]
        failed = [(task, verdict) for task, verdict in zip(tasks, said, strict=True) if not verdict.passed]
        if not failed:
            return GoldCheck(verifier.name, len(tasks))
        task, verdict = failed[0]
        reason = _short(verdict.error or verdict.reason or "failed", 160)
        pattern, crashed = await _pattern(verifier, task), verdict.error is not None
        return GoldCheck(verifier.name, len(tasks), len(failed), task, reason, pattern, crashed=crashed)
    except _AsksModel:
        return GoldCheck(verifier.name, skipped="it asks a model")


async def _verdict(verifier: Verifier, task: Task) -> Verdict:
    turn = Turn(content=stating(task))
    rollout = Rollout(task=task.id, index=0, model="gold", turns=(turn,), temperature=0)
    (verdict,) = await verifier.judge(Group(task=task, rollouts=(rollout,)), Context(models=_NoModels()))
    return verdict


async def _pattern(verifier: Verifier, task: Task) -> str:
    """The first pattern that takes a gold answer out of the task's own which `verifier` passes; empty without one."""
    for pattern in _PATTERNS:
        found = re.search(pattern, task.answer or "")
        if found and (await _verdict(verifier, task.model_copy(update={"answer": found[1].strip()}))).passed:
            return pattern
    return ""


def _short(text: str, width: int) -> str:
    return shorten(text, width, placeholder=" …")


def _fails(check: GoldCheck) -> str:
    return f"could not judge {check.failed}" if check.crashed else f"fails {check.failed}"


def _fix(check: GoldCheck) -> str:
    if check.crashed:
        return "Fix the verifier, or what the task gives it to judge by."
    if check.pattern:
        return (
            f"The answer is inside a longer text: extract it with tasks.answer_pattern: '{check.pattern}' "
            "(in quotes, or YAML takes what follows # for a comment)."
        )
    return (
        "Name the column that has only the answer (tasks.answer), fix these rows, or remove the verifier; one of "
        "your own that does not look at the answer sets reads_answer = False."
    )
