"""The checks of a block: what ships passes them, and each way of being wrong is found and named."""

import asyncio
import itertools
import re
from collections.abc import Sequence
from typing import Any

import pytest

from selftaught.blocks import (
    Block,
    Control,
    Curator,
    Draw,
    Metric,
    Objective,
    RolloutVerifier,
    Sampler,
    TaskSource,
    TrainResult,
    registered,
)
from selftaught.blocks.loading import load_blocks
from selftaught.controls.adapt import Adapt
from selftaught.controls.curriculum import Curriculum
from selftaught.controls.until import Until
from selftaught.curation.accepted import Accepted
from selftaught.curation.advantages import Advantages
from selftaught.curation.base import PerGroupCurator, sampled
from selftaught.evaluation.accuracy import Accuracy
from selftaught.evaluation.paired_gain import PairedGain
from selftaught.records import Example, Group, Rollout, Segment, Task, Turn, Verdict
from selftaught.sampling.iid import IID
from selftaught.tasks.sources.functions import Functions
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.testing import ScriptedModel, check_block, sums
from selftaught.testing.objectives import loss_findings
from selftaught.training.dpo import DPO
from selftaught.training.policy_gradient import PolicyGradient
from selftaught.training.sft import SFT
from selftaught.training.tokens import Loss
from selftaught.training.value import ValueMSE
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import Equations

load_blocks()


@pytest.mark.parametrize("block", [AnswerMatch(), Equations(), IID(k=3), Accepted(minimum=0), Advantages(), Accuracy()])
def test_what_ships_passes(block: Block):
    assert check_block(block, sums()) == []


def test_it_runs_where_an_event_loop_runs():
    async def notebook() -> list[str]:
        return check_block(IID(k=1), sums(2))

    assert asyncio.run(notebook()) == []


def test_a_gate_is_refused():
    with pytest.raises(TypeError, match="PairedGain: gates cannot be checked"):
        check_block(PairedGain(metric="accuracy", guard="none"), sums())


@pytest.mark.parametrize(
    ("block", "message"),
    [(AnswerMatch, r"AnswerMatch.*: not a block. Give one, such as AnswerMatch\(\)"), ("answer_match", "not a block")],
)
def test_what_is_no_block_is_refused(block: Any, message: str):
    with pytest.raises(TypeError, match=message):
        check_block(block, sums())


@pytest.mark.parametrize("tasks", [(), sums(1), sums(1) * 2])
def test_tasks_of_one_answer_are_too_few(tasks: Sequence[Task]):
    with pytest.raises(ValueError, match="give two whose gold answers differ"):
        check_block(AnswerMatch(), tasks)


SIZES = {"train": 6, "gate": 3, "report": 3}


@pytest.mark.parametrize("source", [WordProblems(**SIZES), Functions(**SIZES)])
def test_sources_that_ship_pass(source: TaskSource):
    assert check_block(source) == []


class Drawn(WordProblems):
    """A source that each test spoils."""

    def draw(self, draw):
        return self.spoilt(super().draw(draw), draw)


class Varies(Drawn):
    def spoilt(self, tasks, draw):
        return super(Drawn, self).draw(Draw(next(MOODS), next(MOODS)))


class Changes(Drawn):
    def spoilt(self, tasks, draw):
        return super(Drawn, self).draw(Draw(draw.round, draw.round))


class GivesFewer(Drawn):
    def spoilt(self, tasks, draw):
        return tasks[1:]


class KnowsNothing(Drawn):
    def spoilt(self, tasks, draw):
        return [task.model_copy(update={"answer": None}) for task in tasks]


class Overlaps(Drawn):
    def spoilt(self, tasks, draw):
        return [*tasks, tasks[0].model_copy(update={"split": "report"})]


class Crashes(Drawn):
    def spoilt(self, tasks, draw):
        raise FileNotFoundError("words.txt")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Varies, "two equal draws gave different tasks"),
        (Changes, "the report set is another in the next round"),
        (GivesFewer, "5 tasks, and 6 are asked for"),
        (KnowsNothing, "neither an answer nor a check"),
        (Overlaps, "train"),
        (Crashes, "draw raised FileNotFoundError: words.txt"),
    ],
)
def test_a_source_that_is_wrong_is_found(source, words):
    assert any(words in finding for finding in check_block(source(**SIZES)))


class Vanishes(Accepted):
    def curate(self, groups, seed):
        return None


class AsksAnother(AnswerMatch):
    async def verify(self, group, context):
        await context.model("judge").chat(group.task.messages)
        return [Verdict.of("asks", True) for _ in group.rollouts]


class NeverBegins(Adapt):
    def begin(self, stage, state):
        return None


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Vanishes(), "curate returned None"),
        (AsksAnother(), "asks the judge model, and none says so"),
        (NeverBegins(temperatures=(0.5, 1.0)), "begin returned None, and has to return a Stage"),
    ],
)
def test_what_a_runner_would_refuse_is_a_finding(block, words):
    assert any(words in finding for finding in check_block(block, sums(3)))


