"""Which part of an answer is its program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.code_blocks import program

DOUBLE = "def double(x):\n    return 2 * x\n"
OTHER = "def other(x):\n    return x\n"


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{DOUBLE}```",
        f"Sure, here it is:\n\n```\n{DOUBLE}```\nIt doubles `x`.",
        f"First try:\n```py\ndef double(x): return x\n```\nNo, better:\n```py\n{DOUBLE}```",
        f"```python\n{DOUBLE}```\nIt is used like this:\n```python\nprint(double(2))\n```",
        f"```python\n{DOUBLE}",
        f"1. Do this:\n   ```python\n{''.join('   ' + line for line in DOUBLE.splitlines(keepends=True))}   ```\n",
        DOUBLE,
        f"The function is\n{DOUBLE}Here x is a number.",
        f"{DOUBLE}\nThis function doubles x, and returns it.",
    ],
    ids=[
        "fenced",
        "in prose",
        "the last",
        "the one that defines it",
        "cut off",
        "in a list",
        "bare",
        "after",
        "before",
    ],
)
def test_the_program_is_found(text: str):
    assert (program(text, "double") or "").strip() == DOUBLE.strip()


def test_without_the_function_it_is_the_last_block():
    assert program(f"```\n{DOUBLE}```\n```\n{OTHER}```", "third") == OTHER


def test_imports_helpers_constants_and_tests_belong_to_a_bare_program():
    code = f"import math\nLIMIT: int = 3\n@cache\ndef a():\n    return (\n        1\n)\n\n{DOUBLE}\n# the end\n"
    assert program(f"I think so.\n{code}So it is.", "double") == code


@pytest.mark.parametrize("text", ["", "I do not know.", "default: 3\nimport duties are high, and so on.", "```\n```"])
def test_prose_has_none(text: str):
    assert program(text, "double") is None


@given(st.text(alphabet="`ab \n\\def():=", max_size=60))
def test_any_text_is_read(text: str):
    found = program(text, "a")
    assert found is None or found.strip("\n")
