"""Classifiers for small devices: bytes of the exported C constants, and what they cost in test accuracy.

    python -m benchmarks.edge.budgets --texts $DATA/atis --series $SERIES/fsdd_logmel.npz --seeds 0 1 2
    python -m benchmarks.edge.budgets --texts $DATA/trec6 --set encoder.hidden_size=64 --seeds 0 1 2

Texts: trained as `default` with --set, `grunlock compress --max-flash 200KB`, exported with --int8 --unicode
latin; wanted are at most 200,000 bytes of constants and at most 0.5 points below the run before.
Series: trained as SERIES says and exported; wanted are 32 KB of constants, 8 KB of memory and 95 %. Exit
status 1 if anything is not as wanted. One JSON line for each run is appended to --out. Every call looks at
test splits: log it in benchmarks/LOG.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.edge.runs import RESULTS, TestSplit, keep, read_test_split, run_of, train
from rich.console import Console
from rich.table import Table

from grunlock.artifact import read
from grunlock.export.c import CModel, UnicodeRange, write_c
from grunlock.export.portable import portable
from grunlock.export.reference import torch_classifier

SERIES = [
    *("stem=off", "series.size=off", "series.changes=false"),
    *("encoder.hidden_size=64", "encoder.bidirectional=false"),
]
TEXT_BYTES, TEXT_LOSS = 200_000, 0.005
SERIES_BYTES, STATE_BYTES, SERIES_ACCURACY = 32 * 1024, 8 * 1024, 0.95
COLUMNS = ("set", "seed", "constants", "memory", "before", "after", "")


def exported(path: Path, test: TestSplit, unicode: UnicodeRange) -> dict[str, Any]:
    """Sizes and test accuracy of an int8 export in C."""
    artifact = read(path)
    with tempfile.TemporaryDirectory() as folder:
        written = write_c(portable(artifact, path), Path(folder), int8=True, max_steps=64, unicode=unicode)
        found = CModel(written).probabilities(test.inputs)
    return {"constants": written.const_bytes, "state": written.state_bytes, "after": test.accuracy(found)}


def text_record(source: Path, run: Path, unicode: UnicodeRange) -> dict[str, Any]:
    """Compressed until its constants fit."""
    artifact = read(run)
    test = read_test_split(source, artifact)
    before = test.accuracy(torch_classifier(artifact).predict_proba(test.inputs))
    small = run / "small.grunlock"
    train("compress", str(run), "--max-flash", str(TEXT_BYTES), "--unicode", unicode, "-o", str(small))
    found = exported(small, test, unicode)
    fits = found["constants"] <= TEXT_BYTES and before - found["after"] <= TEXT_LOSS
    return {"file": small.stat().st_size, "before": before, **found, "kept": fits}


def series_record(source: Path, run: Path) -> dict[str, Any]:
    artifact = read(run)
    test = read_test_split(source, artifact)
    before = test.accuracy(torch_classifier(artifact).predict_proba(test.inputs))
    found = exported(run, test, "ascii")
    fits = found["constants"] <= SERIES_BYTES and found["state"] <= STATE_BYTES
    return {"before": before, **found, "kept": fits and found["after"] >= SERIES_ACCURACY}


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(*COLUMNS)
    for row in rows:
        shown.add_row(
            row["set"],
            str(row["seed"]),
            f"{row['constants']:,}",
            f"{row['state']:,}",
            f"{100 * row['before']:.2f}",
            f"{100 * row['after']:.2f}",
            "as wanted" if row["kept"] else "NOT as wanted",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    parser.add_argument("--series", type=Path, nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[], help="of the recipe for texts")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, help="fewer, for a try")
    parser.add_argument("--unicode", choices=("ascii", "latin", "full"), default="latin")
    parser.add_argument("--out", type=Path, default=RESULTS / "edge_budgets.jsonl")
    options = parser.parse_args()
    few = [] if options.epochs is None else [f"--set=training.epochs={options.epochs}"]
    rows = []
    for source, seed in [(each, s) for each in (*options.texts, *options.series) for s in options.seeds]:
        with tempfile.TemporaryDirectory() as folder:
            of_texts = source in options.texts
            settings = [f"--set={each}" for each in (options.set if of_texts else SERIES)]
            run = run_of(source, Path(folder) / "run", seed, [*settings, *few])
            found = text_record(source, run, options.unicode) if of_texts else series_record(source, run)
        record = {"set": source.stem, "seed": seed, **found, "options": [*settings, *few]}
        keep(options.out, record)
        rows.append(record)
    Console(width=120).print(table(rows))
    sys.exit(0 if all(row["kept"] for row in rows) else 1)


if __name__ == "__main__":
    main()
