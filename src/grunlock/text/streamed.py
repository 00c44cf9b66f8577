"""A text that comes in pieces: the tokens that nothing to come can change, and those there would be if it
ended here.

Tokens are words or characters. What may still change is kept: characters that could combine with what follows
when they are normalised, and a word whose end has not been seen. No vectors and no network.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np

from grunlock.text.front_end import TextFrontEnd, checked_texts
from grunlock.text.script import is_han
from grunlock.text.token_kinds import EMPTY_ID, UNKNOWN_ID
from grunlock.text.types import DistinctTokens, Int32Array, context_ngrams, word_ngrams

STREAMED_TOKENS = ("words", "characters")
BLOCK_TOKENS = 256  # bounds the memory of a long piece

Token = tuple[int, Int32Array]  # its id in the vocabulary, the buckets of its n-grams
NO_NGRAMS = np.empty(0, np.int32)


class StreamedText:
    """One text. Its tokens, `feed` after `feed`, are those that front_end.encode gives for all of it.

    Kept are a few characters, besides a word that does not end. Not for two threads at once.

    empty_token: a text without a token becomes the token [empty], as in `encode`.
    """

    def __init__(self, front_end: TextFrontEnd, *, empty_token: bool) -> None:
        assert front_end.tokens in STREAMED_TOKENS
        self._front_end = front_end
        self._empty_token = empty_token
        self._normalize = front_end.tokenizer.normalizer.normalize_str
        self._split = front_end.tokenizer.pre_tokenizer.pre_tokenize_str
        self._raw = ""  # not yet normalised: it may combine with what follows
        self._word = ""  # normalised; its end has not been seen
        self._context = ""  # the characters before, if n-grams read them
        self._num_tokens = 0

    def feed(self, piece: str) -> list[DistinctTokens]:
        """The tokens that are complete now, in blocks. Raises DataError for what is no valid text."""
        checked_texts([piece])
        if self._room() == 0:
            return []
        text = self._raw + piece
        end = settled_end(text)
        normalized, self._raw = self._normalize(text[:end]), text[end:]
        tokens, self._word, self._context = self._read(normalized, ended=False)
        tokens = tokens[: self._room()]
        self._num_tokens += len(tokens)
        if self._room() == 0:  # the rest of the text is cut off
            self._raw = self._word = self._context = ""
        return [self._as_arrays(tokens[i : i + BLOCK_TOKENS]) for i in range(0, len(tokens), BLOCK_TOKENS)]

    def rest(self) -> list[DistinctTokens]:
        """The tokens there would be besides if the text ended here. Changes nothing."""
        tokens: list[Token] = []
        if self._raw or self._word:
            tokens, _, _ = self._read(self._normalize(self._raw), ended=True)
            tokens = tokens[: self._room()]
        if not tokens and self._num_tokens == 0 and self._empty_token:
            tokens = [self._found(EMPTY_ID)]
        return [self._as_arrays(tokens)] if tokens else []

    def _room(self) -> int | None:
        """How many more tokens are read; None: any number."""
        limit = self._front_end.max_tokens
        return None if limit is None else limit - self._num_tokens

    def _read(self, normalized: str, *, ended: bool) -> tuple[list[Token], str, str]:
        """Tokens of the text that goes on so; its unfinished word and context afterwards."""
        if self._front_end.tokens == "words":
            words, unfinished = self._words(self._word + normalized, ended)
            return [self._word_token(word) for word in words], unfinished, ""
        if self._front_end.ngrams is not None:
            return self._characters_in_context(normalized)
        vocab = self._front_end.token_ids
        return [(vocab.get(c, UNKNOWN_ID), NO_NGRAMS) for c, _ in self._split(normalized)], "", ""

    def _words(self, text: str, ended: bool) -> tuple[list[str], str]:
        """Words that have ended, and the one that may go on: that at the very end."""
        pieces = self._split(text)
        words = [word for word, _ in pieces]
        if ended or not pieces or pieces[-1][1][1] < len(text):
            return words, ""
        return words[:-1], words[-1]

    def _word_token(self, word: str) -> Token:
        vocab_id, ngrams = self._front_end.token_ids.get(word, UNKNOWN_ID), self._front_end.ngrams
        if vocab_id == UNKNOWN_ID and ngrams is not None:
            return vocab_id, np.array(word_ngrams(word, ngrams), np.int32)
        return self._found(vocab_id)

    def _found(self, vocab_id: int) -> Token:
        """A token that stands in the vocabulary."""
        table = self._front_end.vocab_types
        if table is None:
            return vocab_id, NO_NGRAMS
        first, last = table.ngram_offsets[vocab_id : vocab_id + 2].tolist()
        return vocab_id, table.ngram_ids[first:last]

    def _characters_in_context(self, normalized: str) -> tuple[list[Token], str, str]:
        """See TextFrontEnd: with what precedes it; runs of whitespace count as one space."""
        options, vocab = self._front_end.ngrams, self._front_end.token_ids
        assert options is not None
        context = self._context
        found: list[Token] = []
        for character in normalized:
            if character.isspace():
                context += "" if not context or context.endswith(" ") else " "
                continue
            context = (context + character)[-options.max_length :]
            long_enough = len(context) >= options.min_length
            ngrams = context_ngrams(context, options) if long_enough else []
            found.append((vocab.get(character, UNKNOWN_ID), np.array(ngrams, np.int32)))
        return found, "", context

    def _as_arrays(self, tokens: Sequence[Token]) -> DistinctTokens:
        vocab_ids = np.array([vocab_id for vocab_id, _ in tokens], np.int64)
        order = np.arange(len(tokens))
        if self._front_end.ngrams is None:
            return DistinctTokens(vocab_ids, order)
        ids = np.concatenate([ngrams for _, ngrams in tokens]).astype(np.int64)
        ends = np.array([0, *accumulate(len(ngrams) for _, ngrams in tokens)], np.int64)
        return DistinctTokens(vocab_ids, order, ids, ends)


def settled_end(text: str) -> int:
    """How many characters of a text come out of normalisation as they do now, whatever follows the text.

    Up to the last one that cannot combine with what stands before it, for it may combine with what comes.
    """
    if not text or _combines_with_nothing(text[-1]):
        return len(text)
    for place in range(len(text) - 1, -1, -1):
        if _begins_anew(text[place]):
            return place
    return 0


def _combines_with_nothing(character: str) -> bool:
    """Whether it stays itself whatever follows: whitespace, Chinese, ASCII but for letters and <, =, >."""
    if character.isascii():
        return not character.isalpha() and character not in "<=>"
    return character.isspace() or is_han(character)


@lru_cache(maxsize=4096)
def _begins_anew(character: str) -> bool:
    """Whether it is left as it is by what stands before it, in NFKC.

    What combines with a character before it is a mark, or a vowel or final consonant of Korean, be it after
    its decomposition. Characters that this Python does not know may be marks.
    """
    if character.isascii():
        return True
    first = unicodedata.normalize("NFKD", character)[0]
    korean = 0x1160 <= ord(first) <= 0x11FF or 0xD7B0 <= ord(first) <= 0xD7FF
    return not korean and unicodedata.category(first) not in ("Mn", "Mc", "Me", "Cn")
