"""A task without its weight is the same task, in a fraction of the memory."""

import tracemalloc

from hypothesis import given

from selftaught.records import Message, Task
from selftaught.tasks.lean import LeanTask, lean
from tests import strategies


@given(strategies.tasks)
def test_it_is_the_task_in_every_field_and_says_what_that_says(task: Task):
    small = lean(task)
    assert small.full() == task
    assert (small.id, small.origin, small.messages) == (task.id, task.origin, task.messages)
    assert lean(small) is small


@given(strategies.tasks.filter(lambda task: any(each.role == "user" for each in task.messages)))
def test_its_question_is_the_tasks_own(task: Task):
    assert LeanTask.of(task).question == task.question


def test_it_takes_at_most_half_a_kilobyte_beside_its_text():
    made = [lean(_task(n)) for n in range(2000)]  # what is made once is made
    tracemalloc.start()
    made = [lean(_task(n)) for n in range(2000)]
    taken = tracemalloc.get_traced_memory()[0] / len(made)
    tracemalloc.stop()
    assert taken <= 512 + len(made[0].question)


def _task(number: int) -> Task:
    asked = Message(role="user", content=f"{number:06} " + "word " * 80)
    return Task(messages=(asked,), answer=str(number), source=f"dropped/{number % 10}")
