"""Wrong files against everything that reads files: python -m tests.fuzz.loaders SEEDS TARGET --seconds 60

Every case has a number; what goes wrong is printed with it and kept as TARGET-NUMBER.txt. --first N --cases 1
runs one again. With atheris (--guided) its engine makes the choices and looks for code not reached before.
"""

import argparse
import collections
import faulthandler
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from grunlock.errors import GrunlockError
from tests.fuzz.draw import Draw, Guided, Seeded

Target = Callable[[Draw, Path, Path], None]

SLOWEST_SECONDS = 5
WARM_UP_CASES = 3
MOST_BYTES = 3 * 2**30  # of memory beyond what the process has at its start: see artifact/int8_storage.py


class TooSlowError(Exception):
    """A case took longer than a reader may."""


def run_case(target: Target, draw: Draw, seeds: Path) -> str:
    """What became of it: "answer", or the name of one of our errors. Raises what else came out."""
    with tempfile.TemporaryDirectory() as work, _time_limit(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that overflow before they are refused
        try:
            target(draw, seeds, Path(work))
        except GrunlockError as error:
            if not error.what:
                raise
            return type(error).__name__
    return "answer"


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SLOWEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _warm_up(target: Target, seeds: Path) -> None:
    """Libraries are loaded before a case's time counts. What becomes of these cases is seen again later."""
    for number in range(WARM_UP_CASES):
        with tempfile.TemporaryDirectory() as work, warnings.catch_warnings(), suppress(Exception):
            warnings.simplefilter("ignore")
            target(Seeded(number), seeds, Path(work))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _seeded(options: argparse.Namespace, target: Target) -> int:
    outcomes: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    end, number = time.monotonic() + options.seconds, options.first
    while time.monotonic() < end and (options.cases is None or number < options.first + options.cases):
        if options.current is not None:
            options.current.write_text(str(number))  # so that a crash can be told apart
        try:
            outcomes[run_case(target, Seeded(number), options.seeds)] += 1
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            kinds[kind] += 1
            if kinds[kind] == 1:
                Path(f"{options.target}-{number}.txt").write_text(traceback.format_exc())
                print(f"case {number}: {kind}: {str(error)[:300]}", flush=True)
        number += 1
    print(
        f"{options.target}: {number - options.first} cases, {dict(outcomes)}, wrong: {dict(kinds)}",
        flush=True,
    )
    return sum(kinds.values())


def _guided(options: argparse.Namespace) -> None:
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["grunlock"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[options.target]

    def one(data: bytes) -> None:
        run_case(target, Guided(atheris.FuzzedDataProvider(data)), options.seeds)

    arguments = [sys.argv[0], f"-max_total_time={options.seconds}", "-max_len=400", "-rss_limit_mb=6000"]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("seeds", type=Path, help="what tests.fuzz.seeds has written")
    parser.add_argument("target", help="a name in tests/fuzz/targets.py")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--current", type=Path, help="a file that names the case that runs")
    parser.add_argument("--guided", action="store_true", help="by atheris")
    options: Any = parser.parse_args()
    faulthandler.enable()
    if options.guided:
        _guided(options)
        return
    from tests.fuzz.targets import TARGETS

    _warm_up(TARGETS[options.target], options.seeds)
    _limit_memory()
    sys.exit(1 if _seeded(options, TARGETS[options.target]) else 0)


if __name__ == "__main__":
    main()
