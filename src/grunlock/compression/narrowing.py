"""Word vectors of fewer numbers: the directions in which they differ most, and the encoder turned to match.

    vectors [V, D] = coordinates [V, d] @ directions [d, D], about
    input weights [*, d] = input weights [*, D] @ directions^T

The directions are those of largest variance over the words of the training texts, each counted as often as it
occurs (the truncated singular value decomposition is the best of rank d, Eckart & Young 1936). What comes out
is a model of the same kind with a smaller embedding.size.
"""

from dataclasses import replace

import numpy as np

from grunlock.artifact import Artifact
from grunlock.recipe.model_options import GruOptions, LstmOptions
from grunlock.shapes import FloatArray, IntArray

VECTORS, NGRAM_VECTORS = "embedding.tokens.weight", "embedding.ngrams.weight"
READERS = ("encoder.layers.0.weight_ih_l0", "encoder.layers.0.weight_ih_l0_reverse")


def can_narrow(artifact: Artifact) -> bool:
    """Whether a recurrent layer's input weights are all that reads the vectors."""
    recipe = artifact.recipe
    embedding, encoder = recipe.embedding, recipe.encoder
    return (
        embedding is not None
        and NGRAM_VECTORS not in artifact.weights
        and recipe.stem is None
        and not recipe.pooling.inputs
        and isinstance(encoder, GruOptions | LstmOptions)
        and encoder.norm is None
        and READERS[0] in artifact.weights
    )


def narrowed(artifact: Artifact, size: int, counts: IntArray) -> Artifact:
    """The model with vectors of `size` numbers. counts: [V] how often each word occurs."""
    vectors = artifact.weights[VECTORS]
    if size >= vectors.shape[1]:
        return artifact
    directions = _directions(vectors, counts, size)
    weights = dict(artifact.weights)
    weights[VECTORS] = np.ascontiguousarray(vectors @ directions.T)
    for name in READERS:
        if name in weights:
            weights[name] = np.ascontiguousarray(weights[name] @ directions.T)
    assert artifact.recipe.embedding is not None
    embedding = artifact.recipe.embedding.model_copy(
        update={"size": size, "vectors": None, "vector_words": 0}
    )
    recipe = artifact.recipe.model_copy(update={"embedding": embedding})
    return replace(artifact, recipe=recipe, weights=weights)


def _directions(vectors: FloatArray, counts: IntArray, size: int) -> FloatArray:
    """[size, D], orthonormal."""
    weighed = vectors.astype(np.float64) * np.sqrt(counts + 1.0)[:, None]  # a word not seen counts as one
    _, found = np.linalg.eigh(weighed.T @ weighed)  # rising
    return np.ascontiguousarray(found[:, ::-1][:, :size].T.astype(np.float32))
