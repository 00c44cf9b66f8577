"""A recipe as a user runs it, several seeds, test once each: the rows of docs/results.md.

    python benchmarks/accuracy.py $DATA/trec6 --row scratch --linear
    python benchmarks/accuracy.py $DATA/sst2 --row scratch --also $DATA/sst2/train_phrases.tsv.gz
    python benchmarks/accuracy.py $DATA/trec6 --row taught --verb distill --teacher teachers/trec6

Options that are not known here go to `grunlock train` or `grunlock distill`. Everything is judged from
outside: seconds of the whole process by the clock, bytes by the file system, answers by a process that loads
the model. With --small the model that `grunlock compress` makes of it, at most a megabyte, is looked at too;
with --beside other processes run at the same time, and seconds do not count. One JSON line for each seed is
appended to --out, and one for the linear SVM on the same training split. Every call looks at the test split:
log it in benchmarks/LOG.md. Run on a quiet machine.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.artifact import ARTIFACT_NAME, read
from grunlock.comparison.linear import linear_baseline
from grunlock.data.texts import labelled_splits
from grunlock.machine import commit, machine
from grunlock.recipe import read_recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.text import detect_script

LOOK = """
import json, sys
import grunlock
texts, labels = json.load(sys.stdin)
def accuracy(precision):
    found = grunlock.load(sys.argv[1], precision=precision).predict(texts)
    return sum(a == b for a, b in zip(found, labels)) / len(labels)
seen = {"float32": accuracy("float32")}
try:
    seen["int8"] = accuracy("int8")
except grunlock.errors.KernelError:
    pass  # only a GRU has it
print(json.dumps(seen))
"""
DEFAULT_OUT = Path(__file__).parent / "results" / "accuracy.jsonl"


@contextmanager
def source_of(options: argparse.Namespace) -> Iterator[Path]:
    """The set's folder; with --also one in which that file's rows stand behind the training rows."""
    if options.also is None:
        yield options.source
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / options.source.name
        folder.mkdir()
        for path in options.source.glob("*.tsv.gz"):
            if path.name != options.also.name:
                (folder / path.name).symlink_to(path.resolve())
        train = folder / "train.tsv.gz"
        rows = train.read_bytes() + options.also.read_bytes()  # gzip files may follow each other
        train.unlink()
        train.write_bytes(rows)
        yield folder


def train(options: argparse.Namespace, source: Path, seed: int, folder: Path) -> tuple[Path, float]:
    """The run that is wanted, and the seconds of the process that has made it."""
    command = [sys.executable, "-m", "grunlock", options.verb, str(source), "-o", str(folder)]
    started = time.monotonic()
    subprocess.run([*command, f"--set=seed={seed}", *options.rest], check=True)
    return folder / "student" if options.verb == "distill" else folder, time.monotonic() - started


def look(source: Path, model: Path, run: Path) -> dict[str, float]:
    """Accuracy of a run's model on the test split, by a process of its own."""
    reading = read_recipe(run).data
    assert isinstance(reading, TextDataOptions)
    test = labelled_splits(str(source), None, None, reading)["test"]
    given = json.dumps([list(test.texts), list(test.labels)])
    command = [sys.executable, "-c", LOOK, str(model)]
    seen = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(seen.stdout)
    return found


def small_record(source: Path, run: Path) -> dict[str, Any]:
    """The model in a megabyte: its accuracy on validation before and after, and on the test split."""
    path = run / "small.grunlock"
    command = [sys.executable, "-m", "grunlock", "compress", str(run), "--max-size", "1MB", "-o", str(path)]
    subprocess.run(command, check=True)
    return {
        "test": look(source, path, run)["float32"],
        "valid": read(path).metrics["accuracy"],
        "bytes": path.stat().st_size,
    }


def seed_record(options: argparse.Namespace, source: Path, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        run, seconds = train(options, source, seed, Path(folder) / "run")
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        small = {"small": small_record(source, run)} if options.small else {}
        return {
            "seed": seed,
            "test": look(source, run, run),
            "valid": metrics["accuracy"],
            "seconds": None if options.beside else round(seconds, 1),
            "bytes": (run / ARTIFACT_NAME).stat().st_size,
            **small,
            "options": [
                options.verb,
                *(without_folder(each) for each in options.rest),
                *([f"also {options.also.name}"] if options.also else []),
            ],
        }


def without_folder(option: str) -> str:
    """A path, or the path behind an equals sign, by its name alone: where it lies differs by machine."""
    key, equals, value = option.rpartition("=")
    return f"{key}{equals}{Path(value).name}" if "/" in value else option


def linear_record(source: Path, rest: list[str]) -> dict[str, Any]:
    """The linear SVM on all that a run learns from: where the validation split was cut, on that too."""
    reading = read_recipe("default", settings_of(rest)).data
    assert isinstance(reading, TextDataOptions)
    started = time.monotonic()
    splits = labelled_splits(str(source), None, None, reading)
    learned = [splits["train"]] if (source / "dev.tsv.gz").is_file() else [splits["train"], splits["valid"]]
    texts = [text for split in learned for text in split.texts]
    labels = [label for split in learned for label in split.labels]
    model = linear_baseline(detect_script(texts)).fit(texts, labels)
    test = splits["test"]
    right = np.asarray(model.predict(test.texts)) == np.asarray(test.labels)
    return {"test": {"float32": float(right.mean())}, "seconds": round(time.monotonic() - started, 1)}


def settings_of(rest: list[str]) -> list[str]:
    """What --set says about data."""
    values = [b for a, b in itertools.pairwise(rest) if a == "--set"]
    return [value for value in values if value.startswith("data.")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--row", required=True, help="what this is called in the table")
    parser.add_argument("--also", type=Path, help="a .tsv.gz file of more training rows")
    parser.add_argument("--verb", choices=("train", "distill"), default="train")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--small", action="store_true", help="the model in a megabyte as well")
    parser.add_argument("--beside", action="store_true", help="not alone on this machine: no seconds")
    parser.add_argument("--linear", action="store_true", help="the linear SVM as well")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    options, options.rest = parser.parse_known_args()

    def keep(row: str, record: dict[str, Any]) -> None:
        about = {"set": options.source.name, "row": row}
        line = json.dumps({**about, **record, "commit": commit(), "processor": machine()["processor"]})
        print(line, flush=True)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    if options.linear:
        keep("linear", linear_record(options.source, options.rest))
    with source_of(options) as source:
        for seed in options.seeds:
            keep(options.row, seed_record(options, source, seed))


if __name__ == "__main__":
    main()
