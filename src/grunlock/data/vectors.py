"""Word vectors for a vocabulary, from the usual file formats, and files of new ones. It trains nothing.

GloVe text (.txt), word2vec text with its header line (.vec) and binary (.bin), all also as .gz; .npz with
`vectors` and `vocab`; .npy beside a word list of the same name in .vocab or .txt, a word a line.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from grunlock.data.encoding import open_bytes, open_text
from grunlock.data.npz_files import NPZ_ERRORS, check_npz
from grunlock.errors import DataError
from grunlock.files import atomic_file
from grunlock.shapes import FloatArray
from grunlock.text import TextFrontEnd

# Root mean square of a new vector's length; GloVe's frequent words have about 5. With length 1 networks learn
# worse from them (benchmarks/LOG.md).
LENGTH = 4.0
LONGEST_WORD_BYTES = 10_000  # in a .bin file; more means that the file is no word2vec file


@dataclass(frozen=True)
class PretrainedVectors:
    """Rows of a vocabulary.

    matrix: [V, D] float32, zero where nothing was found
    found:  [V] bool
    num_lowercased: how many rows were found only by their word in lower case
    """

    matrix: FloatArray
    found: NDArray[np.bool_]
    num_lowercased: int

    @property
    def num_found(self) -> int:
        return int(self.found.sum())

    def describe(self) -> str:
        share = self.num_found / max(1, len(self.found))
        lowercased = f", {self.num_lowercased:,} of them in lower case" if self.num_lowercased else ""
        return f"{self.num_found:,} of {len(self.found):,} tokens ({share:.0%}) have a vector{lowercased}"


def read_vectors(path: str | Path, vocab: Sequence[str], size: int) -> PretrainedVectors:
    """Read the vectors of a vocabulary, V words, D = size wide. Other words are skipped as they stream by.

    A token takes the vector of its exact word, else of its word in lower case. Of a word that occurs twice
    the first counts.

    Raises DataError if the file is missing or damaged, or its vectors have another width.
    """
    path = Path(path)
    rows = _Rows(path, vocab, size)
    for word, vector in _entries(path, size):
        rows.offer(word, vector)
    return rows.vectors()


def new_words(path: str | Path, front_end: TextFrontEnd, size: int, limit: int) -> list[str]:
    """The first `limit` words of a vector file that are single tokens of their own and not in the vocabulary.

    Raises DataError as read_vectors.
    """
    known, found = set(front_end.vocab()), list[str]()
    for word, _ in _entries(Path(path), size):
        if len(found) == limit:
            break
        if word not in known and front_end.is_token(word):
            known.add(word)
            found.append(word)
    return found


def all_vectors(path: str | Path, limit: int) -> tuple[list[str], FloatArray]:
    """The first `limit` words of a file, and their vectors [words, D]. Raises DataError as read_vectors."""
    entries = islice(_entries(Path(path), None), limit)
    words, vectors = [], []
    for word, vector in entries:
        words.append(word)
        vectors.append(np.asarray(vector, np.float32))
    return words, np.stack(vectors)


def check_vector_file(path: str | Path) -> Path:
    """Raises DataError for a file that `write_vectors` cannot write."""
    path = Path(path)
    if path.suffix != ".npz":
        raise DataError("Vectors are written to .npz files.", where=path, expected="a name ending in .npz")
    return path


def write_vectors(path: str | Path, words: Sequence[str], vectors: FloatArray) -> None:
    """Write vectors [words, D], scaled to a root mean square length of LENGTH, to an .npz file.

    Raises DataError for another suffix, StorageError if the disk is full.
    """
    scaled = vectors * np.float32(LENGTH) / np.sqrt(np.square(vectors).sum(axis=1).mean())
    with atomic_file(check_vector_file(path)) as file:
        np.savez_compressed(file, vectors=scaled.astype(np.float16), vocab=np.array(words))


class _Rows:
    def __init__(self, path: Path, vocab: Sequence[str], size: int) -> None:
        self.path = path
        self.matrix = np.zeros((len(vocab), size), np.float32)
        self.exact = {word: i for i, word in enumerate(vocab)}
        self.lowercased: dict[str, list[int]] = defaultdict(list)
        for i, word in enumerate(vocab):
            if word != word.lower():
                self.lowercased[word.lower()].append(i)
        self.found_exact = np.zeros(len(vocab), np.bool_)
        self.found_lowercased = np.zeros(len(vocab), np.bool_)

    def offer(self, word: str, vector: "Sequence[str] | FloatArray") -> None:
        exact = self.exact.get(word)
        if exact is not None and not self.found_exact[exact]:
            self.matrix[exact] = self._numbers(word, vector)
            self.found_exact[exact] = True
        for row in self.lowercased.get(word, ()):
            if not self.found_exact[row] and not self.found_lowercased[row]:
                self.matrix[row] = self._numbers(word, vector)
                self.found_lowercased[row] = True

    def vectors(self) -> PretrainedVectors:
        num_lowercased = int((self.found_lowercased & ~self.found_exact).sum())
        return PretrainedVectors(self.matrix, self.found_exact | self.found_lowercased, num_lowercased)

    def _numbers(self, word: str, vector: "Sequence[str] | FloatArray") -> FloatArray:
        try:
            numbers = np.asarray(vector, dtype=np.float32)
        except ValueError as error:
            raise DataError(
                "A vector holds something else than numbers.", where=f"{self.path}, word {word!r}", got=error
            ) from error
        if not np.isfinite(numbers).all():
            raise DataError(
                "A vector is not finite.",
                where=f"{self.path}, word {word!r}",
                got=numbers[~np.isfinite(numbers)][0],
            )
        return numbers


def _entries(path: Path, size: int | None) -> "Iterator[tuple[str, Sequence[str] | FloatArray]]":
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".npz", ".npy")):
        return _numpy_entries(path, size)
    if name.endswith(".bin"):
        return _binary_entries(path, size)
    if name.endswith((".txt", ".vec")):
        return _text_entries(path, size)
    raise DataError(
        "The kind of vector file is not supported.",
        where=path,
        got=path.suffix or "no suffix",
        expected=".txt, .vec, .bin (each also as .gz), .npz or .npy",
    )


def _text_entries(path: Path, size: int | None) -> Iterator[tuple[str, list[str]]]:
    with open_text(path, "utf-8", newline="\n") as lines:
        first = next(lines, "").split()
        header = len(first) == 2 and all(part.isdigit() for part in first)
        size = _check_width(path, int(first[1]) if header else len(first) - 1, size)
        numbered = enumerate(lines, start=2)
        for number, line in numbered if header else chain([(1, " ".join(first))], numbered):
            # From the right, because some words hold spaces.
            word, *vector = line.rstrip().rsplit(" ", size)
            if len(vector) != size:
                raise DataError(
                    "A line has too few numbers.",
                    where=f"{path}, line {number}",
                    got=len(vector),
                    expected=size,
                )
            yield word, vector


def _binary_entries(path: Path, size: int | None) -> Iterator[tuple[str, FloatArray]]:
    with open_bytes(path) as file:
        header = file.readline(100).split()
        if len(header) != 2 or not all(part.isdigit() for part in header):
            raise DataError(
                "The file is no word2vec binary.",
                where=f"{path}, first line",
                got=header,
                expected="number of words and width",
            )
        size = _check_width(path, int(header[1]), size)
        for number in range(1, int(header[0]) + 1):
            word = _binary_word(path, file, number)
            vector = np.frombuffer(_exactly(path, file, 4 * size, number), "<f4")
            yield word.decode("utf-8", "replace"), vector


def _binary_word(path: Path, file: BinaryIO, number: int) -> bytes:
    word = bytearray()
    while (byte := _exactly(path, file, 1, number)) != b" ":
        word += byte
        if len(word) > LONGEST_WORD_BYTES:
            raise DataError("The file is no word2vec binary.", where=f"{path}, word {number}", got="no end")
    return bytes(word).lstrip(b"\n")


def _exactly(path: Path, file: BinaryIO, count: int, number: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise DataError("The file ends too early.", where=f"{path}, word {number}", cure="get it again")
    return data


def _numpy_entries(path: Path, size: int | None) -> Iterator[tuple[str, FloatArray]]:
    with open_bytes(path):
        pass  # missing and empty files get the usual message
    try:
        if path.suffix.lower() == ".npz":
            check_npz(path)
            with np.load(path, allow_pickle=False) as arrays:
                vectors, words = arrays["vectors"], [str(word) for word in arrays["vocab"]]
        else:
            vectors, words = np.load(path, allow_pickle=False, mmap_mode="r"), _word_list(path)
    except DataError:
        raise
    except NPZ_ERRORS as error:
        expected = "arrays `vectors` [words, width] and `vocab` [words]"
        raise DataError("The vectors cannot be read.", where=path, got=error, expected=expected) from error
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise DataError(
            "Vectors and words do not fit each other.",
            where=path,
            got=f"vectors of shape {list(vectors.shape)}, {len(words)} words",
        )
    _check_width(path, vectors.shape[1], size)
    yield from zip(words, vectors, strict=True)


def _word_list(path: Path) -> list[str]:
    for suffix in (".vocab", ".txt"):
        beside = path.with_suffix(suffix)
        if beside.is_file():
            with open_text(beside, "utf-8", newline="\n") as lines:
                return [line.rstrip("\r\n") for line in lines]
    raise DataError(
        "The vectors have no word list.",
        where=path,
        expected=f"{path.with_suffix('.vocab').name} beside it, a word a line",
    )


def _check_width(path: Path, width: int, size: int | None) -> int:
    """The width, if it is the wanted one; any is, if none is wanted."""
    if size is not None and width != size:
        raise DataError(
            "The vectors have another width than the embedding.",
            where=path,
            got=width,
            expected=f"embedding.size = {size}",
            cure=f"--set embedding.size={width}",
        )
    return width
