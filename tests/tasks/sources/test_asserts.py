"""Assert statements as test cases: what is one, what is none, and that nothing of a data set is run."""

import ast
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.tasks.sources.asserts import NoCase, as_check, before

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda some: (
        st.lists(some, max_size=3) | st.tuples(some, some) | st.dictionaries(st.text(max_size=3), some, max_size=2)
    ),
    max_leaves=6,
)


def case(statement: str) -> tuple[list[str], str, float | str | None]:
    """The arguments, what has to come back, and how, of the only case in `statement`."""
    check: Any = as_check([statement], None)
    ((arguments, expected, *how),) = check["hidden"]
    return arguments, expected, how[0] if how else None


@given(st.lists(LITERALS, max_size=3), LITERALS)
def test_what_is_asserted_of_literals_comes_back_as_the_same_values(arguments: list[Any], expected: Any):
    statement = f"assert f({', '.join(map(repr, arguments))}) == {expected!r}"
    given, returned, how = case(statement)
    assert [*map(ast.literal_eval, given)] == arguments
    assert ast.literal_eval(returned) == expected
    assert how is None


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("assert f(1)", (["1"], "True", "truth")),
        ("assert not f(1), 'why'", (["1"], "False", "truth")),
        ("assert f(1) is None", (["1"], "None", None)),
        ("assert 3 == f(1)", (["1"], "3", None)),
        ("assert f(3 * 7) == (1 + 2, 2 ** 3)", (["21"], "(3, 8)", None)),
        ("assert f('a' + 'b', [-1, 1 / 2])", (["'ab'", "[-1, 0.5]"], "True", "truth")),
        ("assert f([{'b', 'a'}]) == {'é', 'a', 'c'}", (["[{'a', 'b'}]"], "{'a', 'c', 'é'}", None)),
        ("assert abs(f(1.5) - 0.5) < 1e-6", (["1.5"], "0.5", 1e-6)),
        ("assert abs(f(1) - 1) <= 1", (["1"], "1", math.nextafter(1, 2))),
        ("assert f(" + "1 + " * 60 + "1)", (["61"], "True", "truth")),
    ],
)
def test_the_forms_that_data_sets_use(statement: str, expected: tuple[list[str], str, float | str | None]):
    assert case(statement) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "assert f(x) == 1",
        "assert f(1) == f(2)",
        "assert f(1) < 2",
        "assert set(f(1)) == set([1])",
        "assert f(n=1) == 2",
        "assert f(1) == 1 == 1",
        "assert f(1) == 1 and f(2) == 2",
        "assert f(1) == 1e999",
        "assert 1 == 1",
        "for x in range(3):\n    assert f(x) == x",
        "assert f(__import__('os').getpid()) == 1",
        "assert f(9 ** 9 ** 9) == 1",
        "assert f('a' * 10 ** 12) == 1",
        "assert f([0] * 10 ** 12) == 1",
        "assert f('%1000000000d' % 1) == 1",
        "assert f(1 / 0) == 1",
        "assert f(1) == (",
        "assert f(1) == '\0'",
        "assert f(" + "(" * 500 + ")" * 500 + ")",
        "x = 1",
        "assert f(1) == 0x" + "f" * 5000,
        "assert f(1) == " + "-" * 450 + "1",
        "assert f(1) == 1 or x" + " + x" * 450,
        "assert abs(f(1) - 1) < 1e400",
        "assert abs(f(1) - 1) < -1",
        "def check(c):\n    assert c(1) == 2",
        "assert f(1) == 1\nif f(2) != 2:\n    raise AssertionError",
        "assert f(1) == 1\nassert_allclose(f(2), 2)",
        "f = g\nassert f(1) == 1",
        "assert f(1) == 1\nf = 3",
        "assert été(1) == 1",
        "assert f(1) == 1\nassert g(1) == 1",
    ],
)
def test_what_is_no_case_makes_a_problem_unreadable(statement: str):
    with pytest.raises(NoCase):
        as_check([statement], None)


def test_a_function_that_asserts_of_its_parameter_asserts_of_the_entry():
    text = "META = {'author': 'x'}\n\ndef check(candidate):\n    assert True, 'simple'\n    assert candidate(1) == 2\n"
    assert as_check([text], "g") == {
        "type": "tests",
        "entry": "g",
        "literals": True,
        "setup": "",
        "visible": [],
        "hidden": [[["1"], "2"]],
    }


def test_only_the_entry_is_what_is_called():
    with pytest.raises(NoCase, match="calls of sorted where f is the function"):
        as_check(["assert sorted([2, 1]) == [1, 2]"], "f")


def test_setup_that_cannot_be_read_makes_a_problem_unreadable():
    for setup in ("x = 0x" + "f" * 5000, "x = 'a'" + " + 'a'" * 450, "x = ("):
        with pytest.raises(NoCase):
            as_check(["assert f(1) == 1"], None, setup)


def test_the_first_cases_are_the_visible_ones():
    check = as_check(["assert f(1) == 1", "assert f(2) == 2"], None, visible=1)
    assert (check["visible"], check["hidden"]) == ([[["1"], "1"]], [[["2"], "2"]])


def test_what_stands_before_a_function_is_its_setup():
    assert before("import math\ndef h(x):\n    return x\n\ndef f(x):\n    '''Says.'''\n", "f") == (
        "import math\ndef h(x):\n    return x"
    )
    assert before("import math", "f") == "import math"
