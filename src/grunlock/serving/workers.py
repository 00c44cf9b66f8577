"""Where serving begins: in this process alone, or in several on one socket and a parent that keeps them."""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event

from grunlock.errors import ServingError
from grunlock.serving.metrics import SHARED_FOLDER
from grunlock.serving.served import load_served
from grunlock.serving.server import ServerOptions, address_of, allow_connections, bound, run_worker

log = logging.getLogger("grunlock.serving")

LOOK_SECONDS = 0.2
SHORT_LIFE_SECONDS = 10.0  # a worker that dies sooner after its start is likely to do so again
MAX_SHORT_LIVES = 3


def serve(options: ServerOptions, announce: Callable[[str], None] = lambda address: None) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads. announce is told the address once requests are answered.

    Raises ServingError for an address that cannot be had, and as create_app.
    """
    allowed = allow_connections(options.limits.connections)
    options = replace(options, limits=replace(options.limits, connections=allowed))
    listener = bound(options.host, options.port)
    address = address_of(listener)
    with listener:
        if options.workers > 1:
            supervise(options, listener, lambda: announce(address))
        else:
            run_worker(options, listener, lambda: announce(address))


class Workers:
    """The processes, by their order."""

    def __init__(self, options: ServerOptions, listener: socket.socket) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._options = options
        self._listener = listener
        self._began: dict[SpawnProcess, float] = {}
        self.ready: list[Event] = []
        self.stopping = False
        self._short_lives = 0

    def start(self) -> None:
        """One more."""
        ready = self._context.Event()
        arguments = (self._options, self._listener, ready, os.getpid())
        process = self._context.Process(target=_work, args=arguments, name="grunlock-worker")
        process.start()
        self.ready.append(ready)
        self._began[process] = time.monotonic()

    def signal(self, number: int) -> None:
        """Pass it on to all of them."""
        for process in self._began:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, number)

    def replace_dead(self) -> None:
        """Raises ServingError where they die one after another."""
        for process, began in list(self._began.items()):
            if process.is_alive():
                continue
            del self._began[process]
            if self.stopping:
                continue
            log.error("a worker ended with code %s; another takes its place", process.exitcode)
            self._short_lives += time.monotonic() - began < SHORT_LIFE_SECONDS
            if self._short_lives >= MAX_SHORT_LIVES:
                raise ServingError(
                    "The workers end as soon as they begin.",
                    got=f"exit code {process.exitcode}",
                    cure="serve with --workers 1, which shows the error",
                )
            self.start()

    @property
    def alive(self) -> bool:
        return any(process.is_alive() for process in self._began)

    def end(self, seconds: float) -> None:
        """Wait for them, then kill those that are left."""
        until = time.monotonic() + seconds
        for process in self._began:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                log.error("worker %s does not end and is killed", process.pid)
                process.kill()
                process.join()


def supervise(options: ServerOptions, listener: socket.socket, started: Callable[[], None]) -> None:
    """Start options.workers processes, replace those that die, pass signals on, until SIGTERM or SIGINT."""
    for name, path in options.models.items():
        load_served(name, path, options.precision)  # what is wrong with a model is said here, once
    workers = Workers(options, listener)

    def stop(number: int, frame: object) -> None:
        workers.stopping = True

    with tempfile.TemporaryDirectory(prefix="grunlock-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder  # the workers inherit it
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        signal.signal(signal.SIGHUP, lambda number, frame: workers.signal(signal.SIGHUP))
        try:
            for _ in range(options.workers):
                workers.start()
            announced = False
            while not workers.stopping:
                time.sleep(LOOK_SECONDS)
                workers.replace_dead()
                if not announced and all(ready.is_set() for ready in workers.ready):
                    announced = True
                    started()
        finally:
            workers.stopping = True
            workers.signal(signal.SIGTERM)
            limits = options.limits
            workers.end(limits.drain_seconds + limits.grace_seconds + 5)
            del os.environ[SHARED_FOLDER]


def _work(options: ServerOptions, listener: socket.socket, ready: Event, parent: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    run_worker(options, listener, ready.set, lambda: os.kill(parent, signal.SIGHUP))
