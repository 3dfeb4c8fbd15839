"""The curation runner: curators are chained, what an earlier one gave is dropped, and each is checked."""

import pytest

from selftaught.blocks import Curator
from selftaught.core.errors import RoundFailed
from selftaught.curation.runner import curate
from tests.examples import imitated


class Fixed(Curator):
    """Yields the texts that it was made with."""

    type: str = "fixed"
    texts: tuple[str, ...]

    def curate(self, groups, seed):
        for text in self.texts:
            yield imitated("q", text)

    def check(self, given):
        if not given:
            raise RoundFailed("nothing")


def texts(*curators):
    return [example.completion[0].content for example in curate([], curators, seed=0)]


def test_an_example_that_an_earlier_curator_gave_is_dropped():
    assert texts(Fixed(texts=("a", "b")), Fixed(texts=("c", "b")), Fixed(texts=("c", "d"))) == ["a", "b", "c", "d"]


def test_what_one_curator_repeats_on_purpose_stays():
    assert texts(Fixed(texts=("a", "a"))) == ["a", "a"]


def test_each_curator_is_checked_on_its_own():
    with pytest.raises(RoundFailed, match="nothing"):
        texts(Fixed(texts=("a",)), Fixed(texts=()))
