"""The packed layout is torch's PackedSequence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grunlock.errors import ShapeError
from grunlock.shapes import (
    check_shape,
    last_rows,
    pack_layout,
    row_places,
    sequence_lengths,
    sequence_major_rows,
    shifted_rows,
)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=10))
def test_layout_is_torch_packing(lengths: list[int]) -> None:
    layout = pack_layout(np.array(lengths))
    sequences = [torch.arange(n) + 100 * i for i, n in enumerate(lengths)]
    packed = torch.nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    rows = torch.cat(sequences)[torch.from_numpy(layout.rows)]
    assert layout.batch_sizes.tolist() == packed.batch_sizes.tolist()
    # Among equal lengths torch may order otherwise than we do (stably), so compare as sets per step.
    for ours, theirs in zip(
        rows.split(layout.batch_sizes.tolist()), packed.data.split(packed.batch_sizes.tolist()), strict=True
    ):
        assert sorted(ours.tolist()) == sorted(theirs.tolist())
    assert rows[: len(lengths)].tolist() == [100 * i for i in layout.order]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=10))
def test_sequence_major_rows_read_one_sequence_after_another(lengths: list[int]) -> None:
    layout = pack_layout(np.array(lengths))
    in_order = layout.rows[sequence_major_rows(layout.batch_sizes)]
    starts = np.cumsum(lengths) - lengths
    expected = np.concatenate([starts[i] + np.arange(lengths[i]) for i in layout.order])
    np.testing.assert_array_equal(in_order, expected)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=3), st.integers(-3, 3))
def test_where_steps_lie_by_counting(lengths: list[int], shift: int) -> None:
    """A single sequence, which is dealt with apart, is among these."""
    layout = pack_layout(np.array(lengths))
    longest_first = sorted(lengths, reverse=True)
    places = [(t, b) for t in range(longest_first[0]) for b, n in enumerate(longest_first) if t < n]
    row_of = {place: row for row, place in enumerate(places)}
    step, sequence = row_places(layout.batch_sizes)
    assert list(zip(step.tolist(), sequence.tolist(), strict=True)) == places
    assert sequence_lengths(layout.batch_sizes).tolist() == layout.lengths.tolist() == longest_first
    assert last_rows(layout.batch_sizes).tolist() == [row_of[n - 1, b] for b, n in enumerate(longest_first)]
    later = [row_of.get((t + shift, b), len(places)) for t, b in places]
    assert shifted_rows(layout.batch_sizes, shift).tolist() == later


def test_empty_sequences_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"at least one step.*\n.*sequence 1"):
        pack_layout(np.array([3, 0]))
    with pytest.raises(ShapeError, match=r"at least one sequence"):
        pack_layout(np.array([], dtype=np.int64))


def test_check_shape_names_what_it_expected() -> None:
    check_shape("weight_hh", (6, 2), (6, None), "[3H, H]")
    with pytest.raises(ShapeError) as error:
        check_shape("weight_hh", (5, 2), (6, 2), "[3H, H]")
    assert "weight_hh" in str(error.value)
    assert "[3H, H] = [6, 2]" in str(error.value)
