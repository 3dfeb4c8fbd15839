"""What strangers wrote goes to a terminal as text: no escape sequence, no markup, no hidden letter."""

import doctest
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from selftaught.cli.terminal import Terminal
from selftaught.core import characters
from selftaught.core.characters import named
from tests.strategies import NO_INK

HOSTILE = [
    "\x1b]52;c;cHduZWQ=\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "a\u202eb",
    "\u061cx",
    "\U000e0041",
    "\u00ad",
    "\u3164",
]
MARKUP = ["[/red] x.csv", "[bold]x[/bold]", "[link=https://example.com]click[/link]", ":smile:", "[/]", "[x"]


def shown(*what: object) -> str:
    terminal = Terminal()
    terminal.width = 200
    with terminal.capture() as capture:
        terminal.print(*what)
    return capture.get()


def test_the_example_in_the_docstring_holds():
    assert doctest.testmod(characters).failed == 0


@given(st.text(max_size=300) | st.sampled_from([*HOSTILE, *NO_INK]))
def test_nothing_hidden_is_left_of_a_text(text: str):
    left = [letter for letter in named(text) if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert set(left) <= set("\n\t\u200c\u200d")
    assert not set(NO_INK) & set(named(text))
    assert named(named(text)) == named(text)


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S"), exclude_characters=NO_INK)))
def test_ordinary_letters_of_any_script_are_shown_as_they_are(text: str):
    assert named(text) == text


@given(st.text(max_size=200) | st.sampled_from(HOSTILE))
def test_no_control_character_of_a_printed_text_or_cell_reaches_the_terminal(text: str):
    table = Table("name")
    table.add_row(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown(text) + shown(table))


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_text(text: str):
    table = Table("name")
    table.add_row(text)
    assert shown(text).strip() == text
    assert text in shown(table)
