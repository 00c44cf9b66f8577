"""Batch plans cover every example once; packed batches give the tokens back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grunlock.data import evaluation_batches, plan_batches
from grunlock.data.store import TokenStore
from grunlock.recipe.schema import ExampleBatches, TokenBatches
from grunlock.text import TokenTypes

lengths_strategy = st.lists(st.integers(1, 60), min_size=1, max_size=200).map(np.array)
options_strategy = st.builds(
    lambda kind, size, window: kind(size=size, window_batches=window),
    st.sampled_from([ExampleBatches, TokenBatches]),
    st.integers(1, 80),
    st.integers(1, 5),
)


def assert_within(batches, lengths, size):
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].sum() <= size


@given(lengths_strategy, options_strategy)
def test_every_example_once_an_epoch(lengths, options):
    batches = plan_batches(lengths, options, seed=3, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    if options.kind == "tokens":
        assert_within(batches, lengths, options.size)
    else:
        assert all(0 < len(batch) <= options.size for batch in batches)
        assert sum(len(batch) < options.size for batch in batches) <= 1
    again = plan_batches(lengths, options, seed=3, epoch=1)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


@given(lengths_strategy, st.integers(1, 100))
def test_evaluation_batches_are_sorted_and_within_budget(lengths, max_tokens):
    batches = evaluation_batches(lengths, max_tokens)
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) >= 0).all()
    assert_within(batches, lengths, max_tokens)


def test_epochs_and_seeds_differ_and_windows_sort():
    lengths = np.arange(1, 1001)
    options = ExampleBatches(size=10, window_batches=100)
    plans = [
        np.concatenate(plan_batches(lengths, options, s, e)).tolist() for s, e in [(0, 0), (0, 1), (1, 0)]
    ]
    assert len({tuple(plan) for plan in plans}) == 3
    spans = [np.ptp(lengths[batch]) for batch in plan_batches(lengths, options, 0, 0)]
    assert max(spans) == 9
    unsorted = plan_batches(lengths, ExampleBatches(size=10, window_batches=1), 0, 0)
    assert np.mean([np.ptp(lengths[batch]) for batch in unsorted]) > 500


def store_of(sequences, num_types=31):
    offsets = np.concatenate(([0], np.cumsum([len(s) for s in sequences])))
    tokens = np.concatenate([np.array(s, np.int32) for s in sequences])
    return TokenStore(tokens, offsets, np.arange(len(sequences), dtype=np.int32), "", TokenTypes(num_types))


@given(
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_a_batch_gives_the_tokens_back(sequences, random):
    store = store_of(sequences)
    examples = random.sample(range(len(sequences)), random.randint(1, len(sequences)))
    batch = store.batch(np.array(examples))
    packed = batch.inputs.vocab_ids[batch.inputs.inverse]
    read = [[] for _ in examples]
    row = 0
    for running in batch.layout.batch_sizes:
        for sequence in range(running):
            read[sequence].append(int(packed[row]))
            row += 1
    assert row == batch.layout.num_rows == len(packed)
    assert read == [sequences[i] for i in batch.examples]
    assert batch.targets.tolist() == batch.examples.tolist()
    assert sorted(batch.examples.tolist()) == sorted(examples)
    assert [examples[i] for i in batch.layout.order] == batch.examples.tolist()


def test_types_of_a_batch():
    batch = store_of([[1, 2], [3]]).batch(np.array([1, 0]))
    assert {batch.targets.dtype, batch.examples.dtype, batch.inputs.inverse.dtype} == {np.dtype(np.int64)}


@pytest.mark.parametrize("options", [ExampleBatches(size=4), TokenBatches(size=4)])
def test_one_long_example_is_a_batch(options):
    assert [b.tolist() for b in plan_batches(np.array([100]), options, 0, 0)] == [[0]]
