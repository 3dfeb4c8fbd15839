"""The evaluation runner: what is sampled for which metric, and what the scores say."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Context, Metric, Sampler, Verifier
from selftaught.core.errors import BadInput, RoundFailed
from selftaught.core.statistics import wilson
from selftaught.evaluation.accuracy import Accuracy
from selftaught.evaluation.majority import Majority
from selftaught.evaluation.pairing import common, pair
from selftaught.evaluation.pass_at_k import PassAtK
from selftaught.evaluation.runner import evaluate, paired, subset, summarise
from selftaught.evaluation.tokens import Tokens
from selftaught.recipe import load_blocks
from selftaught.records import Group, Message, Rollout, Split, Task, TaskScore, Turn, Verdict
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import Equations
from selftaught.verification.runner import verify

load_blocks()


@dataclass
class Model:
    digest: str = "d1ge57"


CONTEXT = Context(models={"policy": Model()})  # pyright: ignore[reportArgumentType]


def task(number: int, split: Split = "gate") -> Task:
    messages = (Message(role="user", content=f"What is {number}?"),)
    return Task(messages=messages, answer=str(number), source="s", split=split, template="t")


@dataclass
class Engine:
    """Answers the even numbers right and the odd ones wrong, and remembers what it was asked."""

    errors: frozenset[str] = frozenset()
    asked: list[tuple[int, float, frozenset[str]]] = field(default_factory=list)
    verified: list[tuple[tuple[str, ...], int]] = field(default_factory=list)

    async def sample(self, tasks: Sequence[Task], sampler: Sampler) -> list[Group]:
        wanted = sampler.model_dump()
        self.asked.append((wanted["k"], wanted["temperature"], frozenset(t.id for t in tasks)))
        return [self._group(t, wanted["k"]) for t in tasks]

    async def verify(self, groups: Sequence[Group], verifiers: Sequence[Verifier]) -> list[Group]:
        self.verified.append((tuple(each.name for each in verifiers), len(groups)))
        return [group.model_copy(update={"verdicts": tuple(self._verdicts(group))}) for group in groups]

    def _group(self, task: Task, k: int) -> Group:
        text = str(int(task.answer or 0) // 2 * 2)
        turn = Turn(content=text)
        return Group(
            task=task,
            rollouts=tuple(
                Rollout(task=task.id, index=i, model="d1ge57", turns=(turn,), temperature=1, completion_tokens=3)
                for i in range(k)
            ),
        )

    def _verdicts(self, group: Group):
        for rollout in group.rollouts:
            if group.id in self.errors:
                yield (Verdict.errored("match", "sandbox died"),)
            else:
                yield (Verdict.of("match", rollout.text == group.task.answer),)


async def scores(tasks: Sequence[Task], metrics: Sequence[Metric], engine: Engine | None = None) -> list[TaskScore]:
    engine = engine or Engine()
    return await evaluate(tasks, metrics, CONTEXT, engine.sample, engine.verify)


async def test_metrics_with_equal_samplers_share_rollouts_over_the_union_of_their_tasks():
    engine, tasks = Engine(), [task(i) for i in range(10)]
    metrics = [Accuracy(), Tokens(tasks=4), PassAtK(k=4, tasks=3), Majority(k=4, tasks=5), PassAtK(k=2, n=4, tasks=2)]
    measured = await scores(tasks, metrics, engine)
    assert engine.asked == [
        (1, 0.0, frozenset(t.id for t in tasks)),
        (4, 1.0, frozenset(t.id for t in subset(tasks, 5))),
    ]
    assert {s.metric: s.n for s in summarise(measured)} == {
        "accuracy": 10, "tokens": 4, "pass@4": 3, "maj@4": 5, "pass@2": 2,
    }  # fmt: skip


async def test_metrics_share_rollouts_and_have_verdicts_of_their_own_verifiers():
    """A task's own check is its gold answer, whatever a recipe trains by."""
    engine, tasks = Engine(), [task(i) for i in range(6)]
    shown = (AnswerMatch(), Equations())
    metrics = [Accuracy(), PassAtK(k=1, temperature=1.0, verify=shown), Tokens(), Accuracy(greedy=False, tasks=3)]
    await scores(tasks, metrics, engine)
    assert [(k, temperature) for k, temperature, _ in engine.asked] == [(1, 0.0), (1, 1.0)]
    assert engine.verified == [(("task_check",), 6), (("answer_match", "equations"), 6), (("task_check",), 3)]


async def test_scores_carry_what_was_measured_on_what():
    (score,) = await scores([task(6)], [PassAtK(k=10)])
    assert (score.model, score.metric, score.split, score.task) == ("d1ge57", "pass@10", "gate", task(6).id)
    assert (score.value, score.question, score.answer, score.source, score.template) == (1, "What is 6?", "6", "s", "t")
    assert (score.texts, score.passed, score.completion_tokens) == (("6",) * 8, (True,) * 10, 30)


