"""The parent's side of one process per peer: start it, ask it, notice that it is missing or has died."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from grunlock.benchmark.worker import PEER_MODULES

PACKAGE = Path(__file__).parents[1]
CLOSE_SECONDS = 5.0
SHOWN_CHARACTERS = 300  # of a dead worker's last words

# Finds grunlock's modules where it is not installed, without running grunlock/__init__.
FOREIGN = """
import json, sys, types
package = types.ModuleType("grunlock")
package.__path__ = [sys.argv[1]]
sys.modules["grunlock"] = package
try:
    from grunlock.benchmark.worker import main
except ImportError as error:
    print(json.dumps({"missing": str(error)}))
else:
    main(*sys.argv[2:])
"""

Command = list[str]


class PeerMissingError(Exception):
    """A peer is not installed in its interpreter; the text says what is missing."""


class WorkerStoppedError(Exception):
    """A worker process ended when it should have answered; the text has its last words."""


def worker_command(peer: str, python: str, threads: int) -> Command:
    if python == sys.executable:
        return [python, "-m", "grunlock.benchmark.worker", peer, str(threads)]
    return [python, "-c", FOREIGN, str(PACKAGE), peer, str(threads)]


def worker_environment(threads: int) -> dict[str, str]:
    """The same number of threads for every library, no GPU, little talk. Waiting policies stay their own."""
    count = str(threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }


class Worker:
    """A running worker. Its requests and replies are in grunlock.benchmark.worker.

    Raises PeerMissingError or WorkerStoppedError if it cannot start.
    """

    def __init__(self, command: Command, environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        try:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for the parent, which then closes the pipes
            )
        except OSError as error:
            self._errors.close()
            raise WorkerStoppedError(f"{command[0]}: {os.strerror(error.errno or 0)}") from error
        try:
            hello = self._read()
            if "missing" in hello:
                raise PeerMissingError(hello["missing"])
        except BaseException:
            self.close()
            raise
        self.versions: dict[str, str] = hello["versions"]

    def request(self, **fields: Any) -> dict[str, Any]:
        """Raises WorkerStoppedError if the process has died or dies of it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(fields) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerStoppedError(self._last_words()) from error
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerStoppedError(self._last_words())
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode("utf-8", "replace").strip()[-SHOWN_CHARACTERS:]
        ending = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{ending}: {words}" if words else ending

    def close(self) -> None:
        """End the process, politely first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # it may have died with a request unread
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


Launch = Callable[[str, str, int], Worker]  # peer, interpreter, threads


def launch(peer: str, python: str, threads: int) -> Worker:
    return Worker(worker_command(peer, python, threads), worker_environment(threads))


class WorkerPool:
    """The running workers, one per peer, all with the same number of threads."""

    def __init__(self, pythons: Mapping[str, str], launch: Launch = launch) -> None:
        assert pythons.keys() <= PEER_MODULES.keys()
        self.pythons = pythons
        self.missing: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self._launch = launch
        self._threads = 0
        self._workers: dict[str, Worker] = {}

    def get(self, peer: str, threads: int) -> Worker:
        """The peer's worker, started if it does not run. Raises PeerMissingError, WorkerStoppedError."""
        if peer in self.missing:
            raise PeerMissingError(self.missing[peer])
        if threads != self._threads:
            self.close()
            self._threads = threads
        if peer not in self._workers:
            try:
                worker = self._launch(peer, self.pythons.get(peer, sys.executable), threads)
            except PeerMissingError as error:
                self.missing[peer] = str(error)
                raise
            self.versions[peer] = worker.versions
            self._workers[peer] = worker
        return self._workers[peer]

    def discard(self, peer: str) -> None:
        """Close one worker; `get` starts a fresh one."""
        if peer in self._workers:
            self._workers.pop(peer).close()

    def close(self) -> None:
        for peer in list(self._workers):
            self.discard(peer)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
