"""Corpora of several sizes, measured one after another; what is known so far is shown and kept after each."""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.corpus import write_corpus

from grunlock.machine import commit, machine


def size_options(description: str | None) -> argparse.Namespace:
    """texts, out, folder, cpus: as given on the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("texts", type=int, nargs="*", default=[2_000_000, 20_000_000])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help="where corpora and what comes of them are kept meanwhile")
    parser.add_argument("--cpus", type=int, default=2, help="processors of the cluster")
    return parser.parse_args()


def measure_sizes(
    options: argparse.Namespace,
    settings: Sequence[str],
    measure: Callable[[int, Path], dict[str, Any]],
    show: Callable[[list[dict[str, Any]]], None],
) -> None:
    """measure: of a number of texts and a folder with their corpus; the folder is removed afterwards."""
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    for num_texts in options.texts:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            write_corpus(folder / "corpus", num_texts)
            results.append(measure(num_texts, folder))
        finally:
            shutil.rmtree(folder)
        show(results)
        if options.out is not None:
            document = {"machine": machine(), "commit": commit(), "settings": settings, "sizes": results}
            options.out.write_text(json.dumps(document) + "\n")
