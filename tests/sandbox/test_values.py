import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.values import NotPlain, decode, encode, same

KEYS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    KEYS | st.just(math.nan) | st.sets(KEYS, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: object):
    back = decode(encode(value))
    assert same(value, back)
    assert repr(back) == repr(value) or any(mark in repr(value) for mark in ("set", "{"))


@given(VALUES, VALUES)
def test_equal_means_equal_to_python_and_of_one_type(one: object, other: object):
    assert same(one, one)
    if same(one, other):
        assert type(one) is type(other)
        assert one == other or "nan" in repr(one)
    elif type(one) is type(other) and type(one) in (str, bytes, int):
        assert one != other


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), ([1], (1,)), ({1}, {True}), ({1: 0}, {True: 0}), ([0], [False]), ({1}, frozenset({1}))],
)
def test_what_python_calls_equal_but_is_of_another_type_is_not_the_same(one: object, other: object):
    assert not same(one, other)
    assert not same(other, one)


def test_the_order_of_a_dict_does_not_matter_and_minus_zero_is_zero():
    assert same({1: [0.0], 2: {3}}, {2: {3}, 1: [-0.0]})


class Always(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize("value", [Always(3), object(), print, [Always(1)], {"x": range(3)}, ...])
def test_what_is_no_plain_data_has_no_text(value: object):
    with pytest.raises(NotPlain):
        encode(value)


def test_a_value_nested_too_deeply_has_no_text():
    value: list[object] = []
    value.append(value)
    with pytest.raises(NotPlain):
        encode(value)


@given(st.binary() | st.text() | st.builds(json.dumps, st.recursive(st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.sampled_from(["int", "float", "list", "set", "dict", "bytes", "complex"]), i))))  # fmt: skip # noqa: E501
def test_any_text_is_a_value_or_refused(text: str | bytes):
    try:
        value = decode(text)
    except NotPlain:
        return
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"list":[' * 5000, '{"set":[{"list":[]}]}', '{"int":"0x"}', "1", "[]"]
)
def test_text_that_stands_for_no_value_is_refused(text: str):
    with pytest.raises(NotPlain):
        decode(text)


def test_an_integer_of_many_digits_is_read_in_no_time():
    value = 7**100_000
    assert decode(encode(value)) == value
