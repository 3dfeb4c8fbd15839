"""i.i.d. sampling: one request, and rollouts that carry what the engine gave."""

import pytest
from pydantic import ValidationError

from selftaught.blocks import Completion, Context
from selftaught.records import Message, Task
from selftaught.sampling.iid import IID

TASK = Task(
    messages=(Message(role="system", content="Be brief."), Message(role="user", content="1 + 1?")), source="test"
)


class Recorder:
    """A ChatModel that answers with numbers and keeps what it was asked."""

    digest = "d1"

    def __init__(self):
        self.asked = []

    async def chat(self, messages, **options):
        self.asked.append((list(messages), options))
        return [Completion(str(i), (i, 7), (-0.5, -0.25), "stop", 11) for i in range(options["n"])]


async def sampled(**fields):
    model = Recorder()
    return model.asked, await IID(**fields).sample(TASK, Context(models={"policy": model}))


async def test_k_rollouts_come_from_one_request():
    asked, group = await sampled(k=5, temperature=0.7, max_tokens=96, stop=("\n\n",))
    assert asked == [(list(TASK.messages), {"n": 5, "temperature": 0.7, "max_tokens": 96, "stop": ("\n\n",)})]
    assert [r.index for r in group.rollouts] == [0, 1, 2, 3, 4]


async def test_a_rollout_carries_what_the_engine_gave():
    _, group = await sampled(k=2, temperature=0.7)
    rollout = group.rollouts[1]
    assert (rollout.task, rollout.model, rollout.temperature, rollout.finish_reason) == (TASK.id, "d1", 0.7, "stop")
    assert (rollout.turns[0].token_ids, rollout.turns[0].logprobs) == ((1, 7), (-0.5, -0.25))
    assert (rollout.prompt_tokens, rollout.completion_tokens, rollout.hinted) == (11, 2, False)


async def test_system_takes_the_place_of_the_tasks_own_in_the_prompt_alone():
    asked, group = await sampled(k=1, system="Think first.")
    assert [(m.role, m.content) for m in asked[0][0]] == [("system", "Think first."), ("user", "1 + 1?")]
    assert group.task == TASK


async def test_shots_come_before_the_task_in_the_prompt_alone():
    asked, group = await sampled(k=1, shots=[{"question": "2 + 2?", "answer": "4"}])
    assert [m.content for m in asked[0][0]] == ["Be brief.", "2 + 2?", "4", "1 + 1?"]
    assert [m.role for m in asked[0][0]] == ["system", "user", "assistant", "user"]
    assert group.task == TASK


def test_greedy_decoding_is_single():
    assert IID(k=1, temperature=0).k == 1
    with pytest.raises(ValidationError, match="k: 8 with temperature: 0"):
        IID(temperature=0)


def test_the_cost_of_a_task_is_all_of_its_new_tokens():
    assert IID(k=8, max_tokens=96).cost() == 768
