"""The wide path: n-grams of tokens counted by hand, and what a linear model on them gives."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer

from grunlock.models import token_inputs
from grunlock.models.wide import WidePath
from grunlock.recipe.model_options import WideOptions
from grunlock.shapes import pack_layout
from grunlock.text import DistinctTokens
from grunlock.text.token_ngrams import NgramBags, count_ngrams, token_ngrams, weigh, wide_ngrams

TEXTS = [[3, 4], [5, 3, 4, 3], [4]]
LAYOUT = pack_layout(np.array([len(text) for text in TEXTS]))
IN_ORDER = np.concatenate([TEXTS[i] for i in LAYOUT.order])
TOKENS = np.concatenate(TEXTS)[LAYOUT.rows]
MANY = 2**40  # buckets enough that nothing collides


def runs(text: list[int], max_length: int) -> list[tuple[int, ...]]:
    """By where they begin, then by length."""
    return [
        tuple(text[i : i + n]) for i in range(len(text)) for n in range(1, min(max_length, len(text) - i) + 1)
    ]


@pytest.mark.parametrize("max_length", [1, 3, 8])
def test_every_run_of_tokens_has_a_bucket_of_its_own(max_length: int) -> None:
    found = token_ngrams(IN_ORDER, LAYOUT.lengths, max_length, MANY)
    bucket_of: dict[tuple[int, ...], int] = {}
    for place, original in enumerate(LAYOUT.order):
        ids = found.ids[found.offsets[place] : found.offsets[place + 1]].tolist()
        for run, bucket in zip(runs(TEXTS[original], max_length), ids, strict=True):
            assert bucket_of.setdefault(run, bucket) == bucket
    assert len(set(bucket_of.values())) == len(bucket_of)


@pytest.mark.parametrize("max_length", [1, 3, 8])
def test_buckets_do_not_depend_on_the_batch(max_length: int) -> None:
    together = token_ngrams(IN_ORDER, LAYOUT.lengths, max_length, 97)
    for place, original in enumerate(LAYOUT.order):
        text = TEXTS[original]
        alone = token_ngrams(np.array(text), np.array([len(text)]), max_length, 97)
        ids = together.ids[together.offsets[place] : together.offsets[place + 1]]
        assert sorted(ids.tolist()) == sorted(alone.ids.tolist())


def test_logits_are_scaled_sums_and_gradients_reach_the_rows_read() -> None:
    torch.manual_seed(0)
    path = WidePath(3, WideOptions(buckets=50, max_length=2))
    assert not path.weights.weight.any()
    with torch.no_grad():
        path.weights.weight.normal_()
    distinct, inverse = np.unique(TOKENS, return_inverse=True)
    inputs = token_inputs(DistinctTokens(distinct, inverse), LAYOUT)
    found = path(inputs)
    ngrams = token_ngrams(IN_ORDER, LAYOUT.lengths, 2, 50)
    for place in range(len(TEXTS)):
        ids = ngrams.ids[ngrams.offsets[place] : ngrams.offsets[place + 1]]
        expected = path.weights.weight[ids].sum(dim=0) / len(ids) ** 0.5
        torch.testing.assert_close(found[place], expected)
    found.sum().backward()
    assert set(path.weights.weight.grad.coalesce().indices()[0].tolist()) == set(ngrams.ids.tolist())


def test_dropout_keeps_the_mean_and_leaves_inference_alone() -> None:
    torch.manual_seed(0)
    path = WidePath(2, WideOptions(buckets=50, max_length=1, dropout=0.5))
    with torch.no_grad():
        path.weights.weight.fill_(1.0)
    layout = pack_layout(np.array([1000]))
    inputs = token_inputs(DistinctTokens(np.array([7]), np.zeros(1000, np.int64)), layout)
    assert abs(path.train()(inputs)[0, 0].item() / 1000**0.5 - 1.0) < 0.1
    torch.testing.assert_close(path.eval()(inputs)[0, 0], torch.tensor(1000**0.5))


# Three types: the first has no n-grams, the others two and one.
WITH_CHARACTERS = DistinctTokens(
    np.array([3, 4, 5]), np.array([1, 0, 2, 1, 0, 0, 1]), np.array([70, 71, 72]), np.array([0, 0, 2, 3])
)


def test_characters_have_the_second_half_of_the_table() -> None:
    layout = pack_layout(np.array([3, 3, 1]))
    options = WideOptions(buckets=2**41, characters=True)
    tokens, characters = wide_ngrams(WITH_CHARACTERS, layout.batch_sizes, options)
    assert tokens.ids.max() < 2**40 <= characters.ids.min()
    # Types by sequence, from the packed rows 1 0 2 | 1 0 | 0 1: 1 1 0, then 0 0 1, then 2.
    assert characters.counts.tolist() == [4, 2, 1]
    first, again, second, third = (characters.ids[places] for places in ([0, 1], [2, 3], [4, 5], [6]))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, second)
    assert third[0] not in first


def test_a_sequence_without_characters_has_the_logits_of_its_tokens() -> None:
    torch.manual_seed(0)
    layout = pack_layout(np.array([2, 1]))  # types 1 2, and 0
    inverse = np.array([1, 0, 2])
    tokens = DistinctTokens(
        WITH_CHARACTERS.vocab_ids, inverse, WITH_CHARACTERS.ngram_ids, WITH_CHARACTERS.ngram_offsets
    )
    path = WidePath(3, WideOptions(buckets=100, max_length=1, characters=True))
    with torch.no_grad():
        path.weights.weight.normal_()
    found = path(token_inputs(tokens, layout))
    table = path.weights.weight
    runs, characters = wide_ngrams(tokens, layout.batch_sizes, path.options)
    torch.testing.assert_close(found[1], table[runs.ids[2]])
    expected = table[runs.ids[:2]].sum(0) / 2**0.5 + table[characters.ids].sum(0) / 3**0.5
    torch.testing.assert_close(found[0], expected)


def test_ngrams_that_a_model_knows_count_as_in_scikit_learn() -> None:
    """Against its TfidfVectorizer, the n-grams being words."""
    learned = ["3 3 4", "4 5", "3 5 5 5"]
    texts = ["3 5 3 9", "9 9", "4 3 3 3 5"]
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\d+").fit(learned)
    expected = vectorizer.transform(texts).toarray()
    ids = [int(word) for text in texts for word in text.split()]
    offsets = np.cumsum([0, *(len(text.split()) for text in texts)])
    rows = np.array([int(word) for word in vectorizer.get_feature_names_out()])
    counted = count_ngrams((NgramBags(np.array(ids), offsets),))
    found = weigh(counted, rows, vectorizer.idf_.astype(np.float32))
    ours = csr_matrix((found.values, found.places, found.offsets), shape=expected.shape)
    np.testing.assert_allclose(ours.toarray(), expected, rtol=1e-6)
    nothing = weigh(counted, rows[:0], np.zeros(0, np.float32))
    assert nothing.offsets.tolist() == [0, 0, 0, 0]
    assert len(nothing.values) == 0


def test_tokens_and_characters_are_scaled_apart_and_come_in_the_callers_order() -> None:
    """Against scikit-learn's vectorizer on each kind by itself. A text may have no characters."""
    words = [np.array(ids) for ids in ([5, 3, 4, 3], [3, 4, 9], [4])]  # longest first
    characters = [np.array(ids, np.int64) for ids in ([14, 14, 12], [], [11, 12])]
    order = np.array([2, 0, 1])  # place of each in the result
    rows = np.array([3, 4, 5, 11, 12, 14])
    rarity = np.linspace(1, 2, len(rows)).astype(np.float32)
    found = weigh(count_ngrams([bags_of(words), bags_of(characters)], order), rows, rarity)
    ours = csr_matrix((found.values, found.places, found.offsets), shape=(3, len(rows))).toarray()
    for kind, columns in ((words, slice(0, 3)), (characters, slice(3, 6))):
        weights = TfidfTransformer(sublinear_tf=True)
        counts = np.array([[(ids == row).sum() for row in rows[columns]] for ids in kind])
        weights.fit(counts).idf_ = rarity[columns]
        np.testing.assert_allclose(ours[order, columns], weights.transform(counts).toarray(), rtol=1e-6)


