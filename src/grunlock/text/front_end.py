"""The text front end: a trained tokeniser with its options, from texts to token types.

Training a tokeniser of each kind: token_kinds.py. It reads no files and holds no vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from grunlock.errors import DataError
from grunlock.recipe.text_options import Cut, NgramOptions, TextOptions
from grunlock.shapes import IntArray
from grunlock.text.script import default_tokens, detect_script
from grunlock.text.segmentation import chinese_words
from grunlock.text.token_kinds import (
    EMPTY_ID,
    SPECIAL_TOKENS,
    UNKNOWN,
    UNKNOWN_ID,
    Texts,
    TrainedTokens,
    check_trained,
    train_tokenizer,
)
from grunlock.text.types import (
    Int32Array,
    TokenTypes,
    TypeTable,
    context_ngrams,
    vocab_table,
    word_ngrams,
)

T = TypeVar("T")

WHOLE_WORDS = ("words", "characters", "chinese_words")  # kinds of token whose vocabulary is a list of them


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as token types, one after another.

    tokens:  [N] int32 types
    lengths: [B] int64, each at least 1
    empty:   [B] bool, texts without any token, which became the single token [empty]
    cut:     [B] bool, texts that were longer than max_tokens
    """

    tokens: Int32Array
    lengths: IntArray
    empty: NDArray[np.bool_]
    cut: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TextFrontEnd:
    """How texts become tokens. Encoding is thread-safe as long as each thread has its own TokenTypes."""

    tokenizer: Tokenizer
    tokens: TrainedTokens
    max_tokens: int | None
    ngrams: NgramOptions | None
    cut: Cut = "end"

    @classmethod
    def train(cls, texts: Texts, options: TextOptions, ngrams: NgramOptions | None) -> "TextFrontEnd":
        """Learn a vocabulary. `texts` is called once per pass; the texts are never all in memory."""
        tokens = default_tokens(detect_script(texts())) if options.tokens == "auto" else options.tokens
        return cls(train_tokenizer(texts, tokens, options), tokens, options.max_tokens, ngrams, options.cut)

    @classmethod
    def from_json(
        cls,
        tokenizer_json: str,
        tokens: str,
        max_tokens: int | None,
        ngrams: NgramOptions | None,
        cut: Cut = "end",
    ) -> "TextFrontEnd":
        """The front end whose to_json gave `tokenizer_json`. Raises DataError if it is no such thing."""
        try:
            tokenizer = Tokenizer.from_str(tokenizer_json)
        except Exception as error:  # the tokenizers library raises bare Exceptions
            raise DataError("The tokeniser cannot be read.", where="tokenizer.json", got=error) from error
        first = tuple(tokenizer.id_to_token(i) for i in range(len(SPECIAL_TOKENS)))
        if first != SPECIAL_TOKENS:
            raise DataError(
                "The tokeniser lacks the special tokens.",
                where="tokenizer.json",
                got=f"first tokens {list(first)}",
                expected=list(SPECIAL_TOKENS),
            )
        kinds: tuple[TrainedTokens, ...] = get_args(TrainedTokens)
        for kind in kinds:
            if kind == tokens:
                check_trained(tokenizer, kind)
                return cls(tokenizer, kind, max_tokens, ngrams, cut)
        raise DataError("Unknown kind of token.", where="tokens", got=tokens, expected=", ".join(kinds))

    def to_json(self) -> str:
        """A plain tokenizer.json of the Hugging Face library; Chinese words come to it segmented."""
        return self.tokenizer.to_str()

    @cached_property
    def vocab_size(self) -> int:
        return self.tokenizer.get_vocab_size()

    def is_token(self, word: str) -> bool:
        """Whether a text that holds the word holds it as one token, as it is spelled here."""
        normalizer, split = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer
        if self.tokens not in WHOLE_WORDS or not word or normalizer.normalize_str(word) != word:
            return False
        return [piece for piece, _ in split.pre_tokenize_str(word)] == [word]

    def with_words(self, words: Sequence[str]) -> "TextFrontEnd":
        """The same with more words, which take the ids behind the vocabulary.

        Raises DataError for tokens that are pieces of words.
        """
        if not words:
            return self
        if self.tokens not in WHOLE_WORDS:
            raise DataError(
                "Only a vocabulary of whole words can take in more words.",
                where="embedding.vector_words",
                got=f"tokens of kind {self.tokens}",
                expected=" or ".join(WHOLE_WORDS),
            )
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        vocab = {token: i for i, token in enumerate([*self.vocab(), *words])}
        tokenizer.model = models.WordLevel(vocab, UNKNOWN)
        return replace(self, tokenizer=tokenizer)

    def vocab(self) -> list[str]:
        """All tokens, by id."""
        return list(self.token_ids)

    def new_types(self) -> TokenTypes:
        """Types to encode with: the vocabulary alone."""
        return TokenTypes(self.vocab_size, self.vocab_types)

    def encode(self, texts: Sequence[str], types: TokenTypes) -> EncodedTexts:
        """Tokens of each text, cut to max_tokens; a text without one becomes [empty].

        `types` grows by the surfaces that are new. Raises DataError for what is no valid text.
        """
        if self.ngrams is not None and self.tokens == "characters":
            found = [self._characters_in_context(text, types) for text in checked_texts(texts)]
        else:
            found = self._token_ids_of(texts, types)
        limit = self.max_tokens
        kept = [self.shortened(ids) or [EMPTY_ID] for ids in found]
        lengths = [len(ids) for ids in kept]
        return EncodedTexts(
            tokens=np.fromiter(chain.from_iterable(kept), np.int32, sum(lengths)),
            lengths=np.array(lengths, np.int64),
            empty=np.array([not ids for ids in found], np.bool_),
            cut=np.array([limit is not None and len(ids) > limit for ids in found], np.bool_),
        )

    def shortened(self, values: list[T]) -> list[T]:
        """What of a text's tokens stays."""
        limit = self.max_tokens
        if limit is None or len(values) <= limit:
            return values
        tail = limit // 2 if self.cut == "middle" else 0
        return values[: limit - tail] + values[len(values) - tail :]

    @cached_property
    def token_ids(self) -> dict[str, int]:
        """The id of each token, in their order."""
        by_token = self.tokenizer.get_vocab()
        return dict(sorted(by_token.items(), key=lambda item: item[1]))

    @cached_property
    def vocab_types(self) -> TypeTable | None:
        """The types of the vocabulary, None without n-grams."""
        if self.ngrams is None:
            return None
        # A character's n-grams depend on its context, so the vocabulary alone has none.
        num_plain = self.vocab_size if self.tokens == "characters" else len(SPECIAL_TOKENS)
        return vocab_table(self.vocab(), self.ngrams, num_plain)

    def _token_ids_of(self, texts: Sequence[str], types: TokenTypes) -> list[list[int]]:
        checked = checked_texts(texts)
        if self.tokens == "chinese_words":
            normalize = self.tokenizer.normalizer.normalize_str
            checked = [" ".join(chinese_words(normalize(text))) for text in checked]
        encodings = self.tokenizer.encode_batch_fast(checked, add_special_tokens=False)
        found = [encoding.ids for encoding in encodings]
        if self.ngrams is not None and self.tokens in ("words", "chinese_words"):
            for text, ids in zip(checked, found, strict=True):
                if UNKNOWN_ID in ids:
                    self._tell_unknown_words_apart(text, ids, types)
        return found

    def _tell_unknown_words_apart(self, text: str, ids: list[int], types: TokenTypes) -> None:
        """Replace each [unk] in `ids` by the type of the word that stands there."""
        assert self.ngrams is not None
        normalized = self.tokenizer.normalizer.normalize_str(text)
        pieces = self.tokenizer.pre_tokenizer.pre_tokenize_str(normalized)
        for i, (word, _) in self.shortened(list(enumerate(pieces))):
            if ids[i] == UNKNOWN_ID:
                ids[i] = types.find(word, UNKNOWN_ID, partial(word_ngrams, word, self.ngrams))

    def _characters_in_context(self, text: str, types: TokenTypes) -> list[int]:
        """The type of each character with what precedes it; runs of whitespace count as one space."""
        assert self.ngrams is not None
        options, token_ids = self.ngrams, self.token_ids
        normalized = " ".join(self.tokenizer.normalizer.normalize_str(text).split())
        found = []
        for end, character in enumerate(normalized, start=1):
            if character == " ":
                continue
            vocab_id = token_ids.get(character, UNKNOWN_ID)
            context = normalized[max(0, end - options.max_length) : end]
            if len(context) < options.min_length:
                found.append(vocab_id)
            else:
                found.append(types.find(context, vocab_id, partial(context_ngrams, context, options)))
        return found


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts. Raises DataError for what is no valid text."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError("A text is not a string.", where=f"text {i + 1}", got=repr(text)[:80])
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                "A text is not valid Unicode.",
                where=f"text {i + 1}, character {error.start + 1}",
                got=f"the half character {text[error.start]!r}",
                cure="remove it, for example text.encode('utf-8', 'replace').decode()",
            ) from error
    return list(texts)
