"""Final answers: number formats, the places where an answer is looked for, and texts that give none or several."""

import re
import subprocess
import sys
import threading
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from math_verify import parser

from selftaught.core.computing_time import ROOM, share
from selftaught.verification.answers import compared, equal, final_answer, number, says
from selftaught.verification.symbolic import symbolically_equal
from tests.verification.answer_cases import EQUAL, TEXTS, UNEQUAL

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
@example(value=Decimal("0.5"), apart=Decimal("0.4"))
def test_numbers_are_equal_when_they_are_within_the_tolerance_absolutely_and_relatively(value, apart):
    assert equal(f"{value + apart:,}", str(value), tolerance=0.5) == (abs(apart) <= min(1, abs(value)) / 2)


@given(figure=st.integers(1, 999), other=st.integers(1, 999), power=st.integers(-60, 60))
def test_small_numbers_differ_as_large_ones_do(figure, other, power):
    for writing in ("{}e{}", r"{} \times 10^{{{}}}", "{}x10^{}"):
        assert equal(writing.format(figure, power), f"{other}e{power}") == (figure == other)
    assert not equal(f"{figure}e{power}", "0")


@given(over=st.integers(1, 999), under=st.integers(1, 10**9), step=st.integers(1, 9))
def test_fractions_of_whole_numbers_are_exact(over, under, step):
    assert equal(f"{over}/{under}", rf"\frac{{{2 * over}}}{{{2 * under}}}")
    assert not equal(f"{over}/{under}", f"{over}/{under + step}")


@given(
    sign=st.sampled_from(["", "-", "\N{MINUS SIGN}", "\N{EN DASH}", "+"]),
    integer=st.integers(0, 99),
    over=st.integers(1, 99),
    under=st.integers(1, 99),
    writing=st.sampled_from(["{} {}/{}", r"{}\frac{{{}}}{{{}}}", r"{} \tfrac{{{}}}{{{}}}", "{} {} / {}"]),
)
def test_the_sign_of_a_mixed_number_is_of_all_of_it(sign, integer, over, under, writing):
    value = (integer + Fraction(over, under)) * (1 if sign in ("", "+") else -1)
    text = sign + writing.format(integer, over, under)
    assert number(text) == (value, False)
    assert equal(text, f"{value.numerator}/{value.denominator}")
    assert not equal(text, str(-value))
    read = final_answer(f"So in the end it is {text} cups.")
    assert number(read).value == value


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
        ("that is 10-5", "10-5"),
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


@pytest.mark.parametrize(("text", "right", "wrong"), TEXTS, ids=range(len(TEXTS)))
def test_a_number_is_read_with_all_that_it_is_part_of(text, right, wrong):
    answer = final_answer(text)
    passes = {gold: answer is not None and (equal(answer, gold) or says(text, gold)) for gold in (*right, *wrong)}
    assert passes == {**dict.fromkeys(right, True), **dict.fromkeys(wrong, False)}, answer


@pytest.mark.parametrize(("answer", "gold"), EQUAL)
def test_what_is_written_in_another_way_is_equal(answer, gold):
    assert equal(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), UNEQUAL)
def test_what_only_looks_alike_is_unequal(answer, gold):
    assert not equal(answer, gold)


@pytest.mark.parametrize(
    "text",
    [
        "<think>3 + 4 = 7, wait, maybe it is 12",
        "<think>The answer is 12.\nBut wait",
        "<thinking>\n#### 12\n",
        r"\boxed{12",
        r"It is 12, so \boxed{12",
        r"The answer is 12. \boxed{\frac{12}{1}",
        r"<think>It is \boxed{12}",
        "<think>a</think><think>It is 12",
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_nothing_is_read_from_what_is_open(text, finished):
    assert final_answer(text, finished=finished) is None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 7",
        "The answer is 7.",
        "The answer is 7,",
        "#### 7",
        "Answer: $7",
        "3 + 4 = 7",
        "So it is 7. Let me check",
        "The answer is 7 mill",
        "The answer is 7 an",
        "The answer is 7 / ",
        "The answer is Par",
        "7",
    ],
)
def test_of_what_was_cut_off_nothing_is_read_that_may_go_on(text):
    assert final_answer(text, finished=False) is None
    assert final_answer(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        r"So \boxed{7}",
        "The answer is 7.\n",
        "The answer is 7. Let me check: 7 - 4",
        "The answer is 7, because 3 + 4",
        "#### 7\n\nThe next",
        "The answer is 7 apples, and",
        "The answer is: $7$. I hope",
        "Final answer:\n\\[\n7\n\\]\nNow",
        "<think>12</think>The answer is 7.\n\nBut",
    ],
)
def test_what_is_stated_whole_counts_though_the_rest_was_cut_off(text):
    assert equal(final_answer(text.rstrip(" "), finished=False), "7")


def test_a_name_with_a_number_in_it_is_a_name():
    assert says("The answer is Apollo 11.", "Apollo 11")
    assert says("Apollo 11", "Apollo 11")
    assert not says("The answer is Apollo 12.", "Apollo 11")
    assert not says("So it is $\\boxed{7}$.", "So it is $\\boxed{7}$.")


