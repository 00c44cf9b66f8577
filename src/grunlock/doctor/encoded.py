"""Labelled texts as the ids that a foreign model reads: its vocabulary, its splitting, its padding."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.data.npz_files import NPZ_ERRORS, check_npz
from grunlock.data.sources import read_texts
from grunlock.doctor.foreign import ForeignModel, Texts, WordList
from grunlock.doctor.options import Encoding
from grunlock.errors import DoctorError
from grunlock.recipe.text_options import TextDataOptions
from grunlock.shapes import IntArray

UNKNOWN_NAMES = ("[UNK]", "[unk]", "<unk>", "<UNK>", "UNK", "<oov>", "<OOV>", "[OOV]")
PUNCTUATION = re.compile(r"[!\"#$%&()\*\+,\-\./:;<=>?@\[\\\]^_`{|}~\']")  # what Keras strips
WORD = re.compile(r"\w+|[^\w\s]+")
Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class LabelledIds:
    """targets: [n] class indices. unknown, cut: share of tokens without a word, of texts that lost tokens.

    raw: the texts; empty where ids were given
    """

    texts: Texts
    targets: IntArray
    labels: tuple[str, ...]
    unknown: float | None
    cut: float
    raw: tuple[str, ...] = ()


def read_labelled(
    path: Path, model: ForeignModel, encoding: Encoding, labels: Sequence[str] | None
) -> LabelledIds:
    """Labelled examples of a file: ids in an .npz with `ids` [n, T], `lengths` and `labels` [n], or texts.

    labels: names of the model's classes, in its order; by default those of the file, sorted, which is what
    most training code does

    Raises DoctorError where texts need a vocabulary and there is none, and for labels without a class.
    """
    if path.suffix == ".npz":
        return _read_ids(path, encoding)
    encode, unknown_id = encoder_of(model, encoding)
    raw, names = [], []
    for chunk in read_texts(path, TextDataOptions(), labels="required").chunks():
        for text, label in zip(chunk.texts, chunk.labels or [], strict=True):
            raw.append(text or "")
            names.append(str(label or "").strip())
    known = tuple(labels) if labels else tuple(sorted(set(names)))
    targets = _targets(path, names, known, model)
    ids = [encode(text) for text in raw]
    total = sum(map(len, ids))
    unknown = None if unknown_id is None else sum(each.count(unknown_id) for each in ids) / max(total, 1)
    most = encoding.max_length
    cut = float(np.mean([most is not None and len(each) > most for each in ids]))
    return LabelledIds(padded(ids, encoding, _pad_id(model)), targets, known, unknown, cut, tuple(raw))


def _pad_id(model: ForeignModel) -> int:
    return (model.embedding.padding_id if model.embedding is not None else None) or 0


def _targets(path: Path, names: list[str], known: tuple[str, ...], model: ForeignModel) -> IntArray:
    index = {name: k for k, name in enumerate(known)}
    strange = next((name for name in names if name not in index), None)
    if strange is not None or (model.num_classes is not None and len(known) != model.num_classes):
        raise DoctorError(
            "The labels do not fit the model's classes.",
            where=path,
            got=repr(strange) if strange is not None else f"{len(known)} labels: {', '.join(known[:6])}",
            expected=f"{model.num_classes} classes" if strange is None else ", ".join(known[:10]),
            cure="name the classes in the model's order with --labels a,b,c",
        )
    return np.array([index[name] for name in names], np.int64)


def padded(ids: Sequence[Sequence[int]], encoding: Encoding, pad: int) -> Texts:
    """An empty text becomes one pad, as it would in the model's own batches."""
    kept = [list(each)[: encoding.max_length] or [pad] for each in ids]
    lengths = np.array([len(each) for each in kept], np.int64)
    steps = encoding.max_length or int(lengths.max())
    table = np.full((len(kept), steps), pad, np.int64)
    for row, each in zip(table, kept, strict=True):
        row[steps - len(each) if encoding.padding == "pre" else 0 :][: len(each)] = each
    return Texts(table, lengths, encoding.padding)


