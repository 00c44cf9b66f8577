"""Test accuracy, size and speed of every encoder on real data sets, each for the same time of training.

    python -m benchmarks.encoders pace train latency table
    python -m benchmarks.encoders train --sets trec6,sst2 --encoders gru,lstm --seeds 0

from the root of the checkout. Stages, in this order:

    pace     seconds of an epoch; from them follow the epochs that fit a set's budget
    train    every set, encoder and seed, --workers beside each other, one thread each
    latency  microseconds of one prediction by the models of seed 0
    table    encoders.json and encoders.md of what is done

Run pace and latency on a quiet machine: they use one process. What is done is kept below --work and not done
again; Ctrl-C loses only what is running. A result with other settings is refused, so pace is not measured
again once runs are there.

Every run of the stage train looks at its test split once. The line it prints last, on all runs asked for that
are done by now, belongs into benchmarks/LOG.md.
"""

import argparse
import signal
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks.encoders.bench import Bench
from benchmarks.encoders.plan import ENCODERS, ROOT, SETS
from benchmarks.encoders.store import Store
from rich.console import Console

from grunlock.errors import GrunlockError

RESULTS = ROOT / "benchmarks" / "results"
STAGES = ("pace", "train", "latency", "table")


def _names(text: str, known: Iterable[str]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"there is no {name!r}; choose among {', '.join(known)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.encoders",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--sets", type=lambda text: _names(text, SETS), default=list(SETS))
    parser.add_argument("--encoders", type=lambda text: _names(text, ENCODERS), default=list(ENCODERS))
    parser.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2]
    )
    parser.add_argument("--workers", type=int, default=2, help="processes of the stage train")
    parser.add_argument("--max-epochs", type=int, help="for trials, in another --work folder")
    parser.add_argument("--work", type=Path, default=RESULTS / "encoders", help="what is done so far")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the table")
    return parser


def main() -> None:
    options = _parser().parse_args()
    sets = [SETS[name] for name in options.sets]
    if options.max_epochs is not None:
        sets = [replace(s, max_epochs=min(s.max_epochs, options.max_epochs)) for s in sets]
    bench = Bench(
        sets, options.encoders, options.seeds, options.workers, Store(options.work.absolute()), Console()
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell has SIGINT ignored in the background
        signal.signal(number, signal.default_int_handler)
    try:
        for stage in STAGES:
            if stage not in options.stages:
                continue
            if stage == "table":
                bench.write_table(options.out)
            elif not bench.run(stage):
                sys.exit(f"some of {stage} failed; the same command tries them again")
    except GrunlockError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. What is done is kept; the same command goes on.")


if __name__ == "__main__":
    main()
