"""A model that has learnt to like itself, and nothing else, is not promoted: its opinion trains, and never measures."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from pydantic import ValidationError

from selftaught.blocks import ChatModel, Completion, Context, Evidence, Sampler, Verifier
from selftaught.evaluation.accuracy import Accuracy
from selftaught.evaluation.paired_gain import PairedGain
from selftaught.evaluation.runner import evaluate
from selftaught.recipe import Recipe, load_blocks
from selftaught.records import Group, Message, Task, TaskScore, Verdict
from selftaught.verification.runner import verify

load_blocks()
TASKS = [
    Task(messages=(Message(role="user", content=f"What is {n}?"),), answer=str(n), source="s", split="gate")
    for n in range(200)
]
GATE = PairedGain(metric="mean@4", guard="none")


class Opinion(Verifier, type="opinion"):
    """Pass what the model in `role` says is right."""

    role: str = "policy"

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        asked = [Message(role="user", content=f"Is it right? {each.text}") for each in group.rollouts]
        said = [await context.model(self.role).chat([each], temperature=0.0) for each in asked]
        return [Verdict.of(self.name, each[0].text == "yes") for each in said]


class Scripted:
    """A policy that answers right by chance, `skill` of the time, and likes what it wrote `vanity` of the time."""

    def __init__(self, digest: str, skill: float, vanity: float) -> None:
        self.digest, self.skill, self.vanity = digest, skill, vanity

    async def chat(self, messages: Sequence[Message], *, n: int = 1, **_: Any) -> list[Completion]:
        asked = messages[-1].content
        if asked.startswith("Is it right?"):
            return [self._said("yes" if self._luck(asked) < self.vanity else "no")]
        gold = asked.removeprefix("What is ").removesuffix("?")
        return [self._said(gold if self._luck(f"{asked} {i}") < self.skill else "nothing of that") for i in range(n)]

    def _luck(self, text: str) -> float:
        return int.from_bytes(sha256(f"{self.digest} {text}".encode()).digest()[:4], "big") / 2**32

    def _said(self, text: str) -> Completion:
        return Completion(text, (1,), (-0.1,), "stop", 1)


async def measured(model: ChatModel, metric: Accuracy) -> list[TaskScore]:
    context = Context(models={"policy": model}, asked=metric.roles())

    async def sample(tasks: Sequence[Task], sampler: Sampler) -> list[Group]:
        return [await sampler.sample(task, context) for task in tasks]

    async def verified(groups: Sequence[Group], verifiers: Sequence[Verifier]) -> list[Group]:
        return await verify(groups, verifiers, context, lambda *_, **__: None)

    return await evaluate(TASKS, [metric], context, sample, verified)


@pytest.mark.parametrize(("verify", "outcome"), [((), "refused"), ((Opinion(),), "promoted")])
async def test_noise_that_likes_itself_is_refused_by_the_tasks_own_check(verify: tuple[Verifier, ...], outcome: str):
    """Measured by its own opinion, as by a stage's `verify`, it would be promoted: nothing here can refuse it."""
    metric = Accuracy(greedy=False, k=4).model_copy(update={"verify": verify})
    before, after = Scripted("a" * 64, skill=0.3, vanity=0.3), Scripted("b" * 64, skill=0.3, vanity=0.95)
    scores = [*await measured(before, metric), *await measured(after, metric)]
    evidence = Evidence(champion=before.digest, challenger=after.digest, scores=scores, round=1, fresh=True)
    assert GATE.decide(evidence).outcome == outcome


@pytest.fixture
def opinions() -> None:
    """The verifier of this module, known to recipes."""
    from selftaught.blocks import registered
    from selftaught.recipe import Stage
    from selftaught.recipe.sets import EvaluationSet

    for cls in (*registered("evaluate").values(), EvaluationSet, Stage, Recipe):
        cls.model_rebuild(force=True)


def stages(**metric: Any) -> dict[str, Any]:
    """A recipe that trains by an opinion, and is decided by the metric."""
    return {
        "name": "own-opinion",
        "tasks": {"type": "word_problems", "train": 4, "gate": 4, "report": 4},
        "stages": [
            {
                "sample": {"type": "iid", "k": 2},
                "verify": {"type": "opinion"},
                "curate": {"type": "accepted"},
                "train": {"type": "sft"},
                "evaluate": [{"type": "accuracy", **metric}],
                "gate": {"type": "paired_gain", "guard": "none"},
            }
        ],
    }


@pytest.mark.usefixtures("opinions")
def test_a_gate_is_not_measured_by_the_policys_opinion_of_itself():
    policy, judged = {"policy": "smollm2-135m-instruct"}, {"verify": {"type": "opinion", "role": "judge"}}
    Recipe.model_validate(stages() | {"models": policy})
    Recipe.model_validate(stages(**judged) | {"models": policy | {"judge": "smollm2-360m-instruct"}})
    for metric in (judged, {"verify": [{"type": "answer_match"}, {"type": "opinion"}]}):
        with pytest.raises(ValueError, match="a model's opinion of itself"):
            Recipe.model_validate(stages(**metric) | {"models": policy})


@pytest.mark.usefixtures("opinions")
def test_nor_on_a_named_set_that_it_looks_at():
    own = {"tasks": {"type": "word_problems", "levels": [3], "train": 1, "gate": 1, "report": 4}}
    own |= {"metrics": {"type": "accuracy", "verify": {"type": "opinion"}}}
    given = stages() | {"models": {"policy": "smollm2-135m-instruct"}}
    Recipe.model_validate(given | {"sets": {"ood": own}})
    with pytest.raises(ValidationError, match=r"sets\.ood\.metrics\.accuracy\.verify: 'opinion' asks the policy model"):
        Recipe.model_validate(given | {"sets": {"ood": own | {"margin": 0.1}}})
