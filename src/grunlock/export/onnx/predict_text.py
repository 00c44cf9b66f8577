"""Labels for texts, by the model in this folder.

    python predict.py "a text" "another one"
    python predict.py < texts.txt                 one text in each line

prints a line {"label": ..., "probabilities": {...}} for each text. From Python:

    Classifier("this folder").predict_proba(["a text", "another one"])

Needs onnxruntime and tokenizers; rjieba where the model reads Chinese words.
"""

import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

T = TypeVar("T")

UNKNOWN, EMPTY = 0, 1  # ids
STEP, MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64
HIGH, LOW = np.uint64(30), np.uint64(27)
MAX_BATCH_TOKENS = 4096  # bounds memory


class Tokens(NamedTuple):
    """A text's tokens: their ids, and the buckets of each one's n-grams of characters."""

    ids: list[int]
    ngrams: list[tuple[int, ...]]


class Classifier:
    """labels[k] is the class of column k."""

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        self._folder = Path(folder)
        with damage_told(self._folder):
            self.labels: list[str] = json.loads((self._folder / "labels.json").read_text("utf-8"))
            self._front_end = FrontEnd(self._folder)
            self._session = onnxruntime.InferenceSession(
                str(self._folder / "model.onnx"), providers=["CPUExecutionProvider"]
            )

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[len(texts), K] calibrated probabilities.

        Raises ValueError for what is no text, and for texts without a token unless the model knows them.
        """
        check(texts)
        with damage_told(self._folder):
            read = self._front_end.read(texts)
            result = np.empty((len(read), len(self.labels)), np.float32)
            for members in batches([len(text.ids) for text in read]):
                inputs = self._front_end.inputs([read[i] for i in members])
                (result[members],) = self._session.run(["probabilities"], inputs)
            return finite(result)


class FrontEnd:
    """From texts to what the graph reads."""

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "front_end.json").read_text("utf-8"))
        self.tokens: str = facts["tokens"]
        self.max_tokens: int | None = facts["max_tokens"]
        self.cut: str = facts["cut"]
        self.keeps_empty: bool = facts["keeps_empty"]
        self.ngrams: dict[str, int] | None = facts["ngrams"]
        if self.ngrams and self.ngrams["min_length"] < 1:
            raise ValueError(f"n-grams of {self.ngrams['min_length']} characters")
        self.vectors: int | None = facts["ngram_vectors"]  # how many vectors n-grams have
        self.wide: dict[str, Any] | None = facts["wide"]
        if self.wide and self.wide["rows"]:
            with np.load(folder / self.wide["rows"]) as known:
                self.buckets, self.rarity = np.cumsum(known["gaps"], dtype=np.int64), known["rarity"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.id_of: dict[str, int] = self.tokenizer.get_vocab()
        self.vocab = sorted(self.id_of, key=self.id_of.__getitem__)

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        """Each text's tokens, at most max_tokens; [empty] for a text that has none."""
        found = [self._tokens(text) for text in texts]
        empty = [str(i) for i, tokens in enumerate(found) if not tokens.ids]
        if empty and not self.keeps_empty:
            raise refusal(
                f"{len(empty)} of {len(found)} texts are empty: there is nothing to read in them.",
                where=f"texts at {', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}",
                expected="at least one token in each text",
                cure="leave them out, or train with --set data.empty_texts=keep so that the model knows them",
            )
        return [tokens if tokens.ids else Tokens([EMPTY], [()]) for tokens in found]

    def _tokens(self, text: str) -> Tokens:
        normalize = self.tokenizer.normalizer.normalize_str
        if self.ngrams and self.tokens == "characters":
            return self._characters(" ".join(normalize(text).split()))
        if self.tokens == "chinese_words":
            import rjieba

            text = " ".join(word for word in rjieba.cut(normalize(text)) if not word.isspace())
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        if not self.ngrams:
            ids = self._shortened(ids)
            return Tokens(ids, [()] * len(ids))
        words = [self.vocab[i] if i not in (UNKNOWN, EMPTY) else "" for i in ids]
        if UNKNOWN in ids and self.tokens in ("words", "chinese_words"):  # tell unknown words apart
            pieces = self.tokenizer.pre_tokenizer.pre_tokenize_str(normalize(text))
            both = zip(ids, words, pieces, strict=True)
            words = [piece if i == UNKNOWN else word for i, word, (piece, _) in both]
        pairs = self._shortened(list(zip(ids, words, strict=True)))
        return Tokens(
            [i for i, _ in pairs], [word_ngrams(word, **self.ngrams) if word else () for _, word in pairs]
        )

    def _characters(self, text: str) -> Tokens:
        """Each character; its n-grams are the runs of characters that end there."""
        assert self.ngrams
        ends = self._shortened([end for end, character in enumerate(text, start=1) if character != " "])
        longest = self.ngrams["max_length"]
        return Tokens(
            [self.id_of.get(text[end - 1], UNKNOWN) for end in ends],
            [context_ngrams(text[max(0, end - longest) : end], **self.ngrams) for end in ends],
        )

    def _shortened(self, values: list[T]) -> list[T]:
        if self.max_tokens is None or len(values) <= self.max_tokens:
            return values
        tail = self.max_tokens // 2 if self.cut == "middle" else 0
        return values[: self.max_tokens - tail] + values[len(values) - tail :]

    def inputs(self, texts: Sequence[Tokens]) -> dict[str, NDArray[Any]]:
        """What the graph reads of some texts; rows are as long as the longest text's."""
        found: dict[str, NDArray[Any]] = {
            "tokens": padded([np.array(text.ids) for text in texts], np.int64),
            "lengths": np.array([len(text.ids) for text in texts], np.int32),
        }
        if self.vectors is not None:
            ngrams = [ngram for text in texts for own in text.ngrams for ngram in own]
            found["ngrams"] = np.array(ngrams, np.int64) % self.vectors
            found["ngram_counts"] = padded([np.array([*map(len, text.ngrams)]) for text in texts], np.int64)
        if self.wide:
            pairs = [self._wide_path(self.wide, text) for text in texts]
            found["wide_rows"] = padded([rows for rows, _ in pairs], np.int64)
            found["wide_values"] = padded([values for _, values in pairs], np.float32)
        return found

    def _wide_path(self, wide: dict[str, Any], text: Tokens) -> tuple[NDArray[Any], NDArray[Any]]:
        """The rows that a text reads of the wide path's table, and how much each counts."""
        size, half = wide["buckets"], wide["buckets"] // 2
        if not wide["characters"]:
            bags = [token_ngrams(text.ids, wide["max_length"], size)]
        else:
            ngrams = np.array([ngram for own in text.ngrams for ngram in own], np.uint64)
            characters = bucket(mixed(ngrams + np.uint64(1)), size - half) + half
            bags = [token_ngrams(text.ids, wide["max_length"], half), characters]
        weighed = [self._weighed(bag) if wide["rows"] else evenly(bag) for bag in bags]
        rows, values = zip(*weighed, strict=True)
        return np.concatenate(rows), np.concatenate(values)

    def _weighed(self, bag: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """TF-IDF of the n-grams that the table knows, scaled to length 1."""
        distinct, counts = np.unique(bag, return_counts=True)
        rows = self.buckets.searchsorted(distinct)
        known = self.buckets.take(rows, mode="clip") == distinct
        rows = rows[known]
        values = (1.0 + np.log(counts[known])) * self.rarity[rows]
        return rows, values / np.sqrt((values * values).sum())


def check(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise refusal("One string is not a list of texts.", got=repr(texts[:40]), cure="pass [text]")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise refusal(
                "A text is not a string.",
                where=f"texts[{i}]",
                got=type(text).__name__,
                expected="strings: this model was trained on texts",
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise refusal(
                "A text is not valid Unicode.",
                where=f"text {i + 1}, character {error.start + 1}",
                got=f"the half character {text[error.start]!r}",
                cure="remove it, for example text.encode('utf-8', 'replace').decode()",
            ) from error


def finite(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities that are no numbers")
    return probabilities


class RefusedError(ValueError):
    """What is refused, with where, what was got and expected, and a cure."""


@contextmanager
def damage_told(folder: Path) -> Iterator[None]:
    """Says of any other error inside that the folder is at fault: damaged files lead to anything."""
    try:
        yield
    except (RefusedError, ImportError):
        raise
    except Exception as error:
        raise refusal(
            "The files of this model cannot be read, or do not fit each other.",
            where=folder,
            got=f"{type(error).__name__}: {str(error)[:200]}",
            cure="copy the folder again from where it was made, or export the model again",
        ) from error


def refusal(what: str, **fields: object) -> RefusedError:
    return RefusedError("\n".join([what, *(f"  {name + ':':<10}{value}" for name, value in fields.items())]))


def word_ngrams(word: str, buckets: int, min_length: int, max_length: int) -> tuple[int, ...]:
    """Those of "<word>"; a boundary mark alone is none."""
    marked = f"<{word}>"
    return tuple(
        zlib.crc32(marked[start : start + length].encode()) % buckets
        for length in range(min_length, min(max_length, len(marked)) + 1)
        for start in range(len(marked) - length + 1)
        if length > 1 or 0 < start < len(marked) - 1
    )


def context_ngrams(context: str, buckets: int, min_length: int, max_length: int) -> tuple[int, ...]:
    """The runs of characters that end where the context ends."""
    lengths = range(min_length, min(max_length, len(context)) + 1)
    return tuple(zlib.crc32(context[-length:].encode()) % buckets for length in lengths)


def token_ngrams(ids: list[int], max_length: int, buckets: int) -> NDArray[np.int64]:
    """Buckets of all runs of 1 to max_length tokens."""
    ahead = np.array(ids, np.uint64) + np.uint64(1)
    hashes = [mixed(ahead)]  # of the runs of each length, by where they begin
    while len(hashes) < min(max_length, len(ids)):
        hashes.append(mixed(hashes[-1][1:] + ahead[: -len(hashes)]))
    return bucket(np.concatenate(hashes), buckets)


def mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value * STEP
    value ^= value >> HIGH
    value *= MIX
    value ^= value >> LOW
    return value


def bucket(hashes: NDArray[np.uint64], buckets: int) -> NDArray[np.int64]:
    return (hashes % np.uint64(buckets)).astype(np.int64)


def evenly(bag: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Each n-gram as often as it is there, over the square root of their number."""
    return bag, np.full(len(bag), 1.0 / np.sqrt(max(len(bag), 1)))


def padded(rows: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """[len(rows), the longest], zero behind a row's end."""
    result = np.zeros((len(rows), max([1, *map(len, rows)])), dtype)
    for i, row in enumerate(rows):
        result[i, : len(row)] = row
    return result


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Members of each batch: similar lengths together, longest first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        size = max(1, MAX_BATCH_TOKENS // lengths[order[0]])
        yield order[:size]
        order = order[size:]


def main() -> None:
    model = Classifier()
    try:
        rows = model.predict_proba(
            sys.argv[1:] or [line.decode().rstrip("\r\n") for line in sys.stdin.buffer]
        )
    except ValueError as error:
        sys.exit(str(error))
    for row in rows:
        chances = dict(zip(model.labels, row.tolist(), strict=True))
        answer = {"label": model.labels[row.argmax()], "probabilities": chances}
        sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
