"""The sampling runner: resumes from a journal, keeps order, bounds concurrency, and ends cleanly on an error."""

import asyncio

import pytest

from selftaught.blocks import Completion, Context
from selftaught.core.errors import NoAnswer, RoundFailed, Unavailable
from selftaught.records import Message, Task
from selftaught.sampling.iid import IID
from selftaught.sampling.runner import counts, sample, total_tokens

TASKS = [Task(messages=(Message(role="user", content=str(n)),), source="test") for n in range(20)]


class Journal:
    def __init__(self, *groups):
        self.groups = list(groups)

    def read(self):
        return {group.id: group for group in self.groups}

    def append(self, group):
        self.groups.append(group)


class Engine:
    """A ChatModel that records who was in flight; later prompts answer sooner, those in `dead` never."""

    digest = "d1"

    def __init__(self, *dead):
        self.dead, self.asked, self.running, self.peak, self.cancelled = dead, [], 0, 0, 0

    async def chat(self, messages, *, n, **_):
        prompt = messages[-1].content
        self.asked.append(prompt)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(0.001 * (20 - int(prompt)))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if prompt in self.dead:
            raise Unavailable(f"prompt {prompt}: connection refused")
        return [Completion(prompt, (1, 2, 3), (0.0,) * 3, "length" if i else "stop", 5) for i in range(n)]


async def run(engine, journal=None, tasks=TASKS, report=lambda *_, **__: None, concurrency=4):
    context = Context(models={"policy": engine})
    return await sample(tasks, IID(k=2), context, journal or Journal(), report, concurrency=concurrency)


async def test_the_result_is_in_the_order_of_the_tasks():
    groups = await run(Engine(), concurrency=20)
    assert [group.task for group in groups] == TASKS


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_as_many_requests_as_allowed_are_in_flight_and_no_more(concurrency):
    engine = Engine()
    await run(engine, concurrency=concurrency)
    assert engine.peak == min(concurrency, len(TASKS))


async def test_journaled_tasks_are_not_sampled_again():
    journal = Journal(*(await run(Engine(), tasks=TASKS[5:12])))
    engine = Engine()
    groups = await run(engine, journal)
    assert sorted(map(int, engine.asked)) == [*range(5), *range(12, 20)]
    assert [group.task for group in groups] == TASKS
    assert len(journal.groups) == len(journal.read()) == len(TASKS)


async def test_a_whole_journal_asks_nothing():
    journal = Journal(*(await run(Engine())))
    engine = Engine()
    assert {group.id: group for group in await run(engine, journal)} == journal.read()
    assert engine.asked == []


async def test_an_error_surfaces_as_itself_cancels_the_rest_and_keeps_what_was_finished():
    engine, journal = Engine("10"), Journal()
    with pytest.raises(Unavailable, match="prompt 10: connection refused"):
        await run(engine, journal, concurrency=4)
    assert engine.running == 0
    assert engine.cancelled <= 3
    finished = {group.task.question for group in journal.groups}
    assert finished
    assert "10" not in finished
    assert len(engine.asked) == len(finished) + engine.cancelled + 1

    second = Engine()
    groups = await run(second, journal)
    assert not finished & set(second.asked)
    assert [group.task for group in groups] == TASKS


class Picky(Engine):
    """Refuses the prompts in `dead`, each so many times."""

    def __init__(self, *dead, times=2):
        super().__init__()
        self.left = dict.fromkeys(dead, times)

    async def chat(self, messages, *, n, **_):
        if self.left.get(messages[-1].content, 0):
            self.left[messages[-1].content] -= 1
            raise NoAnswer("maximum context length of 1024")
        return await super().chat(messages, n=n)


async def test_a_task_without_an_answer_costs_that_task_alone():
    journal, items = Journal(), []
    context = Context(models={"policy": Picky("3", "17")})
    groups = await sample(
        TASKS, IID(k=2), context, journal, lambda *_, **__: None, unanswered=lambda task, error: items.append(task)
    )
    answered = [task for task in TASKS if task.question not in {"3", "17"}]
    assert [group.task for group in groups] == answered
    assert {group.task.question for group in journal.groups} == {task.question for task in answered}
    assert items == [TASKS[3], TASKS[17]]


async def test_what_was_refused_once_is_asked_again():
    engine, journal = Picky("3", "17", "4", times=1), Journal()
    assert [group.task for group in await run(engine, journal)] == TASKS


@pytest.mark.parametrize(
    ("tasks", "dead", "given_up"), [(20, 2, False), (20, 3, True), (5, 1, False), (5, 2, True), (1, 1, True)]
)
async def test_more_than_a_tenth_or_all_without_an_answer_end_the_round(tasks, dead, given_up):
    """One may always be lost, unless it is the only one; the first one is named."""
    engine = Picky(*map(str, range(tasks - dead, tasks)))
    if not given_up:
        assert len(await run(engine, tasks=TASKS[:tasks])) == tasks - dead
        return
    first = TASKS[tasks - dead]
    with pytest.raises(RoundFailed, match=rf"{dead} of {tasks} tasks got no answer.*{first.id} \('{first.question}'\)"):
        await run(engine, tasks=TASKS[:tasks])


async def test_a_sampler_that_gives_nothing_is_no_answer():
    class Nothing(IID):
        async def sample(self, task, context):
            group = await super().sample(task, context)
            return group.model_copy(update={"rollouts": ()}) if task == TASKS[0] else group

    context = Context(models={"policy": Engine()})
    assert len(await sample(TASKS, Nothing(), context, Journal(), lambda *_, **__: None)) == 19


async def test_a_bug_in_a_sampler_surfaces_as_itself():
    class Buggy(Engine):
        async def chat(self, messages, **_):
            raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        await run(Buggy())


async def test_a_task_given_twice_is_sampled_once():
    engine = Engine()
    groups = await run(engine, tasks=[TASKS[0], TASKS[1], TASKS[0]])
    assert len(engine.asked) == 2
    assert groups[0] == groups[2]


async def test_progress_counts_journaled_tasks_as_done_and_only_new_tokens():
    journal = Journal(*(await run(Engine(), tasks=TASKS[:15])))
    seen = []
    await run(Engine(), journal, report=lambda done, total, **values: seen.append((done, total, values)))
    assert [(done, total) for done, total, _ in seen] == [(done, 20) for done in range(15, 21)]
    assert seen[-1][2]["tokens"] == 5 * 2 * 3
    assert seen[-1][2]["tokens_per_second"] > 0


async def test_counts_are_over_all_rollouts():
    groups = await run(Engine())
    assert total_tokens(groups) == 120
    assert counts(groups) == {
        "tasks": 20,
        "rollouts": 40,
        "truncated": 20,
        "hinted": 0,
        "prompt_tokens": 200,
        "completion_tokens": 120,
    }
