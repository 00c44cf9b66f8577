"""Recipe sections about text: where it comes from, how it becomes tokens, tokens become vectors."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from grunlock.recipe.fields import Count, Optional, Probability, Section

TokenKind = Literal["auto", "words", "characters", "bpe", "unigram", "chinese_words"]
Cut = Literal["end", "middle"]


class TextDataOptions(Section):
    """How files of texts are read and split."""

    kind: Literal["text"] = "text"
    text_column: Annotated[str | None, Optional] = None  # off: guessed and shown
    label_column: Annotated[str | None, Optional] = None
    encoding: str = "utf-8"
    valid_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1  # where no valid file is given
    test_fraction: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.1  # where one file holds everything
    calibration_fraction: Annotated[float, Field(ge=0.0, lt=0.9)] = 0.0  # of the validation examples
    split_seed: int = 0  # apart from `seed`, so that seeds share their splits
    empty_texts: Literal["refuse", "drop", "keep"] = "refuse"
    # keep: labels that only valid or test files have become classes without training examples, so that
    # their rows count as errors
    unseen_labels: Literal["refuse", "keep"] = "refuse"
    max_text_bytes: Count = 1_000_000  # a longer single text is refused
    unlabelled: Annotated[str | None, Optional] = None  # file of texts for virtual_adversarial to learn from


class TextOptions(Section):
    """How a text becomes tokens."""

    tokens: TokenKind = "auto"  # from the writing system of the training texts
    lowercase: bool = True
    vocab_size: Annotated[int, Field(ge=8)] = 30_000  # at most, special tokens included
    min_count: Count = 1
    max_tokens: Annotated[Annotated[int, Field(ge=1)] | None, Optional] = 400  # more are cut off
    # where a longer text loses tokens; middle: its first and last halves of max_tokens stay (Sun 2019)
    cut: Cut = "end"


MAX_NGRAM_BUCKETS = 2**31 - 1  # tokenised data keeps buckets as int32


class NgramOptions(Section):
    """Hashed character n-grams whose vectors are added to the token's (fastText, 1607.04606).

    For tokens = "characters" the n-grams are runs of characters that end at the token.
    """

    buckets: Annotated[int, Field(ge=2, le=MAX_NGRAM_BUCKETS)] = 2**18
    min_length: Count = 3
    max_length: Annotated[int, Field(ge=1, le=64)] = 5  # bounds what a long word takes

    @model_validator(mode="after")
    def _ordered(self) -> "NgramOptions":
        if self.min_length > self.max_length:
            raise ValueError(f"min_length <= max_length, got {self.min_length} and {self.max_length}")
        return self


# A Chinese character says little without its neighbours: on titles of news the network alone gained three
# points by them (benchmarks/LOG.md). Words gained nothing that a wide path does not know.
CHARACTER_NGRAMS = NgramOptions(buckets=2**16, min_length=2, max_length=3)


class EmbeddingOptions(Section):
    """How tokens become vectors."""

    size: Count = 128
    # auto: CHARACTER_NGRAMS where a token is one character, else none
    ngrams: Annotated[NgramOptions | Literal["auto"] | None, Optional] = None
    vectors: Annotated[str | None, Optional] = None  # file of pretrained vectors of the same size
    # words of that file that training texts lack and that join the vocabulary, its first ones first, at most
    vector_words: Annotated[int, Field(ge=0)] = 0
    trainable: bool = True
    word_dropout: Probability = 0.0  # a token becomes the unknown token
    embedding_dropout: Probability = 0.0  # a word type's vector is zero in the whole batch

    def ngrams_of(self, tokens: str) -> NgramOptions | None:
        """Those whose vectors are added to tokens of a kind, which is never "auto"."""
        if self.ngrams == "auto":
            return CHARACTER_NGRAMS if tokens == "characters" else None
        return self.ngrams

    @model_validator(mode="after")
    def _words_have_vectors(self) -> "EmbeddingOptions":
        if self.vector_words and self.vectors is None:
            raise ValueError(f"vector_words = 0 without vectors, got {self.vector_words}")
        return self
