"""What a step does is what it did when it was recorded: losses, gradients, rates, to rounding in float64."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import byte_tokenizer
from tests.training.recorded.cases import CASES, examples, recorded, write_model
from tests.training.recorded.recording import Step, steps


def assert_equal(found: list[Step], expected: list[Step]) -> None:
    """To 1e-9 of the loss, of the gradient's norm and of each weight's gradient."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for figure in ("loss", "grad_norm", "learning_rate"):
            assert one[figure] == pytest.approx(other[figure], rel=1e-9, abs=1e-15), figure
        assert one.get("gradients", {}).keys() == other.get("gradients", {}).keys()
        for name, sketch in other.get("gradients", {}).items():
            assert one["gradients"][name] == pytest.approx(sketch, rel=0, abs=1e-9 * other["grad_norm"]), name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    return {head: write_model(folder / f"{head}", byte_tokenizer(), head) for head in (False, True)}


@pytest.mark.parametrize("name", CASES)
def test_steps_are_as_recorded(name: str, models: dict[bool, Path], tmp_path: Path):
    found: Any = steps(CASES[name], models[name == "value_mse"], examples(), tmp_path)
    assert_equal(found, recorded()[name])
