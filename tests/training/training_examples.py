"""What the training tests share beside fixtures."""

from collections.abc import Callable

from selftaught.blocks import TrainContext
from selftaught.records import Example, Message

MakeContext = Callable[[str], TrainContext]


def example(prompt: str, completion: str, weight: float = 1.0) -> Example:
    return Example(
        prompt=(Message(role="user", content=prompt),),
        completion=(Message(role="assistant", content=completion),),
        task="t",
        rollout="r",
        weight=weight,
    )