@pytest.mark.parametrize(
    "control", [Adapt(temperatures=(0.5, 1.0)), Curriculum(tasks=3), Until(metric="accuracy", rounds=2)]
)
def test_controls_that_ship_pass(control: Control):
    assert check_block(control, sums()) == []


class Counting(Control):
    """Remembers how many rounds there were, in a way that each test spoils."""

    type: str = "counting"

    def observe(self, state, seen):
        return {"rounds": state.get("rounds", 0) + 1}


class KeepsNumbersAsKeys(Counting):
    def observe(self, state, seen):
        return {"by_level": {1: 0.5}}


class KeepsNan(Counting):
    def observe(self, state, seen):
        return {"mean": float("nan")}


class WritesInto(Counting):
    def observe(self, state, seen):
        state["rounds"] = 1
        return state


class Forgets(Counting):
    def observe(self, state, seen):
        return {"drawn": next(MOODS)}


class Invents(Counting):
    def choose(self, tasks, count, state, seed):
        return [tasks[0], tasks[0]]


class Draws(Counting):
    def choose(self, tasks, count, state, seed):
        return [tasks[next(MOODS) % len(tasks)]]


class Greedy(Counting):
    def choose(self, tasks, count, state, seed):
        return list(tasks)


class Wavers(Counting):
    def ended(self, state):
        return str(next(MOODS))


@pytest.mark.parametrize(
    ("control", "words"),
    [
        (KeepsNumbersAsKeys(), "is not what JSON keeps of it"),
        (KeepsNan(), "is not what JSON keeps of it"),
        (WritesInto(), "observe changes the state"),
        (Forgets(), "gave two different states"),
        (Invents(), "one or more of those given, each once"),
        (Draws(), "were chosen from differently"),
        (Greedy(), "more tasks than it is asked for"),
        (Wavers(), "say two things of one state"),
    ],
)
def test_a_control_that_is_wrong_is_found(control, words):
    assert any(words in finding for finding in check_block(control, sums(3)))


@pytest.mark.parametrize("objective", [SFT(epochs=1), DPO(epochs=1), PolicyGradient(epochs=1), ValueMSE(epochs=1)])
def test_objectives_that_ship_pass(objective: Objective):
    assert check_block(objective, sums(3)) == []


class Divides(SFT):
    def compute_loss(self, tokens):
        return Loss((tokens.logprobs / (tokens.weights - 1)).sum(), tokens.weights.sum())


class LearnsNothing(SFT):
    def compute_loss(self, tokens):
        return Loss((tokens.weights * tokens.logprobs.detach()).sum(), tokens.weights.sum())


class Unweighted(SFT):
    def compute_loss(self, tokens):
        return Loss(-tokens.logprobs.sum(), tokens.weights.new_tensor(float(len(tokens.weights))))


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (Divides(), "is not finite"),
        (LearnsNothing(), "no gradient: nothing is learnt"),
        (Unweighted(), "an example of weight 0 has a gradient"),
        (Unweighted(), "in which nothing counts has a loss"),
    ],
)
def test_a_loss_that_is_wrong_is_found(objective, words):
    assert any(words in finding for finding in loss_findings(objective))


class Overwrites(Objective):
    """Writes into the model that it is given."""

    type: str = "overwrites"

    def train(self, model, examples, out, context):
        (model / "config.json").write_text("{}")
        out.mkdir()
        return TrainResult(steps=1, tokens=1, trained_tokens=1, seconds=0.0, losses=((1, float("inf")),))


@pytest.mark.parametrize("words", ["changes the model that it is given", "is no model", "inf at step 1"])
def test_a_training_that_is_wrong_is_found(words):
    assert any(words in finding for finding in check_block(Overwrites(), sums(2)))


class Says(RolloutVerifier):
    """A verifier by a function of the gold answer and the text."""

    type: str = "says"

    def verdict(self, task, rollout):
        return Verdict.of("says", self.passes(task.answer, rollout.text))


class Mentions(Says):
    def passes(self, gold, text):
        return gold in text


class Generous(Says):
    def passes(self, gold, text):
        return True


class Strict(Says):
    def passes(self, gold, text):
        return False


class Crashing(Says):
    def passes(self, gold, text):
        return text[0] == gold


class Moody(Says):
    def passes(self, gold, text):
        return bool(next(MOODS) % 3)


MOODS = itertools.count()


@pytest.mark.parametrize(
    ("verifier", "words"),
    [
        (Mentions(), "together, whichever is last"),
        (Generous(), "passes an empty answer"),
        (Generous(), "passes the question said again"),
        (Strict(), "refuses the gold answer '5'"),
        (Crashing(), "IndexError"),
        (Moody(), "two verdicts on one answer differ"),
    ],
)
def test_a_verifier_that_is_wrong_is_found(verifier, words):
    assert any(words in finding for finding in check_block(verifier, sums()))


