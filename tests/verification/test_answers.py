"""Final answers: number formats, the places where an answer is looked for, and texts that give none or several."""

import threading
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selftaught.verification.answers import equal, final_answer, number

DECIMALS = st.decimals(min_value=-(10**9), max_value=10**9, places=3, allow_nan=False)

WRITINGS = {
    "plain": "{0}",
    "thousands": "{0:,}",
    "dollars": "${0:,}",
    "boxed-style dollars": r"\${0}",
    "unit": "{0} apples",
    "latex unit": r"{0}\text{{ km}}",
    "equation": "x = {0}",
    "full stop": "{0}.",
    "bold": "**{0}**",
    "exponent": "{0}e0",
    "over one": r"\frac{{{0}}}{{1}}",
}


@pytest.mark.parametrize("writing", WRITINGS.values(), ids=WRITINGS)
@given(value=DECIMALS)
def test_every_writing_of_a_number_has_its_exact_value(writing, value):
    text = writing.format(value)
    assert number(text) == (Fraction(value), False)


@given(value=DECIMALS, apart=st.decimals(min_value=-1, max_value=1, places=3))
@example(value=Decimal(7), apart=Decimal("0.5"))
def test_numbers_are_equal_when_their_values_are_within_the_tolerance(value, apart):
    assert equal(f"{value + apart:,}", str(value), tolerance=0.5) == (abs(apart) <= 0.5)


@given(over=st.integers(-999, 999), under=st.integers(1, 999))
def test_a_fraction_equals_its_decimals_and_its_latex(over, under):
    assert equal(f"{over}/{under}", rf"\dfrac{{{over}}}{{{under}}}", tolerance=0)
    assert equal(f"{over / under:.9f}", f"{over}/{under}")


@given(value=st.integers(1, 10_000))
def test_a_percentage_equals_its_figure_and_its_hundredth_only(value):
    assert all(equal(f"{value}%", gold) for gold in (str(value), str(value / 100), rf"{value}\%"))
    assert equal(str(value), f"{value}%")
    assert not equal(f"{value}%", str(value + 1))
    assert not equal(f"{value}%", str(value * 100))


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("1/2", r"\frac12"),
        ("2 1/2 cups", "2.5"),
        (r"2\frac{1}{2}", "5/2"),
        ("0.333333", "1/3"),
        ("1.2e3", "1,200"),
        ("1{,}234", "1234"),
        ("\N{MINUS SIGN}5", "-5"),
        ("2.5 million", "2500000"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("x^2+2x+1", "(x+1)^2"),
        (r"1.2 \times 10^5", "120000"),
        ("(1, 2]", "(1,2]"),
        ("3 + 4", "7"),
        ("4 and 3", "3, 4"),
        ("5 km^2", "5"),
        ("(B)", "b"),
        (r"\text{Paris}", "paris"),
    ],
)
def test_equal_in_value(answer, gold):
    assert equal(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("0.33", "1/3"),
        ("3 or 4", "4"),
        ("2x", "2"),
        ("3 pi", "3"),
        ("5 and 6", "5"),
        ("12 apples and 3 pears", "12"),
        ("1/0", "1"),
        ("listen", "silent"),
        ("twelve", "12"),
        ("", "0"),
        ("(1,2)", "[1,2]"),
    ],
)
def test_not_equal(answer, gold):
    assert not equal(answer, gold)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"It is 3. \boxed{\frac{1}{2}} The answer is 4.", r"\frac{1}{2}"),
        (r"\boxed{0.5}, that is \boxed{1/2}", "1/2"),
        ("6 * 7 = 42\n#### 42", "42"),
        ("The answer is 7 because 3 + 4 = 7 and not 12.", "7"),
        ("**Answer:** 3 + 4 = 7", "7"),
        ("The final answer is: $\\frac{1}{2}$. I hope it helps 3 people.", "$\\frac{1}{2}$"),
        ("The answer is 5. Wait, no. The answer is 6.", "6"),
        ("The answer is Paris.", "Paris"),
        ("So she has 12 + 5 = 17 apples.", "17"),
        ("She pays $1,234.50 in all.", "$1,234.50"),
        ("It fell to -5 degrees", "-5"),
        ("that is 10-5", "5"),
        (r"2\sqrt{3}", r"2\sqrt{3}"),
        ("x = 31 - 8 = 23", "23"),
        ("It is H2O, 3 of it, and no C6", "3"),
        ("Therefore $12 + 5 = 17$", "17"),
        ("so 50% of them", "50%"),
        ("<think>It is 5, answer is 5.</think> 6", "6"),
        ("Yes", "Yes"),
    ],
)
def test_where_the_answer_is_found(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        r"\boxed{3} or \boxed{4}",
        "I am sorry, but this is more than I can work out.",
        "<think>It is 5.</think>",
    ],
)
def test_texts_without_a_single_final_answer(text):
    assert final_answer(text) is None


@given(text=st.text())
def test_no_text_breaks_the_search(text):
    answer = final_answer(text)
    assert answer is None or answer.strip()


def test_an_endless_power_is_given_up():
    """math-verify's time limit holds: 9^9^9 has 370 million digits, which would take hours."""
    start = time.monotonic()
    assert not equal("9^{9^9}", "12345")
    assert time.monotonic() - start < 60


def test_formulas_compare_in_other_threads_too():
    """math-verify's SIGALRM raises outside the main thread; there it is switched off."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(equal(r"3\sqrt{2}", r"\sqrt{18}")))
    thread.start()
    thread.join()
    assert seen == [True]
