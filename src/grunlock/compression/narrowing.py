"""Smaller tables of vectors: in fewer directions, and without those of rare words and n-grams.

    vectors [V, D] = coordinates [V, d] @ directions [d, D], about
    input weights [*, d] = input weights [*, D] @ directions^T

The directions are those of largest variance over the words and n-grams of the training texts, each counted as
often as it is read (the truncated singular value decomposition is the best of rank d, Eckart & Young 1936).
What comes out is a model of the same kind with a smaller embedding.size. A rare word's or n-gram's vector
becomes zero, which costs a file next to nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from grunlock.artifact import Artifact
from grunlock.data.store import TokenStore
from grunlock.recipe.model_options import GruOptions, LstmOptions
from grunlock.shapes import FloatArray, IntArray

WORDS, NGRAMS = "embedding.tokens.weight", "embedding.ngrams.weight"
READERS = ("encoder.layers.0.weight_ih_l0", "encoder.layers.0.weight_ih_l0_reverse")

Counts = Mapping[str, IntArray]  # of each table of vectors, how often each row is read


def can_narrow(artifact: Artifact) -> bool:
    """Whether a recurrent layer's input weights are all that reads the vectors."""
    recipe = artifact.recipe
    embedding, encoder = recipe.embedding, recipe.encoder
    return (
        embedding is not None
        and recipe.stem is None
        and not recipe.pooling.inputs
        and isinstance(encoder, GruOptions | LstmOptions)
        and encoder.norm is None
        and READERS[0] in artifact.weights
    )


def row_counts(store: TokenStore, artifact: Artifact) -> Counts:
    """How often texts have each word of the vocabulary, and each bucket of n-grams that has a vector."""
    found = store.types.distinct(np.asarray(store.tokens))
    times = np.bincount(found.inverse, minlength=len(found.vocab_ids))
    words = np.bincount(found.vocab_ids, times, minlength=len(artifact.weights[WORDS]))
    counts = {WORDS: words.astype(np.int64)}
    table = artifact.weights.get(NGRAMS)
    if table is not None and found.ngram_ids is not None and found.ngram_offsets is not None:
        ngrams = np.bincount(
            found.ngram_ids % len(table), np.repeat(times, np.diff(found.ngram_offsets)), len(table)
        )
        counts[NGRAMS] = ngrams.astype(np.int64)
    return counts


def summed(of_stores: Iterable[Counts]) -> Counts:
    """The counts of several stores together."""
    found: dict[str, IntArray] = {}
    for counts in of_stores:
        for name, values in counts.items():
            found[name] = values if name not in found else found[name] + values
    return found


def narrowed(artifact: Artifact, size: int, counts: Counts) -> Artifact:
    """The model with vectors of `size` numbers."""
    if size >= artifact.weights[WORDS].shape[1]:
        return artifact
    tables = {name: artifact.weights[name] for name in counts}
    directions = _directions(tables, counts, size)
    weights = dict(artifact.weights)
    for name in (*tables, *READERS):
        if name in weights:
            weights[name] = np.ascontiguousarray(weights[name] @ directions.T)
    assert artifact.recipe.embedding is not None
    embedding = artifact.recipe.embedding.model_copy(
        update={"size": size, "vectors": None, "vector_words": 0}
    )
    recipe = artifact.recipe.model_copy(update={"embedding": embedding})
    return replace(artifact, recipe=recipe, weights=weights)


def with_common_rows(artifact: Artifact, most: int, counts: Counts) -> Artifact:
    """The model with at most so many vectors, those that are read most; the others are zero."""
    everything = np.concatenate(list(counts.values()))
    if most >= len(everything):
        return artifact
    kept = np.zeros(len(everything), np.bool_)
    kept[np.argsort(-everything, kind="stable")[:most]] = True
    parts = np.split(kept, np.cumsum([len(each) for each in counts.values()])[:-1])
    tables = {name: artifact.weights[name] * part[:, None] for name, part in zip(counts, parts, strict=True)}
    return replace(artifact, weights={**artifact.weights, **tables})


def _directions(tables: Mapping[str, FloatArray], counts: Counts, size: int) -> FloatArray:
    """[size, D], orthonormal."""
    weighed = np.concatenate(
        # A row not seen counts as one.
        [table.astype(np.float64) * np.sqrt(counts[name] + 1.0)[:, None] for name, table in tables.items()]
    )
    _, found = np.linalg.eigh(weighed.T @ weighed)  # rising
    return np.ascontiguousarray(found[:, ::-1][:, :size].T.astype(np.float32))
