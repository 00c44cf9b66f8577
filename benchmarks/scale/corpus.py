"""A corpus of any number of short labelled texts in Parquet files, the same for the same seed.

    python benchmarks/scale/corpus.py 20_000_000 --out /tmp/corpus

A text has 4 to 12 words: half from a vocabulary that all classes share, most others from one of its class,
each by Zipf's law, and some of another class, so that no single word decides. One word in twenty is like none
before it: the vocabulary is open, as that of real corpora. Labels are exact. Nothing is held but one file.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.progress import track

from grunlock.seeding import generator

FILE_ROWS = 500_000
CLASSES = ("bird", "fish", "stone", "tree")
SHARED_WORDS, CLASS_WORDS = 20_000, 5_000
SHORTEST, LONGEST = 4, 12
SHARED, OWN, OTHER = 0.5, 0.35, 0.1  # shares of the words; the rest are new ones


def write_corpus(folder: Path, num_texts: int, seed: int = 0, file_rows: int = FILE_ROWS) -> list[Path]:
    """Fill the folder, which must be new. Returns the files."""
    folder.mkdir(parents=True)
    starts = range(0, num_texts, file_rows)
    paths = [folder / f"part-{number:05d}.parquet" for number in range(len(starts))]
    for number, (path, first) in enumerate(zip(paths, track(starts, f"{num_texts:,} texts"), strict=True)):
        pq.write_table(texts(min(file_rows, num_texts - first), seed, number), path)
    return paths


def texts(rows: int, seed: int, number: int) -> pa.Table:
    """The rows of one file."""
    rng = generator(seed, "corpus", number)
    labels = rng.integers(len(CLASSES), size=rows)
    lengths = rng.integers(SHORTEST, LONGEST + 1, size=rows)
    of = np.repeat(labels, lengths)
    kind = rng.random(len(of))
    other = (of + rng.integers(1, len(CLASSES), size=len(of))) % len(CLASSES)
    wanted = np.where(kind < SHARED + OWN, of, other)
    places = np.where(
        kind < SHARED,
        zipf(SHARED_WORDS, len(of), rng),
        SHARED_WORDS + wanted * CLASS_WORDS + zipf(CLASS_WORDS, len(of), rng),
    )
    new = np.flatnonzero(kind >= SHARED + OWN + OTHER)
    known = [f"w{i}" for i in range(SHARED_WORDS + len(CLASSES) * CLASS_WORDS)]
    places[new] = len(known) + np.arange(len(new))
    codes = rng.integers(2**40, size=len(new))
    words = pa.array(known + [f"n{code:x}" for code in codes.tolist()])
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, words.take(pa.array(places)))
    names = pa.array(CLASSES).take(pa.array(labels))
    return pa.table({"text": pc.binary_join(lists, " "), "label": names})


def zipf(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ranks from 0 to size - 1, each with a chance of about 1 / (rank + 1)."""
    return np.minimum((size + 1) ** rng.random(count) - 1, size - 1).astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("texts", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_corpus(options.out, options.texts, options.seed)


if __name__ == "__main__":
    main()
