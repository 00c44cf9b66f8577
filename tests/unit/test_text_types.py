"""Token types: distinct tokens give the tokens back, and tables survive being stored."""

import zlib
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grunlock.recipe.text_options import NgramOptions
from grunlock.text.types import FEW_TYPES, TokenTypes, context_ngrams, vocab_table, word_ngrams

OPTIONS = NgramOptions(buckets=97, min_length=2, max_length=3)


def bucket(text):
    return zlib.crc32(text.encode()) % 97


def test_word_ngrams_by_hand():
    assert word_ngrams("ab", OPTIONS) == [bucket(s) for s in ("<a", "ab", "b>", "<ab", "ab>")]
    single = NgramOptions(buckets=97, min_length=1, max_length=1)
    assert word_ngrams("ab", single) == [bucket("a"), bucket("b")]


def test_context_ngrams_by_hand():
    assert context_ngrams("abc", OPTIONS) == [bucket("bc"), bucket("abc")]
    assert context_ngrams("a", NgramOptions(buckets=97, min_length=1, max_length=3)) == [bucket("a")]
    assert context_ngrams("a", OPTIONS) == []


@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.sampled_from([1, 65]))
def test_distinct_agrees_with_numpy_on_all_paths(tokens, repeats):
    tokens = np.array(tokens * repeats, np.int32)
    for vocab_size in (41, 100_000):
        distinct = TokenTypes(vocab_size).distinct(tokens)
        expected, inverse = np.unique(tokens, return_inverse=True)
        np.testing.assert_array_equal(distinct.vocab_ids, expected)
        np.testing.assert_array_equal(distinct.inverse, inverse)
        assert (distinct.vocab_ids.dtype, distinct.inverse.dtype) == (np.int64, np.int64)
        assert distinct.ngram_ids is None


def test_grown_table_is_the_same_after_storing():
    types = TokenTypes(3, vocab_table(["[unk]", "[empty]", "cat"], OPTIONS, 2))
    first = types.find("dog", 0, lambda: word_ngrams("dog", OPTIONS))
    types.table()
    second = types.find("eel", 0, lambda: word_ngrams("eel", OPTIONS))
    assert (first, second) == (3, 4)
    assert types.find("dog", 0, list) == 3
    tokens = np.array([4, 2, 3, 4, 1])
    stored = TokenTypes(3, types.table())
    for one, other in zip(
        vars(types.distinct(tokens)).values(), vars(stored.distinct(tokens)).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    distinct = stored.distinct(tokens)
    assert distinct.vocab_ids.tolist() == [1, 2, 0, 0]
    assert np.split(distinct.ngram_ids, distinct.ngram_offsets[1:-1])[3].tolist() == word_ngrams(
        "eel", OPTIONS
    )
    assert stored.find("new", 0, list) == 5


@pytest.mark.parametrize("num_new", [1, FEW_TYPES, FEW_TYPES + 1])
@pytest.mark.parametrize("words", [["cat"], ["cat", "w0", "cat", "w0", "[unk]"], ["w0"]])
def test_new_types_beside_the_table_are_those_in_it(num_new: int, words: list[str]) -> None:
    def grown() -> TokenTypes:
        types = TokenTypes(3, vocab_table(["[unk]", "[empty]", "cat"], OPTIONS, 2))
        for i in range(num_new):
            types.find(f"w{i}", 0, partial(word_ngrams, f"w{i}", OPTIONS))
        return types

    tokens = np.array([{"[unk]": 0, "cat": 2, "w0": 3}[word] for word in words])
    stored = TokenTypes(3, grown().table()).distinct(tokens)
    for one, other in zip(vars(grown().distinct(tokens)).values(), vars(stored).values(), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype == np.int64