@given(text=st.text())
def test_no_text_breaks_the_search(text):
    answer = final_answer(text)
    assert answer is None or answer.strip()


@given(text=st.text(alphabet="0123456789 .,+-*/^(){}[]\\\\$abx=\\n%", max_size=60))
def test_no_mathematics_breaks_reading_or_comparing(text):
    for finished in (True, False):
        answer = final_answer(text, finished=finished)
        assert answer is None or equal(answer, answer)
    number(text)


@pytest.mark.parametrize(
    "writing",
    [
        "{0}",
        "1 + {0}",
        "{0} + 1/2",
        r"\boxed{{{0}}}",
        r"\frac{{{0}}}{{2}}",
        r"\text{{{0}}}",
        "The answer is 2*({0})",
        "x = {0}",
        r"\int 3+4*{0} \sum",
    ],
)
def test_what_a_model_says_is_never_run_as_python(writing, tmp_path, monkeypatch):
    """sympy's `parse_expr` evaluates what it is given: of an answer, a number at most."""
    given_ = []
    parse = parser.parse_expr
    monkeypatch.setattr(parser, "parse_expr", lambda text, **how: given_.append(text) or parse(text, **how))
    marker = tmp_path / "run"
    code = f"__import__('pathlib').Path('{marker}').touch()"
    said = writing.format(code)
    for text in (said, said.replace("'", '"'), said.replace("__", r"\_\_"), said.replace("_", "")):
        final_answer(text)
        number(text)
        for gold in ("7", "x^2"):
            symbolically_equal(text, gold, 0.0)
            equal(text, gold)
            says(text, gold)
    assert [text for text in given_ if not re.fullmatch(r"[\d\s.+*/()×÷-]*", text)] == []
    assert not marker.exists()


ENDLESS = [r"9^{9^9}", r"((9!)!)!", r"\binom{10^9}{10^8}!"]


@pytest.mark.parametrize("answer", ENDLESS)
def test_what_is_too_much_to_compare_is_given_up(answer):
    """9^9^9 has 370 million digits, which would take hours."""
    start = time.process_time()
    assert not equal(answer, "12345")
    assert time.process_time() - start < 60


def test_what_is_too_much_to_compare_takes_no_more_memory_than_a_comparison_may():
    """One multiplication of such numbers is a single call, which takes tens of gigabytes where nothing stops it."""
    code = (
        "import resource; from selftaught.verification.answers import equal\n"
        "before = resource.getrlimit(resource.RLIMIT_AS)\n"
        f"for text in {[*ENDLESS, *(f'((({n}!)!)!)!' for n in range(9, 14))]!r}: assert not equal(text, '12345')\n"
        "assert resource.getrlimit(resource.RLIMIT_AS) == before\n"
        # not ru_maxrss: a child begins with that of the process which started it, here the entire test run's
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    )
    taken = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(taken) * 1024 < 2 * ROOM


def test_many_answers_together_have_no_more_time_than_one():
    start = time.process_time()
    boxes = "".join(rf"\boxed{{\int_0^{{\pi}} \sin^{{{n}}}(x)\cos^{{{n + 2}}}(x) dx}}" for n in range(30, 50, 2))
    with share(1.0):
        assert final_answer(boxes) is None
        assert not any(equal(rf"((({n}!)!)!)!", "12345") for n in range(9, 14))
    assert time.process_time() - start < 30


@pytest.mark.parametrize("text", [r"\boxed{" * 20_000, r"\boxed{7}" * 20_000, r"\boxed{" * 20_000 + "}" * 20_000])
def test_boxes_are_read_in_one_pass(text):
    start = time.process_time()
    final_answer(text)
    assert time.process_time() - start < 20


def test_more_digits_than_python_reads_are_text():
    assert equal("7" * 5000, "7" * 5000)
    assert not equal("7" * 5000, "7")
    assert not equal("0." + "142857" * 900, "1/7")
    assert number("1e99999") is None


def test_formulas_compare_in_other_threads_too():
    """A signal reaches the main thread alone; in another there is no limit, and no error either."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(equal(r"3\sqrt{2}", r"\sqrt{18}")))
    thread.start()
    thread.join()
    assert seen == [True]


@pytest.mark.parametrize(
    "answer", [r"\lim_{x\to0}\frac{\cos x}{x}", r"\sum_{i=1}^{\infty} i", r"\int_0^\infty x dx", r"\lim_{n\to\infty} n"]
)
def test_what_sympy_breaks_on_is_no_answer_and_no_error(answer):
    """A limit has no order beside a number, says a TypeError of sympy: all rollouts of the task were errors."""
    assert compared(answer, "x+1") != "equal"
    assert compared(answer, "12") != "equal"


def test_a_tagged_answer_counts_though_the_rest_was_cut_off():
    assert final_answer("<answer>12</answer> As 3", finished=False) == "12"
    assert final_answer("<answer>12", finished=False) is None
