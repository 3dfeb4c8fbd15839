"""Sameness: one problem in other forms is one, other values are others, and what many texts share says nothing."""

import itertools
import random
import string
import tracemalloc
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.tasks import sameness
from selftaught.tasks.sameness import NGRAM, Common, alike_words, compared, same_text
from selftaught.tasks.splits import Bare, families

BOILERPLATE = "Please read the following little story with care and answer the question at its end now"


def joined(*texts: str, common: Common | None = None) -> list[list[int]]:
    """Which of the texts are one problem."""
    found = families(compared([Bare(text) for text in texts], common).marks)
    return [family for family in found if len(family) > 1]


def nonsense(count: int, length: int, seed: int = 1) -> list[str]:
    """So many texts of words that no two texts share."""
    draw = random.Random(seed)
    return [" ".join("".join(draw.choices(string.ascii_lowercase, k=9)) for _ in range(length)) for _ in range(count)]


# One text in several forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is  2 + 3?", "what is 2 + 3"),
        ("Caf\u00e9 au lait?", "Cafe\u0301 au lait?"),
        ("Tom\u2019s apples", "Tom's apples"),
        ("\u201cTwo\u201d apples", '"Two" apples'),
        ("\uff11\uff12 apples", "12 apples"),
        ("5 \u2212 3", "5 - 3"),
        ("2 \u00d7 3", "2 * 3"),
        ("STRASSE", "stra\u00dfe"),
        ("soft\u00adly", "softly"),
        (".5 litres", "0.5 litres"),
        ("3+4", "3 + 4"),
        ("Which is it ?", "Which is it?"),
        ("**What** is it?", "What is it?"),
        (r"Half is $\frac12$ of it", r"Half is \frac12 of it"),
        ("hello,world", "hello, world"),
        ("one/two", "one / two"),
        ("\u4ed6\u4e70\u4e86 5 \u4e2a\u3002", "\u4ed6\u4e70\u4e865\u4e2a"),
    ],
)
def test_forms_of_one_text(one: str, other: str):
    assert same_text(one) == same_text(other)
    assert joined(one, other) == [[0, 1]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (".5 + 1", "5 + 1"),
        ("What is 7!", "What is 7."),
        ("(a)!", "a"),
        ("n!", "n"),
        ("(3 + 4) * 2", "3 + (4 * 2)"),
        ("2\u00bd cups", "21/2 cups"),
        ("10\u00b2 + 1", "102 + 1"),
        ("log\u2082 8", "log2 8"),
        ("2 + 3 ?", "2 - 3 ?"),
    ],
)
def test_texts_of_other_values(one: str, other: str):
    assert same_text(one) != same_text(other)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_the_unicode_form_of_a_text_does_not_matter(text: str):
    forms = {same_text(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}
    assert len(forms) == 1


# Near copies ----------------------------------------------------------------------------------------------------------

NEAR_COPIES = [
    (
        "\u5c0f\u660e\u670912\u4e2a\u82f9\u679c\uff0c\u4ed6\u53c8\u4e70\u4e865\u4e2a\uff0c\u73b0\u5728\u4ed6\u4e00\u5171\u6709\u591a\u5c11\u4e2a\u82f9\u679c\uff1f",
        "\u5c0f\u7ea2\u67097\u4e2a\u68a8\uff0c\u4ed6\u53c8\u4e70\u4e869\u4e2a\uff0c\u73b0\u5728\u4ed6\u4e00\u5171\u6709\u591a\u5c11\u4e2a\u68a8\uff1f",
    ),
    (
        "\u592a\u90ce\u306f\u308a\u3093\u3054\u309212\u500b\u6301\u3063\u3066\u3044\u307e\u3059\u3002\u3042\u30685\u500b\u8cb7\u3046\u3068\u5168\u90e8\u3067\u4f55\u500b\u306b\u306a\u308a\u307e\u3059\u304b\u3002",
        "\u82b1\u5b50\u306f\u307f\u304b\u3093\u30923\u500b\u6301\u3063\u3066\u3044\u307e\u3059\u3002\u3042\u30688\u500b\u8cb7\u3046\u3068\u5168\u90e8\u3067\u4f55\u500b\u306b\u306a\u308a\u307e\u3059\u304b\u3002",
    ),
    (
        "A farmer drives 12 sheep over the hill to the market and sells 5 of them there before noon.",
        "An old farmer drives 7 sheep over the hill to the market and sells 2 of them there at once.",
    ),
]


@pytest.mark.parametrize(("one", "other"), NEAR_COPIES)
def test_a_near_copy_with_other_names_and_numbers_is_one_problem(one: str, other: str):
    assert joined(one, other, "What is the capital of France?", "\u4eca\u5929\u5929\u6c14\u600e\u4e48\u6837\uff1f") == [
        [0, 1]
    ]


@given(st.integers(0, 5), st.integers(0, 6))
def test_a_run_counts_from_thirteen_words_on(shared: int, extra: int):
    words = [f"w{chr(97 + i)}" for i in range(NGRAM)]
    other = ["start", *words[: NGRAM - shared], *("x" * (i + 1) for i in range(extra))]
    assert bool(joined(" ".join([*words, "end"]), " ".join(other))) == (shared == 0)


def test_the_same_words_with_other_numbers_are_one_problem_where_they_are_few():
    assert joined(*(f"A ship has {n} masts. How many?" for n in range(20)), "A boat has 7 oars.") == [list(range(20))]


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=17), min_size=2, max_size=7))
def test_what_is_joined_is_what_shares_a_run_or_the_whole(texts: list[list[str]]):
    """Against the definition itself, pair by pair; with fewer texts than boilerplate takes."""
    joined = [" ".join(text) for text in texts]
    parts = [{tuple(t)} | {tuple(t[i : i + NGRAM]) for i in range(len(t) - NGRAM + 1)} for t in texts]
    marks = compared([Bare(text) for text in joined], Common()).marks
    for one, other in itertools.combinations(range(len(texts)), 2):
        assert bool(set(marks[one]) & set(marks[other])) == bool(parts[one] & parts[other])


