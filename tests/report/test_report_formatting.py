"""How the report writes numbers, and what it makes of text that a model wrote."""

import doctest
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.report import formatting
from tests.strategies import NO_INK

INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_the_examples_in_the_docstrings_hold():
    ran = doctest.testmod(formatting)
    assert ran.attempted >= 6
    assert ran.failed == 0


@given(st.floats(0, 1))
def test_a_rate_reads_back_as_itself_to_three_decimals(value: float):
    assert float(formatting.rate(value)) == pytest.approx(value, abs=0.0005001)


@given(st.floats(-1, 1))
def test_the_sign_of_a_difference_is_its_first_character(value: float):
    sign = formatting.signed(value)[0]
    assert sign == ("±" if abs(value) < 0.0005 else "+" if value > 0 else "−") or abs(abs(value) - 0.0005) < 1e-9


@given(st.text(max_size=500))
def test_what_is_shown_of_a_text_has_no_character_that_hides_or_turns_it(text: str):
    assert not INVISIBLE.search(formatting.visible(text))


INKED = st.characters(categories=("L", "N", "P", "S"), include_characters=" \n\t", exclude_characters=NO_INK)


@given(st.text(INKED, max_size=500))
def test_ordinary_text_is_shown_as_it_is(text: str):
    assert formatting.visible(text) == text


def test_a_long_text_is_cut_and_says_by_how_much():
    shown = formatting.visible("a" * 9000)
    assert shown == "a" * formatting.LONGEST_TEXT + " … (5,000 more characters)"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (119.7, "2 min 00 s"), (3600, "1 h 00 min")]
)
def test_durations_never_show_sixty_of_anything(seconds: float, shown: str):
    assert formatting.duration(seconds) == shown
