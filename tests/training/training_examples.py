"""What the training tests share beside fixtures."""

from collections.abc import Callable

from selftaught.blocks import TrainContext
from selftaught.records import Example
from tests.examples import imitated

MakeContext = Callable[[str], TrainContext]


def example(prompt: str, completion: str, weight: float = 1.0) -> Example:
    return imitated(prompt, completion, weight=weight)