class Points(RolloutVerifier):
    type: str = "points"

    def verdict(self, task, rollout):
        return Verdict(verifier="points", score=10, passed=True)


def test_what_each_task_shows_is_found_once_and_on_one_line():
    (found,) = check_block(Points(), sums(8))
    words = r"'What is 2 \+ 3\?' \(and 7 more\): Verdict\.score: 10: should be less than or equal to 1 \(Points, .*\)"
    assert re.fullmatch(words, found)


class Lost(Sampler):
    """Gives every task the same group."""

    type: str = "lost"

    async def sample(self, task, context):
        turns = (Turn(content=str(next(MOODS))),)
        same = Rollout(task="t", index=0, model="m", turns=turns, temperature=1.0)
        return Group(task=sums(1)[0], rollouts=(same, same))


@pytest.mark.parametrize(
    "words", ["group is of another task", "rollout names another", "the same index", "gave different groups"]
)
def test_a_sampler_that_is_wrong_is_found(words):
    assert any(words in finding for finding in check_block(Lost(), sums(2)))


class Careless(Curator):
    """The first group's example, twice, of a task that it makes up."""

    type: str = "careless"

    def curate(self, groups, seed):
        said = Segment.answer(groups[0].task.question)
        example = Example(sequences=((Segment.context(()), said),), task="made up", rollout="r")
        yield from (example, example)


@pytest.mark.parametrize("words", ["depend on the order", "'made up', which is none", "there twice"])
def test_a_curator_that_is_wrong_is_found(words):
    assert any(words in finding for finding in check_block(Careless(), sums(2)))


class OfAnswers(PerGroupCurator):
    """An example of every rollout, in a way that each test spoils."""

    type: str = "of_answers"
    minimum: int = 0

    def examples(self, group, seed):
        for at, rollout in enumerate(group.rollouts):
            self.look(group, at, rollout)
            yield sampled(group, rollout)

    def look(self, group, at, rollout):
        """Nothing."""


class WantsOneOfEach(OfAnswers):
    def look(self, group, at, rollout):
        max(len(each.text) for each in group.accepted())


class WantsScores(OfAnswers):
    def look(self, group, at, rollout):
        sum(verdict.score for verdict in group.verdicts[at])


class WantsOneTurn(OfAnswers):
    def look(self, group, at, rollout):
        assert len(rollout.turns) == 1


class WantsTheEnd(OfAnswers):
    def look(self, group, at, rollout):
        assert rollout.finish_reason == "stop"


class FindsNothing(OfAnswers):
    def examples(self, group, seed):
        return iter(())


@pytest.mark.parametrize(
    ("curator", "words"),
    [
        (WantsOneOfEach(), "It was given wrong answers alone."),
        (WantsScores(), "It was given answers that could not be judged."),
        (WantsOneTurn(), "It was given dialogues."),
        (WantsTheEnd(), "It was given answers that were cut off."),
        (FindsNothing(), "it made no example of 3 tasks"),
    ],
)
def test_a_curator_is_tried_on_all_that_rounds_give_it(curator, words):
    assert check_block(OfAnswers(), sums(3)) == []
    assert any(words in finding for finding in check_block(curator, sums(3)))


@pytest.mark.parametrize("type", sorted(registered("curate")))
def test_curators_that_ship_pass(type):
    fields = {"tags": {"passed": "right", "failed": "wrong"}} if type == "tagged" else {}
    assert check_block(registered("curate")[type].model_validate(fields), sums(3)) == []


class Beyond(Metric):
    """More than its bounds allow, and more each time."""

    type: str = "beyond"
    bounds = (0.0, 1.0)

    def sampler(self):
        return IID(k=2)

    def value(self, group):
        return 2.0 + next(MOODS)


@pytest.mark.parametrize("words", ["which is not in (0.0, 1.0)", "two values of one group differ"])
def test_a_metric_that_is_wrong_is_found(words):
    assert any(words in finding for finding in check_block(Beyond(), sums(2)))


def test_a_scripted_model_says_its_answers_in_turn_and_keeps_what_it_was_asked():
    model = ScriptedModel("one", lambda asked: asked[-1].content.upper())
    (task,) = sums(1)
    one, two, again = asyncio.run(model.chat(task.messages, n=3))
    assert [each.text for each in (one, two, again)] == ["one", "WHAT IS 2 + 3?", "one"]
    assert model.asked == [task.messages]
    (cut,) = asyncio.run(ScriptedModel("three").chat(task.messages, max_tokens=3))
    assert (cut.text, cut.finish_reason, len(cut.token_ids)) == ("thr", "length", len(cut.logprobs))
