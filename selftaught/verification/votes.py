"""Votes: which rollouts of a group give the same answer, as answers are read and compared when they are verified.

It does not say which answer is right: that is what the verdicts are for.
"""

from selftaught.core.computing_time import ANSWER_S, share
from selftaught.records import Group
from selftaught.verification.answers import equal, final_answer


def same_answers(group: Group) -> list[list[int]]:
    """The positions of a group's rollouts by the answer that they give, in the order in which it was first given.

    1/2 and 0.5 are one answer, 1/3 and 2/3 two. A rollout without a single finished answer is left out, unless it
    passed: then it stands for its own text.
    """
    found: list[tuple[str, list[int]]] = []
    with share(ANSWER_S):
        for index in range(len(group.rollouts)):
            answer = _answer(group, index)
            same = next((votes for other, votes in found if equal(answer, other)), None)
            if same is not None:
                same.append(index)
            elif answer:
                found.append((answer, [index]))
    return [votes for _, votes in found]


def _answer(group: Group, index: int) -> str:
    rollout = group.rollouts[index]
    read = final_answer(rollout.text, finished=rollout.finish_reason == "stop")
    return read or (rollout.text.strip() if group.passed(index) else "")


def most_voted(group: Group) -> tuple[str, float] | None:
    """The answer that most of the group's rollouts give, the first of equally many, and the share of all that do.

    None where no rollout has an answer.
    """
    votes = same_answers(group)
    if not votes:
        return None
    most = max(votes, key=len)
    return _answer(group, most[0]), len(most) / len(group.rollouts)
