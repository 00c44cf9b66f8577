"""A server under steady load while its model is swapped every few seconds.

    python -m benchmarks.serving.soak --minutes 10

Two versions of one model, which differ in their temperature, take turns in the file. Clients ask batches and
single texts all the time and hold every answer against what its version answers. Counted: answers, swaps that
were seen, errors, answers that are not their version's; the server's resident memory once a swap. Flat means
that the median of its last fifth is within 5% of that of its second fifth; the first fills caches.
"""

import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.serving.running import Running, arguments, keep, running, texts, trained

from grunlock.artifact import read, save

CLIENTS = 4
BATCH = 4
TOLERANCE = 1e-5
FLAT = 1.05


@dataclass
class Tally:
    """What all clients have seen."""

    answers: int = 0
    by_version: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, version: str, fault: str | None) -> None:
        with self.lock:
            self.answers += 1
            self.by_version[version] = self.by_version.get(version, 0) + 1
            if fault is not None:
                self.faults.append(fault)


def client(
    server: Running,
    asked: list[str],
    expected: dict[str, np.ndarray],
    tally: Tally,
    stop: threading.Event,
    seed: int,
) -> None:
    """Asks until told to stop; an error ends it."""
    rng = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    while not stop.is_set():
        chosen = rng.integers(len(asked), size=rng.integers(1, BATCH + 1))
        path, body = "/v1/batch", {"texts": [asked[i] for i in chosen]}
        if len(chosen) == 1:
            path, body = "/v1/predict", {"text": asked[chosen[0]]}
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            reply = connection.getresponse()
            found = json.loads(reply.read())
        except (OSError, http.client.HTTPException) as error:
            tally.add("none", repr(error))
            return
        if reply.status != 200:
            tally.add("none", json.dumps(found))
            continue
        rows = found.get("predictions", [found])
        probs = np.array([list(row["probs"].values()) for row in rows])
        difference = np.abs(probs - expected[found["version"]][chosen]).max()
        fault = f"differs by {difference:.1e}" if difference > TOLERANCE else None
        tally.add(found["version"], fault)
    connection.close()


def versions_of(run: Path, file: Path, asked: list[str]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Two artifacts, and what each version answers."""
    artifact = read(run)
    both = [artifact, replace(artifact, temperature=1.5 * artifact.temperature)]
    expected = {save(each, file): each.classifier().predict_proba(asked) for each in both}
    return both, expected


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--swap-seconds", type=float, default=10.0)
    given = parser.parse_args()
    asked = texts(given.data)[:500]
    tally, stop, memory = Tally(), threading.Event(), []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.grunlock"
        artifacts, expected = versions_of(trained(given.run, given.data), file, asked)
        with running(file, "--watch", 0.5) as server:
            shared = (server, asked, expected, tally, stop)
            threads = [threading.Thread(target=client, args=(*shared, seed)) for seed in range(CLIENTS)]
            for thread in threads:
                thread.start()
            end, swaps = time.monotonic() + 60 * given.minutes, 0
            while time.monotonic() < end:
                time.sleep(given.swap_seconds)
                save(artifacts[swaps % 2], file)
                swaps += 1
                memory.append(server.resident_bytes)
            stop.set()
            for thread in threads:
                thread.join()
            taken = server.metric('grunlock_reloads_total{model="model",outcome="changed"')
            memory.append(server.resident_bytes)
    fifth = max(1, len(memory) // 5)
    early, late = statistics.median(memory[fifth : 2 * fifth + 1]), statistics.median(memory[-fifth:])
    keep(
        "soak",
        {
            "minutes": given.minutes,
            "swap_seconds": given.swap_seconds,
            "answers": tally.answers,
            "by_version": tally.by_version,
            "swaps": swaps,
            "swaps_taken": taken,
            "faults": tally.faults[:20],
            "num_faults": len(tally.faults),
            "resident_bytes": memory,
            "memory_ratio": late / early,
        },
    )
    sys.exit(bool(tally.faults) or late > FLAT * early)


if __name__ == "__main__":
    main()
