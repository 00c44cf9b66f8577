"""The founding model, trained in Keras as people usually train it: the bar our own seed recipe starts from.

    Embedding(128) -> BatchNormalization -> GRU(128) -> BatchNormalization -> GRU(128) -> Dense softmax

Both GRUs drop 0.2 of their input and 0.2 of their state; Adam 1e-3, batches of 64 in random order, 10
epochs, the weights of the epoch with the best validation accuracy (the first of equals). The test split is
looked at once per seed, with those weights.

Run it with a Python that has Keras and TensorFlow (`pip install keras tensorflow-cpu`), not with the
project's own:

    python benchmarks/keras_seed_model.py --set sst2 --seeds 0 1 2 3 4 --data ../shared/data --out sst2.jsonl

A set is a folder with train.tsv.gz, test.tsv.gz and, if it has one, dev.tsv.gz, one `label TAB text` a line.
Without dev.tsv.gz a stratified tenth of train is cut off, the same one for every seed. One JSON line per
seed and a last one with the summary go to standard output and to --out.

This script imports nothing of grunlock, so its words are split by its own regular expression.
"""

import argparse
import gzip
import json
import platform
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

WORD = re.compile(r"\w+|[^\w\s]+")
PAD, UNKNOWN, NUM_SPECIAL = 0, 1, 2  # token ids; words follow

VOCAB_SIZE = 20_000  # with the two special ids
MAX_TOKENS = 400  # a text's first words are kept
SIZE = 128  # of the embedding and of both GRUs
DROPOUT = 0.2
LEARNING_RATE = 1e-3
BATCH_SIZE = 64
NUM_EPOCHS = 10
PAD_MULTIPLE = 8  # fewer distinct batch shapes
VALID_FRACTION = 0.1  # of train, where a set has no split for validation
SPLIT_SEED = 0

Rows = list[tuple[str, list[str]]]  # label, words


@dataclass(frozen=True)
class Examples:
    """One split as numbers."""

    tokens: list[list[int]]
    labels: np.ndarray  # [num examples] int64