def _read_ids(path: Path, encoding: Encoding) -> LabelledIds:
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as stored:
            ids, lengths, targets = (np.asarray(stored[name]) for name in ("ids", "lengths", "labels"))
    except NPZ_ERRORS as error:
        raise DoctorError(
            "The encoded examples cannot be read.",
            where=path,
            got=error,
            expected="arrays ids [n, T], lengths [n] and labels [n], all integers",
        ) from error
    sizes = (ids.ndim, lengths.shape, targets.shape)
    integers = all(each.dtype.kind in "iu" for each in (ids, lengths, targets))
    if sizes != (2, (len(ids),), (len(ids),)) or not len(ids) or not integers:
        raise DoctorError(
            "The encoded examples do not fit together.",
            where=path,
            got=f"ids {list(ids.shape)}, lengths {list(lengths.shape)}, labels {list(targets.shape)}",
            expected="ids [n, T], lengths [n] and labels [n], all integers",
        )
    if lengths.min() < 1 or lengths.max() > ids.shape[1] or targets.min() < 0:
        raise DoctorError(
            "A length or a label is out of range.",
            where=path,
            got=f"lengths {lengths.min()} to {lengths.max()}, labels from {targets.min()}",
            expected=f"lengths 1 to {ids.shape[1]}, labels from 0",
        )
    texts = Texts(ids.astype(np.int64), lengths.astype(np.int64), encoding.padding)
    names = tuple(str(k) for k in range(int(targets.max()) + 1))
    return LabelledIds(texts, targets.astype(np.int64), names, None, 0.0)


def encoder_of(model: ForeignModel, encoding: Encoding) -> tuple[Encode, int | None]:
    """The way from a text to ids, and the id of what is unknown."""
    if encoding.vocab is not None and encoding.vocab.name.endswith("tokenizer.json"):
        return _tokenizer(encoding.vocab)
    words = word_list(model, encoding)
    return lambda text: encode_words(words, text), words.unknown_id


def word_list(model: ForeignModel, encoding: Encoding) -> WordList:
    """The model's own words, or those of --vocab. Raises DoctorError without any."""
    if encoding.vocab is not None:
        return _read_words(encoding.vocab, encoding)
    if model.words is not None and model.words.ids:
        return model.words
    raise DoctorError(
        "Texts need the vocabulary that the model was trained with.",
        where=model.where,
        expected="one word a line, a JSON object from word to id, or a tokenizer.json",
        cure="--vocab FILE, or give ids: --data FILE.npz with arrays ids, lengths and labels",
    )


def split_words(words: WordList, text: str) -> list[str]:
    text = text.lower() if words.lowercase else text
    text = PUNCTUATION.sub("", text) if words.strip_punctuation else text
    if words.split == "characters":
        return [c for c in text if not c.isspace()]
    return text.split() if words.split == "whitespace" else WORD.findall(text)


def encode_words(words: WordList, text: str) -> list[int]:
    """Words that are not there get the unknown id, or none at all where the model has no such id."""
    found = (words.ids.get(word, words.unknown_id) for word in split_words(words, text))
    return [each for each in found if each is not None]


def _read_words(path: Path, encoding: Encoding) -> WordList:
    try:
        text = path.read_text(encoding="utf-8")
        ids = json.loads(text) if text.lstrip().startswith("{") else None
    except (OSError, ValueError, RecursionError) as error:
        raise DoctorError("The vocabulary cannot be read.", where=path, got=error) from error
    if ids is None:
        ids = {word: i for i, word in enumerate(text.rstrip("\n").split("\n"))}
    if not isinstance(ids, dict) or not all(isinstance(i, int) and i >= 0 for i in ids.values()) or not ids:
        raise DoctorError(
            "The vocabulary is no list of words.",
            where=path,
            expected="one word a line (its line counts from 0), or a JSON object from word to id",
        )
    unknown = next((ids[name] for name in UNKNOWN_NAMES if name in ids), None)
    lowercase = all(word == word.lower() for word in ids if word not in UNKNOWN_NAMES and "[" not in word)
    return WordList(ids, unknown, encoding.split, lowercase)


def _tokenizer(path: Path) -> tuple[Encode, int | None]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise DoctorError("The tokeniser cannot be read.", where=path, got=error) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unknown = next((i for name in UNKNOWN_NAMES if (i := tokenizer.token_to_id(name)) is not None), None)
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids), unknown
