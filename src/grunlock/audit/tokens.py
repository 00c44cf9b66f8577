"""Texts as arrays: normalised, tokenised once, and the distinct ones among them, for all checks that compare.

The tokens are those of the default recipe: words and runs of punctuation, or single characters where the
writing system has no spaces. Nothing here sees a label.
"""

import hashlib
import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grunlock.audit.rows import Progress
from grunlock.shapes import IntArray

NORMALISATION = "Unicode NFKC, lower case, every run of white space as one space, none at the ends"
MAX_TOKENS = 1000  # of a text, that checks compare; so one huge text cannot fill the memory
MAX_DISTINCT_TOKENS = 20_000_000  # in all, beyond which further texts are not compared
WORDS = re.compile(r"\w+|[^\w\s]+")
HASH_BYTES = 8
ROWS_BETWEEN_REPORTS = 1000

CsrMatrix = Any  # scipy.sparse.csr_matrix; scipy comes without types
Kind = Literal["words", "characters"]


@dataclass(frozen=True)
class TokenisedTexts:
    """N rows, of which M have distinct normalised texts; T tokens of the distinct ones.

    num_characters: [N] without outer whitespace; num_tokens: [N], also beyond MAX_TOKENS
    as_written:     [N] uint64 hash of the text without outer whitespace
    distinct:       [N] int64, which distinct text a row holds
    first_rows:     [M] int64, the first row of each, ascending
    ids, bounds:    [T] int32 into `vocab`, [M + 1] int64: distinct text m has ids[bounds[m]:bounds[m + 1]]
    empty:          [M] bool
    """

    kind: Kind
    num_characters: IntArray
    num_tokens: IntArray
    as_written: NDArray[np.uint64]
    distinct: IntArray
    first_rows: IntArray
    ids: NDArray[np.int32]
    bounds: IntArray
    empty: NDArray[np.bool_]
    vocab: tuple[str, ...]
    num_left_out: int  # distinct texts without ids, because MAX_DISTINCT_TOKENS was reached

    def token_counts(self) -> CsrMatrix:
        """[M, vocab] float32 counts."""
        return _counts(self._owners(), self.ids, (len(self.first_rows), len(self.vocab)))

    def run_counts(self) -> tuple[CsrMatrix, list[str]]:
        """[M, runs] float32 counts of runs of two neighbouring words or characters, and names of the runs.

        Punctuation is left out. The first and last token also make a run with the text's border, so a text of
        n tokens has n + 1 runs.
        """
        is_word = np.fromiter((_is_word(token) for token in self.vocab), np.bool_, len(self.vocab))
        kept = is_word[self.ids]
        owners, words = self._owners()[kept], self.ids[kept] + 1  # 0 is the border
        if not len(words):
            return _counts(owners, words, (len(self.first_rows), 0)), []
        base = len(self.vocab) + 1
        inside = owners[1:] == owners[:-1]
        starts, ends = np.r_[True, ~inside], np.r_[~inside, True]
        codes = np.concatenate(
            [
                words[:-1][inside].astype(np.int64) * base + words[1:][inside],
                words[starts].astype(np.int64),
                words[ends].astype(np.int64) * base,
            ]
        )
        rows = np.concatenate([owners[1:][inside], owners[starts], owners[ends]])
        distinct, columns = np.unique(codes, return_inverse=True)
        named = [self._run_name(*divmod(code, base)) for code in distinct.tolist()]
        return _counts(rows, columns, (len(self.first_rows), len(distinct))), named

    def _run_name(self, first: int, second: int) -> str:
        names = [self.vocab[i - 1] if i else "" for i in (first, second)]
        if not first:
            return f"{names[1]} (at the start)"
        if not second:
            return f"{names[0]} (at the end)"
        return (" " if self.kind == "words" else "").join(names)

    def _owners(self) -> NDArray[np.int32]:
        return np.repeat(np.arange(len(self.first_rows), dtype=np.int32), np.diff(self.bounds))


def normalise(text: str) -> str:
    """Two texts that this makes equal are exact duplicates here: see NORMALISATION."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.lower().split())


def tokenise(texts: Sequence[str], kind: Kind, progress: Progress | None = None) -> TokenisedTexts:
    """Normalise and tokenise; a text that occurs again is tokenised once."""
    ids_of: defaultdict[str, int] = defaultdict()
    ids_of.default_factory = ids_of.__len__  # a new token gets the next id
    index: dict[bytes, int] = {}
    ids, bounds, distinct, first_rows = array("i"), array("q", [0]), array("q"), array("q")
    characters, tokens, written = array("q"), array("q"), bytearray()
    num_left_out = 0
    lengths: list[int] = []  # in tokens, of the distinct texts
    for row, text in enumerate(texts):
        stripped, normal = text.strip(), normalise(text)
        at = index.setdefault(_hash(normal), len(index))
        if at == len(first_rows):
            found = WORDS.findall(normal) if kind == "words" else normal.replace(" ", "")
            lengths.append(len(found))
            first_rows.append(row)
            if len(ids) < MAX_DISTINCT_TOKENS:
                ids.extend(map(ids_of.__getitem__, islice(found, MAX_TOKENS)))
            else:
                num_left_out += 1
            bounds.append(len(ids))
        distinct.append(at)
        characters.append(len(stripped))
        tokens.append(lengths[at])
        written += _hash(stripped)
        if progress is not None and row % ROWS_BETWEEN_REPORTS == 0:
            progress("tokenising", row)
    return TokenisedTexts(
        kind,
        np.array(characters, np.int64),
        np.array(tokens, np.int64),
        np.frombuffer(bytes(written), "<u8").astype(np.uint64),
        np.array(distinct, np.int64),
        np.array(first_rows, np.int64),
        np.array(ids, np.int32),
        np.array(bounds, np.int64),
        np.array(lengths, np.int64) == 0,
        tuple(ids_of),
        num_left_out,
    )


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES).digest()


def _is_word(token: str) -> bool:
    return token[0].isalnum() or token[0] == "_"


def _counts(rows: NDArray[np.int32], columns: NDArray[np.integer], shape: tuple[int, int]) -> CsrMatrix:
    from scipy.sparse import coo_matrix

    values = np.ones(len(rows), np.float32)
    return coo_matrix((values, (rows, columns.astype(np.int32))), shape).tocsr()
