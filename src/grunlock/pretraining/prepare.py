"""From texts without labels to token stores: a vocabulary, long texts in pieces, some texts set aside."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.data.ragged import damaged_store
from grunlock.data.sources import Chunk, open_source, read_texts
from grunlock.data.store import StoreWriter, TokenStore, open_store, writing_store
from grunlock.data.tables import PLAIN_TEXT_SUFFIXES
from grunlock.errors import DataError
from grunlock.files import write_atomically
from grunlock.recipe import Recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.seeding import generator
from grunlock.shapes import IntArray
from grunlock.text import EncodedTexts, TextFrontEnd

VALID_SHARE, MOST_VALID = 0.02, 2000  # of the texts, to measure on
FACTS, TOKENIZER = "texts.json", "tokenizer.json"

Progress = Callable[[str, int], None]  # what is being done, and the texts done so far


@dataclass(frozen=True)
class UnlabelledTexts:
    """train and valid: pieces of at most max_tokens tokens; their targets mean nothing."""

    front_end: TextFrontEnd
    train: TokenStore
    valid: TokenStore
    counts: IntArray  # [V] how often each token occurs in train


def prepare_unlabelled(
    sources: Sequence[str], recipe: Recipe, folder: Path, progress: Progress = lambda activity, done: None
) -> UnlabelledTexts:
    """Read, tokenise and store texts in `folder`; what is finished there is opened.

    sources: files of texts (tables, .txt), or labelled data as for training, of which the training split's
        texts are taken. Empty texts are left out. A text of more than text.max_tokens tokens becomes several.

    Raises DataError for what cannot be read and where there are fewer than two texts.
    """
    if (folder / FACTS).is_file():
        return _open(folder, recipe)
    assert recipe.text is not None
    options = recipe.data
    assert isinstance(options, TextDataOptions)  # a recipe for texts

    def texts() -> Iterator[str]:
        for source in sources:
            for chunk in _chunks(source, options):
                yield from (text for text in chunk.texts if text and text.strip())

    front_end = TextFrontEnd.train(texts, recipe.text, None)
    whole = TextFrontEnd(front_end.tokenizer, front_end.tokens, None, None)
    num_texts = sum(1 for _ in texts())
    if num_texts < 2:
        raise DataError("There are too few texts to learn from.", got=num_texts, expected="two or more")
    aside = _set_aside(num_texts, recipe.seed)
    types, done = front_end.new_types(), 0
    folder.mkdir(parents=True, exist_ok=True)
    with writing_store(folder / "train") as train, writing_store(folder / "valid") as valid:
        digests = {train[0]: hashlib.sha256(), valid[0]: hashlib.sha256()}
        for part in _in_thousands(texts()):
            pieces = whole.encode(part, types)
            members = np.isin(np.arange(done, done + len(part)), aside)
            for (writer, facts), chosen in ((train, ~members), (valid, members)):
                _append(writer, pieces, chosen, front_end.max_tokens)
                for text, member in zip(part, chosen.tolist(), strict=True):
                    if member:
                        digests[writer].update(text.encode() + b"\0")
                facts["fingerprint"] = digests[writer].hexdigest()
            done += len(part)
            progress("tokenising", done)
    write_atomically(folder / TOKENIZER, front_end.to_json())
    write_atomically(folder / FACTS, json.dumps({"tokens": front_end.tokens, "texts": num_texts}) + "\n")
    return _open(folder, recipe)


def _chunks(source: str, options: TextDataOptions) -> Iterator[Chunk]:
    if source.lower().endswith(PLAIN_TEXT_SUFFIXES):
        return iter(read_texts(source, options, labels="ignored").chunks())
    return iter(open_source(source, options).train.chunks())


def _set_aside(num_texts: int, seed: int) -> IntArray:
    count = max(1, min(MOST_VALID, round(VALID_SHARE * num_texts)))
    return generator(seed, "pretraining", "valid").choice(num_texts, count, replace=False)


def _in_thousands(texts: Iterator[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for text in texts:
        part.append(text)
        if len(part) == 1000:
            yield part
            part = []
    if part:
        yield part


def _append(writer: StoreWriter, encoded: EncodedTexts, chosen: np.ndarray, longest: int | None) -> None:
    """Add the chosen texts, cut into pieces of at most `longest` tokens."""
    of = np.repeat(chosen, encoded.lengths)
    tokens, lengths = encoded.tokens[of], encoded.lengths[chosen]
    if longest is not None and len(lengths):
        counts = -(-lengths // longest)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        lengths = np.minimum(longest, np.repeat(lengths, counts) - place * longest)
    blank = np.zeros(len(lengths), np.bool_)
    writer.append(EncodedTexts(tokens, lengths, blank, blank), np.zeros(len(lengths), np.int32))


def _open(folder: Path, recipe: Recipe) -> UnlabelledTexts:
    assert recipe.text is not None
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        stored = (folder / TOKENIZER).read_text(encoding="utf-8")
        front_end = TextFrontEnd.from_json(stored, facts["tokens"], recipe.text.max_tokens, None)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise damaged_store(folder, error) from error
    types = front_end.new_types()
    train, valid = (open_store(folder / name, types) for name in ("train", "valid"))
    counts = np.bincount(train.tokens, minlength=front_end.vocab_size)
    return UnlabelledTexts(front_end, train, valid, counts)
