"""Batch prediction of corpora of different size on Ray: texts a second, and memory by kind of process.

    python -m benchmarks.scale.score 2_000_000 20_000_000 --out score.json

For each size a corpus of benchmarks/scale/corpus.py is written; a small model learns from the first of its
texts, and `predict --cluster` scores all of them on a Ray cluster of this machine. Memory is measured as in
benchmarks/scale/bounded_memory.py. Rows are counted in the parts, not in the manifest. Corpora are removed
afterwards. Last a table, and one JSON document with all samples goes to --out.
"""

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.scale.bounded_memory import MIB, SETTINGS, Watch, cluster, in_a_process
from benchmarks.scale.sizes import measure_sizes, size_options
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

LEARNED_TEXTS = 50_000
KINDS = ("driver", "task", "ray")


def train_small(corpus: Path, folder: Path) -> Path:
    """A run on the first texts of a corpus."""
    from grunlock.recipe import read_recipe
    from grunlock.training.run import train

    first = next(pq.ParquetFile(sorted(corpus.iterdir())[0]).iter_batches(LEARNED_TEXTS))
    pq.write_table(pa.Table.from_batches([first]), folder / "learned.parquet")
    return train(folder / "learned.parquet", read_recipe("tiny", list(SETTINGS)), folder / "run").folder


def score_there(run: Path, corpus: Path, folder: Path, address: str, out: Path) -> None:
    """Score the corpus on the cluster, in this process."""
    from grunlock.scale import connected
    from grunlock.scale.predict.job import BatchRequest, predict_on

    with connected(address) as nodes:
        started = time.monotonic()
        predict_on(nodes, BatchRequest(run, str(corpus), str(folder)))
        seconds = time.monotonic() - started
    out.write_text(json.dumps({"seconds": seconds}))


def measure(num_texts: int, folder: Path, cpus: int) -> dict[str, Any]:
    """One size, whose corpus is in the folder."""
    run = train_small(folder / "corpus", folder)
    with cluster(cpus) as (address, roots):
        watch = Watch(dict(roots))
        arguments = run, folder / "corpus", folder / "parts", address, folder / "scored.json"
        scored = in_a_process(watch, "driver", score_there, *arguments)
    parts = sorted((folder / "parts").glob("part-*.parquet"))
    rows = sum(pq.read_metadata(path).num_rows for path in parts)
    if rows != num_texts:
        raise SystemExit(f"{rows:,} rows in the parts, {num_texts:,} texts")
    return {
        "texts": num_texts,
        "parts": len(parts),
        "bytes": sum(path.stat().st_size for path in parts),
        "seconds": scored["seconds"],
        "texts_per_second": num_texts / scored["seconds"],
        "peaks": watch.peaks(),
        "samples": watch.samples,
    }


def show(results: list[dict[str, Any]]) -> None:
    table = Table("texts", "seconds", "texts/s", "parts", *(f"{kind}, largest" for kind in KINDS))
    for found in results:
        peaks = {kind: f"{peak['largest'] / MIB:,.0f} MiB" for kind, peak in found["peaks"].items()}
        table.add_row(
            f"{found['texts']:,}",
            f"{found['seconds']:.0f}",
            f"{found['texts_per_second']:,.0f}",
            f"{found['parts']:,}",
            *(peaks.get(kind, "-") for kind in KINDS),
        )
    Console(width=120).print(table)


def main() -> None:
    options = size_options(__doc__)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()

    def measured(num_texts: int, folder: Path) -> dict[str, Any]:
        with Progress(*columns, transient=True) as shown:
            shown.add_task(f"scoring {num_texts:,} texts")
            return measure(num_texts, folder, options.cpus)

    measure_sizes(options, SETTINGS, measured, show)


if __name__ == "__main__":
    main()
