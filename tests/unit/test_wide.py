"""The wide path: n-grams of tokens counted by hand, and what a linear model on them gives."""

import numpy as np
import torch

from grunlock.models import token_inputs
from grunlock.models.wide import WidePath
from grunlock.recipe.model_options import WideOptions
from grunlock.shapes import pack_layout
from grunlock.text import DistinctTokens
from grunlock.text.token_ngrams import NgramBags, token_ngrams, weigh, wide_ngrams

TEXTS = [[3, 4], [5, 3, 4, 3], [4]]
LAYOUT = pack_layout(np.array([len(text) for text in TEXTS]))
TOKENS = np.concatenate(TEXTS)[LAYOUT.rows]
MANY = 2**40  # buckets enough that nothing collides


def runs(text: list[int], max_length: int) -> list[tuple[int, ...]]:
    return [tuple(text[i : i + n]) for n in range(1, max_length + 1) for i in range(len(text) - n + 1)]


def test_every_run_of_tokens_has_a_bucket_of_its_own() -> None:
    found = token_ngrams(TOKENS, LAYOUT.batch_sizes, 3, MANY)
    bucket_of: dict[tuple[int, ...], int] = {}
    for place, original in enumerate(LAYOUT.order):
        ids = found.ids[found.offsets[place] : found.offsets[place + 1]].tolist()
        expected = runs(TEXTS[original], 3)
        assert len(ids) == len(expected)
        for run, bucket in zip(expected, ids, strict=True):  # shorter runs first, each in order of steps
            assert bucket_of.setdefault(run, bucket) == bucket
    assert len(set(bucket_of.values())) == len(bucket_of)


def test_buckets_do_not_depend_on_the_batch() -> None:
    together = token_ngrams(TOKENS, LAYOUT.batch_sizes, 2, 97)
    alone = token_ngrams(np.array(TEXTS[1]), np.ones(4, np.int64), 2, 97)
    assert together.ids[: together.offsets[1]].tolist() == alone.ids.tolist()


def test_logits_are_scaled_sums_and_gradients_reach_the_rows_read() -> None:
    torch.manual_seed(0)
    path = WidePath(3, WideOptions(buckets=50, max_length=2))
    assert not path.weights.weight.any()
    with torch.no_grad():
        path.weights.weight.normal_()
    distinct, inverse = np.unique(TOKENS, return_inverse=True)
    inputs = token_inputs(DistinctTokens(distinct, inverse), LAYOUT)
    found = path(inputs)
    ngrams = token_ngrams(TOKENS, LAYOUT.batch_sizes, 2, 50)
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
    from sklearn.feature_extraction.text import TfidfVectorizer

    learned = ["3 3 4", "4 5", "3 5 5 5"]
    texts = ["3 5 3 9", "9 9", "4 3 3 3 5"]
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\d+").fit(learned)
    expected = vectorizer.transform(texts).toarray()
    ids = [int(word) for text in texts for word in text.split()]
    offsets = np.cumsum([0, *(len(text.split()) for text in texts)])
    rows = np.array([int(word) for word in vectorizer.get_feature_names_out()])
    found = weigh(NgramBags(np.array(ids), offsets), rows, vectorizer.idf_.astype(np.float32))
    dense = np.zeros_like(expected)
    dense[found.owners, found.places] = found.values
    np.testing.assert_allclose(dense, expected, rtol=1e-6)
    assert len(weigh(NgramBags(np.array(ids), offsets), rows[:0], np.zeros(0, np.float32)).owners) == 0
