"""Labelled: what metrics have in common that measure a sampler of their own, of which a stage may have several."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from selftaught.blocks import Metric, OneOf, Sampler

Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9@_-]*$", description="the metric's name")]


class Labelled(Metric):
    """Measures `sample`; its scores are named `label`."""

    label: Label
    sample: Annotated[Sampler, OneOf("sample"), Field(description="what is measured, such as a dialogue or a search")]

    @property
    def name(self) -> str:
        """The metric as its scores name it."""
        return self.label

    def sampler(self) -> Sampler:
        """What is measured."""
        return self.sample


def share(held: Sequence[bool]) -> float:
    """The share of what holds; 0 of nothing."""
    return sum(held) / len(held) if held else 0.0
