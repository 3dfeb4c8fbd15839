"""The control of a search: which tasks have one, what is asked for it, and that nothing else ever meets it."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Completion, Context, Curator, registered
from selftaught.core.errors import NoAnswer, RoundFailed, Unavailable
from selftaught.records import Group, Message, Task, Verdict
from selftaught.report.reading import drawn
from selftaught.report.tally import Tally
from selftaught.sampling.runner import sample, total_tokens
from selftaught.search.control import MOST_REQUESTS, held
from selftaught.search.outcomes import outcomes
from selftaught.search.searcher import Limits, Search
from selftaught.search.values import Constant
from selftaught.state.journal import FileJournal
from selftaught.verification.runner import funnel
from tests.curation.trees import grown
from tests.search.scripted import TASK, Right, Scripted, opened
from tests.search.test_comparison import pool

TASKS = [Task(messages=(Message(role="user", content=f"What is {n}?"),), answer="b", source="test") for n in range(20)]


class Policy(Scripted):
    """Notes what was asked without a stop string: complete answers, which only a control asks for here."""

    def __init__(self, letters: str = "abcdef", **fields: object) -> None:
        super().__init__(letters=letters, forgetful=False, **fields)
        self.answers_asked = list[dict[str, object]]()

    async def complete(self, prompt, *, n=1, temperature=1.0, max_tokens=256, stop=(), **drawn) -> list[Completion]:
        if not stop:
            asked = {"prompt": prompt, "n": n, "temperature": temperature, "max_tokens": max_tokens, **drawn}
            self.answers_asked.append(asked)
        return await super().complete(prompt, n=n, temperature=temperature, max_tokens=max_tokens, stop=stop)


def search(**fields: object) -> Search:
    given = {"value": Constant(), "limits": Limits(iterations=4, depth=4), "control": 1.0} | fields
    return Search.model_validate(given)


def context_of(policy: Scripted) -> Context:
    return Context(models={"policy": policy}, verifiers=(Right(),))


async def searched(policy: Scripted, room: int = 2048, task: Task = TASK, **fields: object) -> Group:
    return await search(**fields).in_round([task], 0, room, {}).sample(task, context_of(policy))


# Which tasks ----------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 19)), st.floats(0, 1), st.integers(0, 5))
def test_it_is_a_share_of_the_tasks_rounded_up_whatever_their_order(numbers: set[int], share: float, seed: int):
    tasks = [TASKS[n] for n in sorted(numbers)]
    chosen = held(tasks, share, seed)
    assert len(chosen) == -(-share * len(tasks) // 1)
    assert chosen <= {task.id for task in tasks}
    assert held(tasks[::-1], share, seed) == chosen


def test_other_seeds_hold_other_tasks():
    assert len({held(TASKS, 0.2, seed) for seed in range(10)}) > 5


async def test_a_share_of_none_samples_nothing_more():
    policy = Policy()
    group = await searched(policy, control=0.0)
    assert group.control is None
    assert not policy.answers_asked


async def test_a_search_as_an_inference_strategy_has_no_control():
    policy = Policy()
    assert (await search().sample(TASK, context_of(policy))).control is None


# What is asked --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 200))
@settings(max_examples=30)
async def test_the_tree_is_what_it_is_without_and_the_answers_come_to_its_tokens(seed: int):
    group, alone = await searched(Policy(seed=seed)), await search().sample(TASK, context_of(Policy(seed=seed)))
    assert _timeless(group).model_copy(update={"control": None}) == _timeless(alone)
    control = group.control
    assert control
    assert control.budget == group.tree.spent.tokens == group.new_tokens
    assert control.budget <= control.tokens < 1.1 * control.budget + 2
    assert sum(control.requests) == len(control.rollouts)
    assert [rollout.index for rollout in control.rollouts] == list(range(len(control.rollouts)))
    assert total_tokens([group]) == group.new_tokens + control.tokens


def _timeless(group: Group) -> Group:
    spent = group.tree.spent.model_copy(update={"seconds": 0.0})
    return group.model_copy(update={"tree": group.tree.model_copy(update={"spent": spent})})


async def test_it_is_asked_as_the_search_asks_from_its_own_opening():
    policy = Policy()
    expand = {"type": "steps", "temperature": 0.9, "top_p": 0.8, "max_tokens": 1}
    group = await searched(policy, expand=expand, finish=1)
    first = policy.answers_asked[0]
    assert (first["prompt"], first["temperature"], first["top_p"]) == (group.tree.prompt_ids, 0.9, 0.8)
    assert first["max_tokens"] == 4 * 1 + 1
    (rollout, *_) = group.control.rollouts
    assert (rollout.temperature, rollout.model, rollout.task) == (0.9, policy.digest, TASK.id)
    assert bytes(rollout.turns[0].token_ids).decode() == rollout.text


class Uneven(Policy):
    """Says short answers, and very long ones among them."""

    async def complete(self, prompt, *, n=1, max_tokens=256, stop=(), **asked) -> list[Completion]:
        said = await super().complete(prompt, n=n, max_tokens=max_tokens, stop=stop, **asked)
        if stop:
            return said
        lengths = [min((2, 2, 500)[(len(self.answers_asked) + i) % 3], max_tokens) for i in range(n)]
        return [Completion("b" * length, (98,) * length, (0.0,) * length, "stop", 3) for length in lengths]


@given(st.integers(0, 20))
@settings(max_examples=20)
async def test_long_answers_among_short_ones_cost_no_more_than_what_was_missing(seed: int):
    policy = Uneven(seed=seed)
    control = (await searched(policy, finish=600)).control
    had, spent = 0, 0
    own = policy.answers_asked[-len(control.requests) :]  # the search itself has one more answer finished
    for asked, n in zip(own, control.requests, strict=True):
        assert asked["n"] == n <= max(had, 1)
        assert asked["max_tokens"] == control.budget - spent + 1
        here = control.rollouts[had : had + n]
        had, spent = had + n, spent + sum(rollout.completion_tokens for rollout in here)
    assert spent == control.tokens >= control.budget


async def test_an_answer_is_no_longer_than_the_engine_has_room_for():
    policy = Policy()
    opening = len((await searched(Policy())).tree.prompt_ids)
    await searched(policy, opening + 3)
    assert max(asked["max_tokens"] for asked in policy.answers_asked) == 3
    assert (await searched(Policy(), opening)).control is None


async def test_hinted_answers_and_their_tokens_are_left_out():
    policy = Policy(letters="acdef")  # none is right
    group = await searched(policy, hints={"k": 3})
    assert group.tree.spent.hint_tokens == 3
    assert group.control.budget == group.tree.spent.tokens - 3


class Refusing(Policy):
    """Has no answer to whoever asks for complete ones."""

    async def complete(self, prompt, *, stop=(), **asked) -> list[Completion]:
        if not stop:
            raise NoAnswer("prompt and answer are too long")
        return await super().complete(prompt, stop=stop, **asked)


async def test_where_the_engine_refuses_the_tree_stands_without():
    group = await searched(Refusing())
    assert group.tree.spent.tokens > 0
    assert group.control is None


class Silent(Policy):
    """Ends every complete answer before it has begun."""

    async def complete(self, prompt, *, stop=(), **asked) -> list[Completion]:
        said = await super().complete(prompt, stop=stop, **asked)
        nothing = Completion("", (), (), "stop", 3)
        return said if stop else [nothing for _ in said]


async def test_an_engine_that_says_nothing_is_not_asked_for_ever():
    policy = Silent()
    group = await searched(policy)
    assert len(policy.answers_asked) == 1 < MOST_REQUESTS
    assert group.control.tokens == 0


def test_the_plan_counts_it():
    assert search(control=0.1).control_cost(25) == 1.5 * 3 * search().cost()
    assert search(control=0.0).control_cost(25) == 0


class Reading(Policy):
    """Counts the bytes that it is given to read, a token each."""

    read = 0

    async def complete(self, prompt, **asked) -> list[Completion]:
        self.read += len(opened(prompt))
        return await super().complete(prompt, **asked)

    async def values(self, inputs):
        self.read += sum(map(len, inputs))
        return await super().values(inputs)


@given(st.integers(0, 200))
@settings(max_examples=20)
async def test_what_engines_read_for_steps_and_values_is_counted(seed: int):
    policy = Reading(seed=seed)
    models = {"policy": policy, "value": policy}
    tree = (await search(value={"type": "value_model"}).sample(TASK, Context(models=models))).tree
    assert tree.spent.prefill_tokens == policy.read


# Nothing else meets it --------------------------------------------------------------------------------------------


def controlled(group: Group) -> Group:
    """`group` with a control of right answers that nobody else gave."""
    said = pool([(f"control {i}", 5, True) for i in range(4)], 20)
    return group.model_copy(update={"control": said})


shapes = st.recursive(st.booleans(), lambda below: st.dictionaries(st.sampled_from("abcd"), below, max_size=3))
trees = st.dictionaries(st.sampled_from(["one\n", "two\n", "three\n"]), shapes, min_size=1, max_size=3)
CURATORS = sorted(
    name for name, curator in registered("curate").items() if curator.__module__.startswith("selftaught.")
)


def _examples(curator: type[Curator], group: Group) -> object:
    needed: dict[str, object] = {"minimum": 0, "tags": {"passed": "+", "failed": "-"}}
    least = {name: value for name, value in needed.items() if name in curator.model_fields}
    try:
        return list(curator.model_validate(least).curate([group], 0))
    except RoundFailed as failed:
        return str(failed)


@pytest.mark.parametrize("name", CURATORS)
@given(trees)
@settings(max_examples=15)
def test_no_curator_makes_an_example_of_it(name: str, shape: dict):
    group, curator = grown(shape), registered("curate")[name]
    assert _examples(curator, controlled(group)) == _examples(curator, group)


@given(trees)
@settings(max_examples=15)
def test_nothing_that_counts_or_shows_rollouts_meets_it(shape: dict):
    group = grown(shape)
    both = controlled(group)
    assert funnel([both]) == funnel([group])
    assert outcomes([both]) == outcomes([group])
    assert Tally.of([both]).sampled() == Tally.of([group]).sampled()
    assert drawn(both) == drawn(group)
    assert list(both.accepted()) == list(group.accepted())


# Killed, and resumed -----------------------------------------------------------------------------------------


class Dying(Policy):
    """Dies with the request number `after`."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    async def complete(self, prompt: Sequence[int], **asked) -> list[Completion]:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("connection refused")
        return await super().complete(prompt, **asked)


async def _rows(folder, policy: Scripted) -> list[Group]:
    attempts = search(control=0.5).in_round(TASKS, 7, 2048, {})
    with FileJournal(folder / "journal.jsonl", Group) as journal:
        return await sample(TASKS, attempts, context_of(policy), journal, lambda *_, **__: None, 1)


@pytest.mark.parametrize("after", [3, 17, 60])
async def test_resumed_after_a_kill_it_is_the_same_rows(tmp_path, after: int):
    answers_asked = await _rows(tmp_path / "whole", Policy())
    with pytest.raises(Unavailable):
        await _rows(tmp_path / "killed", Dying(after))
    again = await _rows(tmp_path / "killed", Policy())
    assert [_timeless(group) for group in again] == [_timeless(group) for group in answers_asked]
    assert sum(group.control is not None for group in again) == 10
    lines = (tmp_path / "killed" / "journal.jsonl").read_text().splitlines()
    assert len(lines) == len(TASKS)


def test_a_journaled_row_has_its_control():
    group = controlled(grown({"a": True}))
    assert Group.from_row(group.to_row()) == group
    assert Verdict.of("v", True) == group.control.verdicts[0][0]