def test_a_text_that_stands_twice_has_one_mark_and_is_still_one_with_its_near_copies():
    """What a file and the line's past both hold: memory is for what they do not."""
    one, near = NEAR_COPIES[2]
    assert [len(marks) for marks in compared([Bare(one)] * 3).marks] == [1, 1, 1]
    assert joined(one, one, near) == [[0, 1, 2]]


# What says nothing ----------------------------------------------------------------------------------------------------


def test_fifteen_words_of_boilerplate_in_half_of_the_questions_join_none():
    texts = [f"{BOILERPLATE}: {text}" if n % 2 else text for n, text in enumerate(nonsense(20, 10))]
    assert joined(*texts) == []


def test_boilerplate_in_one_of_fifty_questions_joins_none_and_what_few_share_still_does():
    texts = [f"{BOILERPLATE}: {text}" if n % 50 == 0 else text for n, text in enumerate(nonsense(1000, 10))]
    copied = " ".join(nonsense(1, 14, seed=2))
    assert joined(*texts, f"{copied} here", f"there {copied}") == [[1000, 1001]]


def test_plain_sums_are_not_one_problem_unless_their_numbers_are_the_same():
    sums = [f"What is {a} + {b}?" for a, b in itertools.product(range(10), range(10, 20))]
    assert joined(*sums, "What is 13 + 4?") == [[sums.index("What is 4 + 13?"), 100]]


def test_long_texts_of_one_template_are_distinguished_by_their_numbers_too():
    sums = [
        f"Please add up the two whole numbers that follow and write the result: {a} and {a + 1}." for a in range(60)
    ]
    assert joined(*sums, *nonsense(5, 20)) == []


def test_what_all_texts_begin_and_end_with_says_nothing_of_any():
    end = "Think step by step and give the final answer as one whole number at the very end of your text."
    assert joined(*(f"Count the {word}. {end}" for word in ("oaks", "elms", "firs"))) == []
    assert joined(*(f"Count the {word}. {end}" for word in ("oaks", "elms"))) == [[0, 1]]


def test_what_is_common_in_many_is_common_in_the_few_that_are_drawn_of_them():
    """A round's tasks are too few to tell; the file's rows count."""
    texts = [f"{BOILERPLATE}: {text}" for text in nonsense(20, 10)] + nonsense(20, 10, seed=3)
    found = compared([Bare(text) for text in texts]).common
    assert joined(texts[0], texts[1]) == [[0, 1]]
    assert joined(texts[0], texts[1], common=found) == []


def test_templated_problems_are_compared_with_plain_ones_alone():
    """They share words on purpose; a plain copy of one with other numbers is the same problem."""
    items = [Bare(NEAR_COPIES[2][0].replace("12", str(n)), "farm", (str(n), "5")) for n in range(40)]
    plain = Bare(NEAR_COPIES[2][0].replace("12", "99"))
    assert [len(marks) for marks in compared(items).marks] == [1] * 40
    marks = [set(own) for own in compared([*items, plain]).marks]
    assert all(marks[-1] & own for own in marks[:-1])


# Alike ----------------------------------------------------------------------------------------------------------------


def test_a_few_other_words_are_warned_of_and_other_texts_are_not():
    one = NEAR_COPIES[2][0]
    other = one.replace("over the hill", "over the green hill").replace("before noon", "this morning")
    rest = nonsense(30, 20)
    assert joined(one, other) == []
    assert alike_words([one, *rest[:15]], [other, *rest[15:]], 0.3) == [(0, 0)]


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=5, max_size=9), min_size=2, max_size=6))
def test_alike_is_the_jaccard_index_of_runs_of_five(texts: list[list[str]]):
    runs = [{tuple(text[i : i + 5]) for i in range(len(text) - 4)} for text in texts]
    joined = [" ".join(text) for text in texts]
    pairs = {
        (i, j)
        for i, one in enumerate(runs[:1])
        for j, other in enumerate(runs[1:])
        if len(one & other) >= 0.5 * len(one | other)
    }
    assert set(alike_words(joined[:1], joined[1:], 0.5)) == pairs


# At any number --------------------------------------------------------------------------------------------------------


def test_marks_sorted_in_parts_and_hashed_in_batches_are_the_same(monkeypatch: pytest.MonkeyPatch):
    texts = [Bare(text) for text in (*nonsense(40, 20), *(near for pair in NEAR_COPIES for near in pair))]
    full = _sets(compared(texts).marks)
    monkeypatch.setattr(sameness, "BATCH", 7)
    monkeypatch.setattr(sameness, "LARGE", 1)
    assert _sets(compared(texts).marks) == full


def _sets(marks: Sequence[sameness.Marks]) -> list[set[object]]:
    return [set(own) for own in marks]


def test_a_text_of_sixty_words_takes_less_than_two_kilobytes_beside_itself():
    draw, vocabulary = random.Random(1), nonsense(500, 1)
    texts = [Bare(" ".join(draw.choices(vocabulary, k=60))) for _ in range(10_000)]
    compared(texts[:100])  # whose words are known from then on
    tracemalloc.start()
    compared(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / len(texts) < 2048
