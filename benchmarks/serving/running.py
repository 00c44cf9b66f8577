"""A server as a process of its own, for the benchmarks of this folder."""

import argparse
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from grunlock import __version__
from grunlock.files import write_atomically
from grunlock.machine import commit, machine

RESULTS = Path(__file__).parents[1] / "results" / "serving"
DATA = Path(__file__).parents[3] / "shared" / "data" / "trec6" / "train.tsv.gz"  # beside the checkout


class Asked(Protocol):
    """What a client of a measurement needs of a server."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def cpu_seconds(self) -> float: ...


@dataclass(frozen=True)
class Running:
    """A server of one machine."""

    process_id: int
    address: str

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def processes(self) -> list[int]:
        """The server's, workers included."""
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children").read_text()
        return [self.process_id, *map(int, children.split())]

    @property
    def resident_bytes(self) -> int:
        pages = (Path(f"/proc/{each}/statm").read_text().split()[1] for each in self.processes)
        return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self.processes)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"{self.address}/metrics") as reply:
            lines = reply.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith(name)).split()[-1])


def cpu_seconds(processes: list[int]) -> float:
    """Of processor time so far, all together."""
    ticks = 0
    for each in processes:
        times = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(times[11]) + int(times[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(model: Path, *options: object) -> Iterator[Running]:
    """`grunlock serve` on a free port, stopped in order at the end."""
    command = [sys.executable, "-m", "grunlock", "serve", model, "--port", 0, *options]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = ""
        while "\nruns " not in told:
            line = process.stderr.readline()
            if not line:
                raise SystemExit(told)
            told += line
        address = re.search(r"http://\S+", told)
        assert address is not None
        yield Running(process.pid, address[0])
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise SystemExit(f"the server ended with code {process.returncode}")


def trained(run: Path, data: Path) -> Path:
    """A run of the default recipe, trained unless it is there."""
    if not (run / "model.grunlock").is_file():
        subprocess.run([sys.executable, "-m", "grunlock", "train", data, "-o", run], check=True)
    return run


def texts(data: Path) -> list[str]:
    """Of lines `label<TAB>text`. They are load here; nothing is chosen by what is answered."""
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        return [line.partition("\t")[2].strip() for line in lines]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Which model and which texts; further ones are the script's."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", type=Path, default=Path("runs/serving-trec6"), help="trained if not there")
    parser.add_argument("--data", type=Path, default=DATA, help="train.tsv.gz of trec6")
    return parser


def keep(name: str, found: dict[str, Any]) -> None:
    """Write a result with what it was measured on, and print it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    whole = {
        **found,
        "load_average": os.getloadavg(),
        "measured": time.strftime("%Y-%m-%d"),
        "grunlock": __version__,
        "commit": commit(),
        "machine": machine(),
    }
    write_atomically(RESULTS / f"{name}.json", json.dumps(whole, indent=2) + "\n")
    print(json.dumps(found))