async def test_the_order_of_the_tasks_does_not_matter():
    """Equal input gives equal digests downstream."""
    tasks = [task(i, split) for i in range(6) for split in ("gate", "guard")]
    metrics = [Accuracy(), PassAtK(k=2, tasks=3)]
    assert await scores(tasks, metrics) == await scores(tasks[::-1], metrics)


@given(gate=st.integers(0, 12), guard=st.integers(0, 12), n=st.integers(1, 12))
def test_subsets_are_taken_of_each_split_and_are_nested(gate: int, guard: int, n: int):
    tasks = [task(i) for i in range(gate)] + [task(100 + i, "guard") for i in range(guard)]
    chosen = subset(tasks, n)
    assert [sum(t.split == split for t in chosen) for split in ("gate", "guard")] == [min(gate, n), min(guard, n)]
    assert set(chosen) <= set(subset(tasks, n + 1))
    assert set(subset(tasks, None)) == set(tasks)


async def test_a_task_without_an_answer_has_no_score_and_no_other_takes_its_place():
    tasks = [task(i) for i in range(10)]
    lost = subset(tasks, 4)[1]

    class Lossy(Engine):
        async def sample(self, tasks: Sequence[Task], sampler: Sampler) -> list[Group]:
            return await super().sample([each for each in tasks if each != lost], sampler)

    measured = await scores(tasks, [Accuracy(), Tokens(tasks=4)], Lossy())
    assert [s.task for s in measured if s.metric == "accuracy"] == [t.id for t in subset(tasks, None) if t != lost]
    assert [s.task for s in measured if s.metric == "tokens"] == [t.id for t in subset(tasks, 4) if t != lost]


async def test_what_one_model_has_no_answer_to_counts_for_neither():
    before = await scores([task(i, split) for i in range(4) for split in ("gate", "guard")], [Accuracy(), Tokens()])
    after = [s.model_copy(update={"model": "new"}) for s in before]
    lost = [("accuracy", "gate", before[0].task), ("tokens", "guard", after[-1].task)]
    measured = [s for s in before if key(s) != lost[0]] + [s for s in after if key(s) != lost[1]]
    assert {key(s) for s in common(measured)} == {key(s) for s in before} - set(lost)
    assert len(common(measured)) == 2 * (len(before) - 2)
    assert common(before) == before


def key(score: TaskScore) -> tuple[str, str, str]:
    return score.metric, score.split, score.task


async def test_a_measurement_is_void_when_verifiers_could_not_judge_it():
    tasks = [task(i) for i in range(50)]
    broken = frozenset(t.id for t in tasks[:2])
    with pytest.raises(RoundFailed, match=r"2 of 50 answers could not be verified.*'match': sandbox died"):
        await scores(tasks, [Accuracy()], Engine(errors=broken))


@dataclass
class Crashing(Engine):
    """Its verifier crashes on these rollouts of every task, by position."""

    on: frozenset[int] = frozenset()
    tasks: frozenset[str] = frozenset()

    def _verdicts(self, group: Group):
        for (verdict,), rollout in zip(super()._verdicts(group), group.rollouts, strict=True):
            crashed = group.id in self.tasks and rollout.index in self.on
            yield (Verdict.errored("match", "died"),) if crashed else (verdict,)


async def test_what_may_go_unjudged_is_a_share_of_answers_not_of_tasks():
    tasks = [task(2 * i) for i in range(10)]
    few = frozenset(t.id for t in tasks[:2])
    metric = Accuracy(greedy=False, k=10)
    measured = await scores(tasks, [metric], Crashing(on=frozenset({3}), tasks=few))
    assert sum(s.value for s in measured) == pytest.approx(9.8)
    with pytest.raises(RoundFailed, match="3 of 100 answers"):
        await scores(tasks, [metric], Crashing(on=frozenset({3}), tasks=few | {tasks[2].id}))


async def test_a_model_that_loops_digits_is_measured():
    """Its answers are wrong, and those beside them keep their verdicts: nothing is void."""

    class Looping(Engine):
        def _group(self, task: Task, k: int) -> Group:
            texts = [task.answer or "", "0." + "142857" * 900, "7" * 4400, "7" * 9000]
            return (
                super()
                ._group(task, k)
                .model_copy(
                    update={
                        "rollouts": tuple(
                            Rollout(task=task.id, index=i, model="m", turns=(Turn(content=text),), temperature=1)
                            for i, text in enumerate(texts)
                        )
                    }
                )
            )

        async def verify(self, groups: Sequence[Group], verifiers: Sequence[Verifier]) -> list[Group]:
            return await verify(groups, verifiers, CONTEXT, lambda *_, **__: None)

    measured = await scores([task(i) for i in range(3)], [Accuracy(greedy=False, k=4)], Looping())
    assert [s.value for s in measured] == [0.25] * 3