def batches(examples: Examples, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Batches padded to their longest text; in a new order every epoch if a seed is given."""
    random = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)
    order = np.arange(len(examples.labels))
    num_batches = -(-len(order) // BATCH_SIZE)

    def epoch() -> Iterator[tuple[np.ndarray, np.ndarray]]:  # [B, T], [B]
        if random is not None:
            random.shuffle(order)
        for chosen in np.array_split(order, range(BATCH_SIZE, len(order), BATCH_SIZE)):
            texts = [examples.tokens[i] for i in chosen]
            longest = max(len(text) for text in texts)
            padded = np.full((len(texts), -(-longest // PAD_MULTIPLE) * PAD_MULTIPLE), PAD, np.int32)
            for row, text in zip(padded, texts, strict=True):
                row[: len(text)] = text
            yield padded, examples.labels[chosen]

    signature = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int64))
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(num_batches))


class KeepBest(keras.callbacks.Callback):
    """Remember the weights of the first epoch with the best validation accuracy."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy, self.epoch, self.weights = -1.0, 0, []
        self.history: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        accuracy = float((logs or {})["val_accuracy"])
        self.history.append(round(accuracy, 6))
        if accuracy > self.accuracy:
            self.accuracy, self.epoch, self.weights = accuracy, epoch + 1, self.model.get_weights()


def read_rows(path: Path) -> Rows:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        pairs = [line.rstrip("\n").split("\t", 1) for line in lines]
    return [(label, WORD.findall(text.lower())[:MAX_TOKENS]) for label, text in pairs]


def cut_valid(rows: Rows) -> tuple[Rows, Rows]:
    """Split into train and valid: the same share of every label, chosen at random with a fixed seed."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rows))
    valid: set[int] = set()
    for label in sorted({label for label, _ in rows}):
        of_label = [int(i) for i in order if rows[i][0] == label]
        valid.update(of_label[: round(len(of_label) * VALID_FRACTION)])
    kept = [row for i, row in enumerate(rows) if i not in valid]
    return kept, [rows[i] for i in sorted(valid)]


def load(folder: Path) -> tuple[dict[str, Examples], int, int]:
    """The splits train, valid and test as numbers, the number of classes, and of token ids."""
    rows = {split: read_rows(folder / f"{split}.tsv.gz") for split in ("train", "test")}
    if (folder / "dev.tsv.gz").exists():
        rows["valid"] = read_rows(folder / "dev.tsv.gz")
    else:
        rows["train"], rows["valid"] = cut_valid(rows["train"])
    counts = Counter(word for _, words in rows["train"] for word in words)
    known = [word for word, _ in counts.most_common(VOCAB_SIZE - NUM_SPECIAL)]
    id_of_word = {word: i for i, word in enumerate(known, NUM_SPECIAL)}
    classes = {label: k for k, label in enumerate(sorted({label for label, _ in rows["train"]}))}
    splits = {
        split: Examples(
            [[id_of_word.get(word, UNKNOWN) for word in words] or [UNKNOWN] for _, words in pairs],
            np.array([classes[label] for label, _ in pairs], np.int64),
        )
        for split, pairs in rows.items()
    }
    return splits, len(classes), len(id_of_word) + NUM_SPECIAL


def build(num_classes: int, num_ids: int) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(num_ids, SIZE, mask_zero=True),
            keras.layers.BatchNormalization(),
            keras.layers.GRU(SIZE, dropout=DROPOUT, recurrent_dropout=DROPOUT, return_sequences=True),
            keras.layers.BatchNormalization(),
            keras.layers.GRU(SIZE, dropout=DROPOUT, recurrent_dropout=DROPOUT),
            keras.layers.Dense(num_classes, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def run_seed(set_name: str, folder: Path, seed: int) -> dict[str, Any]:
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    splits, num_classes, num_ids = load(folder)
    model, best = build(num_classes, num_ids), KeepBest()
    start = time.perf_counter()
    model.fit(
        batches(splits["train"], seed),
        validation_data=batches(splits["valid"]),
        epochs=NUM_EPOCHS,
        shuffle=False,  # the dataset does it
        callbacks=[best],
        verbose=0,
    )
    seconds = time.perf_counter() - start
    model.set_weights(best.weights)
    _, test_accuracy = model.evaluate(batches(splits["test"]), verbose=0)
    return {
        "set": set_name,
        "seed": seed,
        "best_epoch": best.epoch,
        "valid_accuracy": round(best.accuracy, 6),
        "test_accuracy": round(float(test_accuracy), 6),
        "train_seconds": round(seconds, 1),
        "valid_accuracy_by_epoch": best.history,
        "num_examples": {split: len(examples.labels) for split, examples in splits.items()},
        "num_token_ids": num_ids,
        "versions": {
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
    }


def summarize(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    test = np.array([result["test_accuracy"] for result in results])
    return {
        "summary": True,
        "set": results[0]["set"],
        "seeds": [result["seed"] for result in results],
        "mean_test_accuracy": round(float(test.mean()), 6),
        "std_test_accuracy": round(float(test.std(ddof=1)), 6) if len(test) > 1 else None,
        "mean_valid_accuracy": round(float(np.mean([result["valid_accuracy"] for result in results])), 6),
        "total_train_seconds": round(sum(result["train_seconds"] for result in results), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", required=True, help="a folder of --data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", type=Path, required=True, help="the folder of all sets")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines are written here too")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)

    results: list[dict[str, Any]] = []
    with options.out.open("w", encoding="utf-8") as out:
        for seed in options.seeds:
            results.append(run_seed(options.set, options.data / options.set, seed))
            emit(results[-1], out)
        emit(summarize(results), out)


def emit(result: dict[str, Any], out: Any) -> None:
    line = json.dumps(result)
    print(line, flush=True)
    print(line, file=out, flush=True)


if __name__ == "__main__":
    main()
