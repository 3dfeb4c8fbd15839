"""The order of a run: every example the right number of times, the same for the same seed, little padding."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from selftaught.training.order import length_grouped, prompt_grouped, shuffled

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=300)


@given(count=st.integers(1, 50), epochs=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_pass_is_a_permutation(count: int, epochs: int, seed: int):
    order = shuffled(range(count), epochs, seed)
    passes = [order[i : i + count] for i in range(0, len(order), count)]
    assert len(passes) == epochs
    assert all(sorted(one) == list(range(count)) for one in passes)


def test_a_fraction_of_an_epoch_sees_that_share_of_the_examples():
    assert len(shuffled(range(10), 1.5, 0)) == 15
    assert len(set(shuffled(range(10), 0.4, 0))) == 4


@given(lengths=lengths, batch_size=st.integers(1, 9), seed=st.integers(0, 99))
def test_grouping_neither_loses_nor_doubles(lengths: list[int], batch_size: int, seed: int):
    order = shuffled(range(len(lengths)), 2, seed)
    assert Counter(length_grouped(order, lengths, batch_size, seed)) == Counter(order)


@given(lengths=lengths, seed=st.integers(0, 99))
def test_grouping_is_the_same_for_the_same_seed(lengths: list[int], seed: int):
    order = shuffled(range(len(lengths)), 1, seed)
    assert length_grouped(order, lengths, 4, seed) == length_grouped(order, lengths, 4, seed)


def test_grouping_takes_away_most_of_the_padding():
    lengths = [80 + 13 * i % 70 for i in range(151)]
    order = shuffled(range(151), 2, 0)

    def padding(order: list[int]) -> float:
        batches = [[lengths[i] for i in order[at : at + 8]] for at in range(0, len(order), 8)]
        return sum(max(b) * len(b) for b in batches) / sum(map(sum, batches)) - 1

    assert padding(order) > 0.2
    assert padding(length_grouped(order, lengths, 8, 0)) < 0.05


@given(count=st.integers(8, 50), seed=st.integers(0, 99))
def test_no_two_passes_come_in_the_same_order(count: int, seed: int):
    """Of 8! orders, so that chance is 1 in 40,000; with and without prompts."""
    for order in (shuffled(range(count), 2, seed), prompt_grouped(range(count), range(count), 2, seed)):
        assert order[:count] != order[count:]


@given(prompts=st.lists(st.integers(0, 9), min_size=1, max_size=60), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_pass_is_a_permutation_with_the_examples_of_a_prompt_together(prompts: list[int], epochs: int, seed: int):
    order = prompt_grouped(range(len(prompts)), prompts, epochs, seed)
    passes = [order[at : at + len(prompts)] for at in range(0, len(order), len(prompts))]
    assert len(passes) == epochs
    for one in passes:
        assert sorted(one) == list(range(len(prompts)))
        changes = sum(prompts[a] != prompts[b] for a, b in pairwise(one))
        assert changes == len(set(prompts)) - 1
