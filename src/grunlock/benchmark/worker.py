"""What runs in a peer's process: answers requests on standard input, one JSON document a line.

    {"do": "prepare", "id": n, "case": {...}, "contender": {...}}   -> {"seconds": of a call, "sample": {...}}
    {"do": "run", "id": n, "samples": k, "calls": c, "warm": bool}   -> {"seconds": [k numbers]}
    {"do": "drop", "id": n}                                          -> {}
    {"do": "memory", "case": {...}, "contender": {...}}              -> {"bytes": n}

Each of these also has "idle": [CPU seconds, wall seconds] since the reply before, when others had their
turns. What cannot be done is answered by {"unavailable": "why"}, a failure by {"failed": "what"}. The first
line, unasked, is {"versions": {...}} or {"missing": "why"}. The process ends when standard input does.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, Protocol, TextIO

from grunlock.benchmark.arrays import sample
from grunlock.benchmark.cases import Case, Contender, case_from_json
from grunlock.benchmark.timing import (
    Prepared,
    UnsupportedError,
    peak_bytes_of,
    timed_seconds,
    wait_until_quiet,
)

PEER_MODULES = {
    "grunlock": "own",
    "torch": "torch_gru",
    "keras": "keras_gru",
    "jax": "jax_scan",
    "onnxruntime": "onnx_gru",
}
SLOW_SECONDS = 10.0  # a first call slower than this stands for the second as well
MEMORY_CALLS = 2


class Peer(Protocol):
    """A module of `peers`."""

    def start(self, threads: int) -> dict[str, str]: ...

    def prepare(self, case: Case, contender: Contender) -> Prepared: ...


class Worker:
    """The prepared contenders of one process, and the requests on them."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._prepared: dict[int, Prepared] = {}
        self._asleep_since: tuple[float, float] | None = None  # wall and CPU seconds at the last answer

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        actions: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "prepare": self._prepare,
            "run": self._run,
            "drop": self._drop,
            "memory": self._memory,
        }
        idle = self._idle_seconds()
        try:
            reply = actions[request["do"]](request)
        except UnsupportedError as reason:
            return {"unavailable": str(reason)}
        except Exception as error:  # whatever a library raises is this contender's result, not the end of all
            return {"failed": f"{type(error).__name__}: {error}"}
        wait_until_quiet()
        self._asleep_since = (time.perf_counter(), time.process_time())
        return {**reply, "idle": idle}

    def _idle_seconds(self) -> tuple[float, float]:
        """CPU and wall seconds since the last answer."""
        if self._asleep_since is None:
            return 0.0, 0.0
        wall, cpu = self._asleep_since
        return time.process_time() - cpu, time.perf_counter() - wall

    def _prepare(self, request: Mapping[str, Any]) -> dict[str, Any]:
        prepared = self._peer.prepare(*_work(request))
        sampled = sample(prepared.check())
        seconds = timed_seconds(prepared, samples=1, calls=1, warm=False)[0]
        if seconds < SLOW_SECONDS:  # the first call may have compiled
            seconds = timed_seconds(prepared, samples=1, calls=1, warm=False)[0]
        self._prepared[request["id"]] = prepared
        return {"seconds": seconds, "sample": sampled, "single_calls": prepared.before_each is not None}

    def _run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        prepared = self._prepared[request["id"]]
        seconds = timed_seconds(prepared, request["samples"], request["calls"], request["warm"])
        return {"seconds": seconds}

    def _drop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._prepared.pop(request["id"], None)
        return {}

    def _memory(self, request: Mapping[str, Any]) -> dict[str, Any]:
        case, contender = _work(request)
        tiny = replace(case, batch_size=2, num_steps=3, input_size=8, hidden_size=8)
        self._peer.prepare(tiny, contender).call()  # libraries load code and start threads at first use
        prepared = self._peer.prepare(case, contender)

        def calls() -> None:
            for _ in range(MEMORY_CALLS):
                prepared.call()

        return {"bytes": peak_bytes_of(calls)}


def _work(request: Mapping[str, Any]) -> tuple[Case, Contender]:
    return case_from_json(request["case"]), Contender(**request["contender"])


def serve(peer: Peer, requests: TextIO, replies: TextIO) -> None:
    """Answer until the requests end."""
    worker = Worker(peer)
    for line in requests:
        _write(replies, worker.answer(json.loads(line)))


def _write(replies: TextIO, reply: Mapping[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def main(name: str, threads: str) -> None:
    """Run as `name`, on the first `threads` of the CPUs that this process may use."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print; replies keep their own pipe
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
        try:
            peer: Any = import_module(f"grunlock.benchmark.peers.{PEER_MODULES[name]}")
            versions = peer.start(int(threads))
        except ImportError as error:
            _write(replies, {"missing": str(error)})
            return
        _write(replies, {"versions": versions})
        serve(peer, sys.stdin, replies)


if __name__ == "__main__":
    main(*sys.argv[1:])