def bags_of(texts: list[np.ndarray]) -> NgramBags:
    return NgramBags(np.concatenate(texts), np.cumsum([0, *map(len, texts)]))


@pytest.mark.parametrize("characters", [False, True])
def test_a_text_by_itself_counts_as_in_a_batch(characters: bool) -> None:
    """Types once and several times, a text of one token, and one without n-grams of characters."""
    options = WideOptions(buckets=1001, max_length=3, characters=characters)
    texts = [[1, 2, 0, 1, 2], [2, 1, 0], [1], [0]]
    layout = pack_layout(np.array([len(text) for text in texts]))
    batch = count_ngrams(
        wide_ngrams(types_of(np.concatenate(texts)[layout.rows]), layout.batch_sizes, options)
    )
    rows = np.unique(batch.ids)[::2]  # some are not known
    rarity = np.linspace(1, 2, len(rows)).astype(np.float32)
    together = weigh(batch, rows, rarity)
    for place, text in enumerate(texts):
        sizes = np.ones(len(text), np.int64)
        alone = weigh(count_ngrams(wide_ngrams(types_of(np.array(text)), sizes, options)), rows, rarity)
        part = slice(together.offsets[place], together.offsets[place + 1])
        np.testing.assert_array_equal(alone.places, together.places[part])
        np.testing.assert_allclose(alone.values, together.values[part], rtol=1e-6)
        assert alone.offsets.tolist() == [0, len(alone.values)]


def types_of(types: np.ndarray) -> DistinctTokens:
    """Of WITH_CHARACTERS, those in a batch."""
    assert WITH_CHARACTERS.ngram_ids is not None
    assert WITH_CHARACTERS.ngram_offsets is not None
    present, inverse = np.unique(types, return_inverse=True)
    ngrams = np.split(WITH_CHARACTERS.ngram_ids, WITH_CHARACTERS.ngram_offsets[1:-1])
    chosen = [ngrams[i] for i in present]
    offsets = np.cumsum([0, *map(len, chosen)])
    return DistinctTokens(WITH_CHARACTERS.vocab_ids[present], inverse, np.concatenate(chosen), offsets)
