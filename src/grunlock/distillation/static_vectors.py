"""Static word vectors out of a Transformer, as a file that `embedding.vectors` reads (model2vec's idea)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from grunlock.data.sources import open_source, read_texts
from grunlock.data.tables import PLAIN_TEXT_SUFFIXES
from grunlock.distillation.hugging_face import whole_words, word_vectors
from grunlock.errors import DataError
from grunlock.files import atomic_file
from grunlock.recipe.text_options import TextDataOptions, TextOptions
from grunlock.shapes import FloatArray
from grunlock.text import SPECIAL_TOKENS, TextFrontEnd

# Root mean square of a vector's length; GloVe's frequent words have about 5. With length 1 networks learn
# worse from them (benchmarks/LOG.md).
LENGTH = 4.0


def write_vectors(
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
    path = Path(path)
    if path.suffix != ".npz":
        raise DataError("Vectors are written to .npz files.", where=path, expected="a name ending in .npz")
    all_words = list(dict.fromkeys([*words, *whole_words(model)]))
    vectors = principal_components(word_vectors(model, all_words, how), size)
    with atomic_file(path) as file:
        np.savez_compressed(file, vectors=vectors.astype(np.float16), vocab=np.array(all_words))
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
    """[n, size]: centred, turned into the directions of largest variance, of root mean square length LENGTH.

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
    found = centred @ directions[:, ::-1][:, :size].astype(np.float32)
    scaled: FloatArray = found * np.float32(LENGTH) / np.sqrt(np.square(found).sum(axis=1).mean())
    return scaled
