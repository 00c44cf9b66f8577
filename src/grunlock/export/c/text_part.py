"""Vocabulary, vectors of words and n-grams, and the characters' properties as C arrays."""

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import ExportError
from grunlock.export.c.constants import Constants, rising_numbers
from grunlock.export.c.matrices import table
from grunlock.export.c.refusals import makes_lowercase
from grunlock.export.c.unicode_arrays import unicode_arrays
from grunlock.export.c.unicode_tables import UnicodeRange, unicode_tables
from grunlock.export.c.vocabulary import distinct_fingerprints
from grunlock.export.c.wide_part import wide_part
from grunlock.export.portable import PortableModel
from grunlock.shapes import FloatArray
from grunlock.text import EMPTY_ID, SPECIAL_TOKENS, UNKNOWN_ID, TextFrontEnd

NO_ROW = 0xFFFFFFFF
MAX_MARKS = 32  # combining marks in a row; Unicode's stream-safe form has at most 30
BYTES_OF_WORD, BYTES_OF_CHARACTER = 12, 5  # that are kept of a token where its text is, a space included
LONG_WORD = 256  # bytes more, for a word that is far longer than most


def text_part(
    constants: Constants, model: PortableModel, front_end: TextFrontEnd, covered: UnicodeRange
) -> None:
    """How bytes become the vectors of steps and the n-grams of the wide path.

    Raises ExportError for a vocabulary that is too large.
    """
    characters = front_end.tokens == "characters"
    constants.macros |= {
        "CHARACTERS": int(characters),
        "LOWERCASE": int(makes_lowercase(front_end)),
        "PYTHON_SPACES": int(characters and front_end.ngrams is not None),
        "MAX_TOKENS": front_end.max_tokens or 0,
        "CUT_MIDDLE": int(front_end.max_tokens is not None and front_end.cut == "middle"),
        "KEEPS_EMPTY": int(model.keeps_empty),
    }
    constants.macros["BYTES_OF_TOKEN"] = BYTES_OF_CHARACTER if characters else BYTES_OF_WORD
    constants.macros["BYTES_MORE"] = 0 if characters else LONG_WORD
    wide_part(constants, model.wide)
    _ngrams(constants, model, front_end)
    _vocabulary(constants, model, front_end)
    _characters(constants, covered)


def _ngrams(constants: Constants, model: PortableModel, front_end: TextFrontEnd) -> None:
    options, vectors = front_end.ngrams, model.ngrams
    read = vectors is not None or constants.macros["WIDE_CHARACTERS"]
    if options is None or not read:
        return
    constants.macros |= {
        "NGRAMS": 1,
        "NGRAM_MIN": options.min_length,
        "NGRAM_MAX": options.max_length,
        "NGRAM_BUCKETS": options.buckets,
    }
    if vectors is not None:
        used = np.flatnonzero(vectors.any(axis=1))
        pruned = len(used) < len(vectors)
        constants.macros |= {
            "EMBEDS_NGRAMS": 1,
            "NGRAM_VECTORS": len(vectors),
            "NGRAMS_PRUNED": int(pruned),
        }
        table(constants, "ngrams", vectors[used])
        if pruned:
            rising_numbers(constants, "ngram_rows", used)


def _vocabulary(constants: Constants, model: PortableModel, front_end: TextFrontEnd) -> None:
    """Words that have a vector in the order of their fingerprints, which is the table's; then those that have
    none, if anything tells them from unknown words."""
    assert model.tokens is not None
    vectors, words = model.tokens, front_end.vocab()
    ids = _reachable(words, characters=bool(constants.macros["CHARACTERS"]))
    keys = _keys(constants, [words[i] for i in ids])
    known = np.asarray(vectors.any(axis=1))
    order = np.argsort(keys)
    ids, keys = ids[order], keys[order]
    own, bare = known[ids], ~known[ids]
    rows: list[FloatArray] = [vectors[ids[own]]]
    constants.macros["UNKNOWN_ROW"] = _special_row(rows, vectors, UNKNOWN_ID, needed=True)
    constants.macros["EMPTY_ROW"] = _special_row(rows, vectors, EMPTY_ID, needed=model.keeps_empty)
    table(constants, "tokens", np.concatenate(rows))
    rising_numbers(constants, "words", keys[own])
    tells_apart = bool(constants.macros["WIDE"]) or known[UNKNOWN_ID]
    constants.macros["BARE_WORDS"] = int(bool(bare.any()) and tells_apart)
    if constants.macros["BARE_WORDS"]:
        rising_numbers(constants, "bare_words", keys[bare])
    id_type = np.uint16 if len(words) <= 0x10000 else np.uint32
    constants.macros["ID_BYTES"] = np.dtype(id_type).itemsize
    if constants.macros["WIDE"]:
        constants.array("grunlock_word_ids", ids[own].astype(id_type), public=True)
        if constants.macros["BARE_WORDS"]:
            constants.array("grunlock_bare_word_ids", ids[bare].astype(id_type), public=True)
    constants.macros["NUM_ROWS"] = sum(len(each) for each in rows)


def _reachable(words: list[str], *, characters: bool) -> NDArray[np.int64]:
    """Ids of the words that a text can have; no text has a special token."""
    found = range(len(SPECIAL_TOKENS), len(words))
    return np.array([i for i in found if not characters or len(words[i]) == 1], np.int64)


def _keys(constants: Constants, words: list[str]) -> NDArray[np.uint32]:
    """What the C front end looks a word up by."""
    if constants.macros["CHARACTERS"]:
        return np.array([ord(word) for word in words], np.uint32)
    try:
        constants.macros["FINGERPRINT_SEED"], keys = distinct_fingerprints(words)
    except ValueError as error:
        raise ExportError(
            "The vocabulary is too large for the C front end.",
            where="text.vocab_size",
            got=error,
            cure="train with a smaller text.vocab_size",
        ) from error
    return keys


def _special_row(rows: list[FloatArray], vectors: FloatArray, token: int, *, needed: bool) -> int:
    """The row of a token behind those that `rows` has so far."""
    if not needed or not vectors[token].any():
        return NO_ROW
    rows.append(vectors[token][None])
    return sum(len(each) for each in rows) - 1


def _characters(constants: Constants, covered: UnicodeRange) -> None:
    macros = constants.macros
    macros |= {"UNICODE": int(covered != "ascii"), "HANGUL": int(covered == "full"), "MAX_MARKS": MAX_MARKS}
    if covered != "ascii":
        constants.begin("unicode_tables.c", "grunlock_unicode.h")
        tables = unicode_tables(
            covered,
            lowercase=bool(macros["LOWERCASE"]),
            words=not macros["CHARACTERS"],
            python_spaces=bool(macros["PYTHON_SPACES"]),
        )
        unicode_arrays(constants, tables)
