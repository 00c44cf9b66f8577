"""Tokenisers of each kind, trained so that the same texts give the same bytes.

Builds Hugging Face `tokenizers` objects. No n-grams, no arrays: see front_end.py.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from grunlock.errors import DataError
from grunlock.recipe.text_options import TextOptions
from grunlock.text.segmentation import chinese_words

TrainedTokens = Literal["words", "characters", "bpe", "unigram", "chinese_words"]
Texts = Callable[[], Iterable[str]]  # each call reads the texts from the start

UNKNOWN, EMPTY = SPECIAL_TOKENS = ("[unk]", "[empty]")
UNKNOWN_ID, EMPTY_ID = 0, 1

NO_CHARACTER = "\U0010fffd"  # of a private plane
MAX_PIECE_LENGTH = 16  # characters of a bpe or unigram piece
CHUNKS_IN_MEMORY = 1_000_000  # distinct runs between spaces, kept while counting words
UNIGRAM_SCORE_DIGITS = 3  # the trainer sums floats in no fixed order; what differs is far smaller
UNIGRAM_CHARACTER_STEP = 1e-4  # by which its scores of left-over characters fall, one after another


def train_tokenizer(texts: Texts, tokens: TrainedTokens, options: TextOptions) -> Tokenizer:
    """Train on the texts. Raises DataError if there is nothing to learn from or min_count cannot act."""
    if tokens == "bpe":
        return _train_bpe(texts, options)
    if tokens == "unigram":
        return _train_unigram(texts, options)
    tokenizer = Tokenizer(models.WordLevel({UNKNOWN: UNKNOWN_ID, EMPTY: EMPTY_ID}, UNKNOWN))
    tokenizer.normalizer = _normalizer(tokens, options.lowercase)
    tokenizer.pre_tokenizer = _pre_tokenizer(tokens)
    counts = _count_tokens(texts, tokens, tokenizer)
    vocab = [*SPECIAL_TOKENS, *_most_frequent(counts, options.vocab_size, options.min_count)]
    tokenizer.model = models.WordLevel({token: i for i, token in enumerate(vocab)}, UNKNOWN)
    return tokenizer


def _normalizer(tokens: TrainedTokens, lowercase: bool) -> Any:
    steps: list[Any] = [normalizers.NFKC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if tokens in ("bpe", "unigram"):
        steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps)


def _pre_tokenizer(tokens: TrainedTokens) -> Any:
    whitespace = pre_tokenizers.WhitespaceSplit()
    if tokens == "words":
        return pre_tokenizers.Whitespace()  # \w+|[^\w\s]+
    if tokens == "characters":
        return pre_tokenizers.Sequence([whitespace, pre_tokenizers.FixedLength(length=1)])
    if tokens == "chinese_words":
        return whitespace  # the segmented words are joined by spaces
    return pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation("isolated")])


def check_trained(tokenizer: Tokenizer, tokens: TrainedTokens) -> None:
    """Raises DataError unless it is what `train_tokenizer` makes for this kind of token, whatever the texts.

    Others may be random, run an expression that never ends, or give ids that have no vector.
    """
    normalizers_of_kind = [_state(_normalizer(tokens, lowercase)) for lowercase in (True, False)]
    vocab = tokenizer.get_vocab()
    wrong = {
        "normalizer": _state(tokenizer.normalizer) not in normalizers_of_kind,
        "pre_tokenizer": _state(tokenizer.pre_tokenizer) != _state(_pre_tokenizer(tokens)),
        "model": not _is_plain(tokenizer.model, tokens),
        "added_tokens": bool(tokenizer.get_added_tokens_decoder()),
        "truncation": tokenizer.truncation is not None,
        "padding": tokenizer.padding is not None,
        "vocab": sorted(vocab.values()) != list(range(len(vocab))) or not _knows_what_is_unknown(tokenizer),
    }
    found = [name for name, is_wrong in wrong.items() if is_wrong]
    if found:
        raise DataError(
            "The tokeniser is none that this library trains.",
            where="tokenizer.json",
            got=f"another {', '.join(found)}",
            expected=f"what training makes for tokens of kind {tokens}, with ids from 0 on",
        )


def _state(component: Any) -> bytes:
    return b"" if component is None else bytes(component.__getstate__())


def _is_plain(model: Any, tokens: TrainedTokens) -> bool:
    """Of its kind, and without the options that training leaves alone."""
    if tokens == "unigram":
        return isinstance(model, models.Unigram) and model.alpha is None and model.nbest_size is None
    if tokens != "bpe":
        return isinstance(model, models.WordLevel) and model.unk_token == UNKNOWN
    if not isinstance(model, models.BPE) or model.unk_token != UNKNOWN or not model.fuse_unk:
        return False
    others = (model.dropout, model.continuing_subword_prefix, model.end_of_word_suffix)
    return others == (None,) * 3 and not model.byte_fallback and not model.ignore_merges


def _knows_what_is_unknown(tokenizer: Tokenizer) -> bool:
    try:
        tokenizer.encode(NO_CHARACTER, add_special_tokens=False)
    except Exception:  # the tokenizers library raises bare Exceptions
        return False
    return True


def _count_tokens(texts: Texts, tokens: TrainedTokens, tokenizer: Tokenizer) -> Counter[str]:
    normalize = tokenizer.normalizer.normalize_str
    counts: Counter[str] = Counter()
    if tokens == "words":
        return _count_words(texts(), tokenizer)
    for text in texts():
        normalized = normalize(text)
        counts.update(chinese_words(normalized) if tokens == "chinese_words" else normalized)
    for space in [token for token in counts if token.isspace()]:
        del counts[space]
    return counts


def _count_words(texts: Iterable[str], tokenizer: Tokenizer) -> Counter[str]:
    """Words never cross whitespace, so each distinct run between spaces is split up only once."""
    normalize, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    words: Counter[str] = Counter()
    chunks: Counter[str] = Counter()

    def split_chunks() -> None:
        for chunk, times in chunks.items():
            for word, _ in split(normalize(chunk)):
                words[word] += times
        chunks.clear()

    for text in texts:
        chunks.update(text.split())
        if len(chunks) > CHUNKS_IN_MEMORY:
            split_chunks()
    split_chunks()
    return words


def _most_frequent(counts: Counter[str], vocab_size: int, min_count: int) -> list[str]:
    """The tokens worth an id, most frequent first, ties in code point order."""
    if not counts:
        raise _nothing_to_learn()
    kept = [t for t, count in counts.items() if count >= min_count and t not in SPECIAL_TOKENS]
    kept.sort(key=lambda token: (-counts[token], token))
    return kept[: vocab_size - len(SPECIAL_TOKENS)]


def _nothing_to_learn() -> DataError:
    return DataError(
        "The training texts hold no token.",
        got="only empty texts or whitespace",
        cure="check that data.text_column names the right column",
    )


def _train_bpe(texts: Texts, options: TextOptions) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True))
    tokenizer.normalizer = _normalizer("bpe", options.lowercase)
    tokenizer.pre_tokenizer = _pre_tokenizer("bpe")
    # The trainer always keeps the given alphabet, and a limit of just that size keeps all others out.
    counts = _count_characters(texts, tokenizer)
    alphabet = _most_frequent(counts, options.vocab_size, options.min_count)
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocab_size,
        min_frequency=options.min_count,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        max_token_length=MAX_PIECE_LENGTH,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return _without_added_tokens(tokenizer)


def _count_characters(texts: Texts, tokenizer: Tokenizer) -> Counter[str]:
    """Characters as Metaspace leaves them. Raises DataError if there are none."""
    normalize = tokenizer.normalizer.normalize_str
    counts: Counter[str] = Counter()
    for text in texts():
        normalized = normalize(text)
        counts.update(normalized)
        counts["▁"] += bool(normalized)  # Metaspace also puts one in front
    counts["▁"] += counts.pop(" ", 0)
    counts = +counts
    if not counts:
        raise _nothing_to_learn()
    return counts


def _train_unigram(texts: Texts, options: TextOptions) -> Tokenizer:
    if options.min_count > 1:
        raise DataError(
            "Unigram pieces have no counts, so min_count cannot act.",
            where="text.min_count",
            got=options.min_count,
            expected='1 with text.tokens = "unigram"',
            cure="--set text.min_count=1, or a smaller text.vocab_size",
        )
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = _normalizer("unigram", options.lowercase)
    tokenizer.pre_tokenizer = _pre_tokenizer("unigram")
    characters = _count_characters(texts, tokenizer)
    trainer = trainers.UnigramTrainer(
        # The trainer wants room for every character; what is too much is cut off afterwards.
        vocab_size=max(options.vocab_size, len(SPECIAL_TOKENS) + len(characters) + 1),
        special_tokens=list(SPECIAL_TOKENS),
        unk_token=UNKNOWN,
        max_piece_length=MAX_PIECE_LENGTH,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    pieces = _repeatable(_unigram_pieces(tokenizer), characters)[: options.vocab_size - len(SPECIAL_TOKENS)]
    specials = [(token, 0.0) for token in SPECIAL_TOKENS]
    tokenizer.model = models.Unigram([*specials, *pieces], UNKNOWN_ID, False)
    return _without_added_tokens(tokenizer)


def _unigram_pieces(tokenizer: Tokenizer) -> Iterator[tuple[str, float]]:
    for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]:
        if piece not in SPECIAL_TOKENS:
            yield piece, score


def _repeatable(scored: Iterable[tuple[str, float]], counts: Counter[str]) -> list[tuple[str, float]]:
    """Pieces in an order and with scores that do not depend on the trainer's summation order.

    Characters that training left over are scored one small step after another below the worst piece, in no
    fixed order; here they all get the score of the first, and come in order of their counts.
    """
    pieces = sorted(scored, key=lambda pair: (-pair[1], pair[0]))
    tail = len(pieces) - 1
    while (
        tail > 0
        and len(pieces[tail][0]) == 1
        and abs(pieces[tail - 1][1] - pieces[tail][1] - UNIGRAM_CHARACTER_STEP) < UNIGRAM_CHARACTER_STEP / 100
    ):
        tail -= 1
    leftover = pieces[tail][1]
    flat = [(piece, leftover if i > tail else score) for i, (piece, score) in enumerate(pieces)]
    rounded = [(piece, round(score, UNIGRAM_SCORE_DIGITS)) for piece, score in flat]
    return sorted(rounded, key=lambda pair: (-pair[1], -counts[pair[0]], pair[0]))


def _without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokeniser, in which a text that spells "[unk]" is text like any other."""
    fields = json.loads(tokenizer.to_str())
    fields["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(fields, ensure_ascii=False))
