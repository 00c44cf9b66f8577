"""Static word vectors out of a Transformer, as a file that `embedding.vectors` reads (model2vec's idea)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from grunlock.data.sources import open_source, read_texts
from grunlock.data.tables import PLAIN_TEXT_SUFFIXES
from grunlock.data.vectors import check_vector_file, write_vectors
from grunlock.distillation.hugging_face import whole_words, word_vectors
from grunlock.errors import DataError
from grunlock.recipe.text_options import TextDataOptions, TextOptions
from grunlock.shapes import FloatArray
from grunlock.text import SPECIAL_TOKENS, TextFrontEnd


def write_static_vectors(
    model: str | Path,
    words: Sequence[str],
    size: int,
    path: str | Path,
    how: Literal["run", "embeddings"] = "run",
) -> int:
    """Vectors of `words` and of the Transformer's own whole words, to an .npz file. Returns their number.

    words: come first, in their order.
    size: of the vectors, after a principal component analysis.

    Raises DataError for a folder without model, a file that is no .npz, a size that the model cannot give.
    """
    check_vector_file(path)
    all_words = list(dict.fromkeys([*words, *whole_words(model)]))
    write_vectors(path, all_words, principal_components(word_vectors(model, all_words, how), size))
    return len(all_words)


def words_of(source: str, limit: int) -> list[str]:
    """The words of training texts, most frequent first, at most `limit`; of a .txt file all its texts.

    Raises DataError as reading them for training.
    """
    options = TextDataOptions(empty_texts="drop")
    plain = source.lower().endswith(PLAIN_TEXT_SUFFIXES)
    texts = read_texts(source, options, labels="ignored") if plain else open_source(source, options).train
    front_end = TextFrontEnd.train(
        lambda: (text for chunk in texts.chunks() for text in chunk.texts if text),
        TextOptions(tokens="words", vocab_size=limit),
        None,
    )
    return front_end.vocab()[len(SPECIAL_TOKENS) :]


def principal_components(vectors: FloatArray, size: int) -> FloatArray:
    """[n, size]: centred, and turned into the directions of largest variance.

    Raises DataError for fewer dimensions or vectors than `size`.
    """
    if size > min(vectors.shape):
        raise DataError(
            "There are not so many principal components.",
            where="size",
            got=size,
            expected=f"at most {min(vectors.shape)}, the smaller of words and their dimensions",
        )
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # rising
    found: FloatArray = centred @ directions[:, ::-1][:, :size].astype(np.float32)
    return found
