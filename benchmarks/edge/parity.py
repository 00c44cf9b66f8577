"""Whether exports answer as the model does through torch, on test splits: the largest difference of a
probability, the share of equal labels, both accuracies.

    python -m benchmarks.edge.parity $DATA/{trec6,sst2,waimai_10k,atis} $SERIES/fsdd_logmel.npz
    python -m benchmarks.edge.parity $DATA/trec6 --run runs/trec6
    python -m benchmarks.edge.parity $SERIES/fsdd_logmel.npz --name fsdd-plain -- --set stem=off

What stands behind -- goes to `grunlock train`. Wanted: float32 within 1e-5 and every label, int8 within 0.3
points of accuracy; exit status 1 otherwise. One JSON line for each case is appended to --out. Every call
looks at test splits: log it in benchmarks/LOG.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.edge.runs import RESULTS, TestSplit, keep, read_test_split, run_of
from rich.console import Console
from rich.table import Table

from grunlock.artifact import Artifact, read
from grunlock.errors import ExportError
from grunlock.export.c.target import CTarget
from grunlock.export.certificate import LARGEST_DIFFERENCE, Precision
from grunlock.export.export import Target
from grunlock.export.onnx.target import OnnxTarget
from grunlock.export.portable import portable
from grunlock.export.reference import torch_classifier
from grunlock.export.web.target import WebTarget
from grunlock.shapes import FloatArray

TARGETS: list[tuple[Precision, Target]] = [
    ("float32", OnnxTarget()),
    ("int8", OnnxTarget(int8=True)),
    ("float32", CTarget()),
    ("int8", CTarget(int8=True)),
    ("float32", WebTarget()),
    ("int8", WebTarget(int8=True)),
]
INT8_LOSS = 0.003  # of accuracy, at most
COLUMNS = ("set", "target", "numbers", "bytes", "largest difference", "labels agree", "torch", "export", "")


def records(name: str, artifact: Artifact, test: TestSplit) -> list[dict[str, Any]]:
    """One of each target."""
    expected = torch_classifier(artifact).predict_proba(test.inputs)
    return [
        {
            **{"set": name, "target": target.name, "precision": precision, "examples": len(test.targets)},
            **compared(artifact, target, precision, test, expected),
        }
        for precision, target in TARGETS
    ]


def compared(
    artifact: Artifact, target: Target, precision: Precision, test: TestSplit, expected: FloatArray
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = portable(artifact, "the run")
            export = target.write(model, Path(folder))
        except ExportError as error:
            return {"refused": f"{error.what} {error.got}"}
        found = export.probabilities(test.inputs)
        size = export.size_bytes
    difference = float(np.abs(found - expected).max())
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    of_torch, of_export = test.accuracy(expected), test.accuracy(found)
    exact = difference <= LARGEST_DIFFERENCE and agreement == 1
    return {
        "bytes": size,
        "difference": difference,
        "agreement": agreement,
        "torch": of_torch,
        "export": of_export,
        "kept": exact if precision == "float32" else of_torch - of_export <= INT8_LOSS,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(*COLUMNS)
    for row in rows:
        about = (row["set"], row["target"], row["precision"])
        if "refused" in row:
            shown.add_row(*about, "", "", "", "", "", row["refused"])
            continue
        numbers = f"{row['bytes']:,}", f"{row['difference']:.1e}", f"{row['agreement']:.2%}"
        accuracies = f"{100 * row['torch']:.2f}", f"{100 * row['export']:.2f}"
        shown.add_row(*about, *numbers, *accuracies, "as wanted" if row["kept"] else "NOT as wanted")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", help="folders of texts, or .npz files of series")
    parser.add_argument("--run", type=Path, help="a finished run of the one source, instead of a training")
    parser.add_argument("--name", help="what the one source is called in the table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="fewer, for a try")
    parser.add_argument("--out", type=Path, default=RESULTS / "edge_parity.jsonl")
    given = sys.argv[1:]
    place = given.index("--") if "--" in given else len(given)
    options, rest = parser.parse_args(given[:place]), given[place + 1 :]
    if options.epochs is not None:
        rest = [*rest, f"--set=training.epochs={options.epochs}"]
    rows = []
    for source in options.sources:
        with tempfile.TemporaryDirectory() as folder:
            run = options.run or run_of(source, Path(folder) / "run", options.seed, rest)
            artifact = read(run)
        for record in records(options.name or source.stem, artifact, read_test_split(source, artifact)):
            record |= {"seed": options.seed, "options": rest}
            keep(options.out, record)
            rows.append(record)
    Console(width=120).print(table(rows))
    sys.exit(0 if all(row.get("kept", True) for row in rows) else 1)


if __name__ == "__main__":
    main()