async def test_one_answer_in_fifty_that_crashed_the_verifier_counts_as_not_passed():
    tasks = [task(2 * i) for i in range(50)]
    measured = await scores(tasks, [Accuracy()], Engine(errors=frozenset({tasks[0].id})))
    assert sum(s.value for s in measured) == 49


async def test_summaries_are_means_with_intervals_a_model_metric_and_split():
    tasks = [task(i) for i in range(20)] + [task(100 + 2 * i, "guard") for i in range(5)]
    accuracy = {s.split: s for s in summarise(await scores(tasks, [Accuracy(), Tokens()])) if s.metric == "accuracy"}
    assert (accuracy["gate"].mean, accuracy["guard"].mean, accuracy["gate"].tokens) == (0.5, 1, 60)
    assert (accuracy["gate"].low, accuracy["gate"].high) == (wilson(10, 20).low, wilson(10, 20).high)


async def test_a_summary_leaves_out_what_nobody_could_judge():
    """As the gate does: else the page would show another mean than what was decided by."""
    tasks = [task(2 * i) for i in range(100)]
    measured = await scores(tasks, [Accuracy()], Engine(errors=frozenset({tasks[0].id})))
    (summary,) = summarise(measured)
    assert (summary.mean, summary.n) == (1.0, 99)


@pytest.mark.parametrize("broken", ["champion", "challenger"])
async def test_a_task_that_could_not_be_judged_for_either_model_leaves_the_pair(broken: str):
    tasks = [task(2 * i) for i in range(100)]
    made = await scores(tasks, [Accuracy()], Engine(errors=frozenset({tasks[7].id})))
    full = await scores(tasks, [Accuracy()])
    named = {broken: made, "champion" if broken == "challenger" else "challenger": full}
    items = [each.model_copy(update={"model": name}) for name, own in named.items() for each in own]
    pairs = pair(items, "accuracy", "gate", "champion", "challenger")
    assert (len(pairs.tasks), pairs.left, tasks[7].id in pairs.tasks) == (99, 1, False)
    assert pairs.alone == ((1, 0) if broken == "champion" else (0, 1))
    assert set(pairs.difference) == {0.0}


class Gained(Metric):
    """What a second turn gained on the first: -1, 0 or 1. It says so."""

    bounds = (-1.0, 1.0)

    def sampler(self) -> Sampler:
        return Accuracy().sampler()

    def value(self, group: Group) -> float:
        return 0.0

    @property
    def name(self) -> str:
        return "gained"


class Unsaid(Gained):
    """The same without saying."""

    bounds = None


async def test_a_figure_below_and_above_zero_has_no_proportions_interval():
    measured = await scores([task(i) for i in range(6)], [Gained()])
    (summary,) = summarise(measured, [Gained()])
    assert (summary.mean, -summary.low, summary.high) == pytest.approx((0, wilson(0, 6).high, wilson(0, 6).high))
    (unsaid,) = summarise(measured, [Unsaid()])
    assert (unsaid.low, unsaid.high) == (0, 0)


@pytest.mark.parametrize("metric", [Accuracy(), Accuracy(greedy=False, k=2), PassAtK(k=2), Majority(k=2)])
async def test_a_share_has_a_proportions_interval(metric: Metric):
    tasks = [task(2 * i + 1) for i in range(6)]
    (summary,) = summarise(await scores(tasks, [metric]), [metric])
    assert (summary.low, summary.high) == pytest.approx((0, wilson(0, 6).high))


async def test_paired_gains_are_given_for_every_metric_and_split():
    before = await scores([task(i, split) for i in range(9) for split in ("gate", "report")], [Accuracy(), Tokens()])
    after = [s.model_copy(update={"model": "new", "value": 1.0 if s.metric == "accuracy" else s.value}) for s in before]
    gains = {(g.metric, g.split): g for g in paired([*before, *after], "d1ge57", "new")}
    assert set(gains) == {(metric, split) for metric in ("accuracy", "tokens") for split in ("gate", "report")}
    assert (gains["accuracy", "report"].gain, gains["tokens", "gate"].gain) == (pytest.approx(4 / 9), 0)


async def test_models_measured_on_different_tasks_are_not_paired():
    before = await scores([task(i) for i in range(4)], [Accuracy()])
    after = [s.model_copy(update={"model": "new"}) for s in before[1:]]
    with pytest.raises(BadInput, match=r"d1ge57 and new were measured on different tasks of the gate set: 1 "):
        paired([*before, *after], "d1ge57", "new")
