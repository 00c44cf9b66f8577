"""Running the application: sockets, signals, an orderly end. One process; several are workers.py's."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from grunlock.errors import ServingError
from grunlock.kernels.library import THREADS_VARIABLE, native_library
from grunlock.kernels.stack import InferencePrecision
from grunlock.serving.app import create_app
from grunlock.serving.limits import Limits
from grunlock.serving.protocol import guarded

if sys.platform != "win32":
    import resource

log = logging.getLogger("grunlock.serving")

BACKLOG = 2048
SPARE_FILES = 256  # descriptors besides those of connections
# How long a thread may keep the interpreter while the event loop wants it. With Python's 5 ms a long pass of
# the classifier would hold up every step of the loop so long; much less costs processor time for switching.
SWITCH_SECONDS = 0.001


@dataclass(frozen=True)
class ServerOptions:
    """As create_app; and

    threads: of the kernels in each worker; None: what the environment says, else 1
    workers: processes, each with its own models
    """

    models: Mapping[str, Path]
    host: str = "127.0.0.1"
    port: int = 8080
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    open_metrics: bool = False
    origins: tuple[str, ...] = ()
    precision: InferencePrecision = "float32"
    watch_seconds: float | None = 2.0
    threads: int | None = None
    workers: int = 1

    def app(self, on_reload: Callable[[], None]) -> FastAPI:
        """Raises as create_app."""
        return create_app(
            self.models,
            limits=self.limits,
            token=self.token,
            open_metrics=self.open_metrics,
            origins=self.origins,
            precision=self.precision,
            watch_seconds=self.watch_seconds,
            on_reload=on_reload,
        )


def run_worker(
    options: ServerOptions,
    listener: socket.socket,
    started: Callable[[], None] = lambda: None,
    on_reload: Callable[[], None] = lambda: None,
) -> None:
    """One process's part, until it is told to stop."""
    settle(options.threads)
    app = options.app(on_reload)
    config = configuration(app, options.limits)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(uvicorn.Server(config), app, options, listener, started))


def settle(threads: int | None) -> None:
    """Set this process up for serving. threads: as in ServerOptions."""
    library = native_library()
    if library is not None and (threads is not None or THREADS_VARIABLE not in os.environ):
        library.set_num_threads(threads or 1)
    sys.setswitchinterval(SWITCH_SECONDS)


def configuration(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """How uvicorn runs the application: quick parts, our limits, no log line for each request."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return uvicorn.Config(
        app,
        http=guarded(limits),
        ws="websockets-sansio",
        ws_max_size=limits.body_bytes,
        ws_max_queue=2,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=max(1, round(limits.grace_seconds)),
    )


async def _serve(
    server: uvicorn.Server,
    app: FastAPI,
    options: ServerOptions,
    listener: socket.socket,
    started: Callable[[], None],
) -> None:
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    if not running.done():
        _listen_to_signals(server, app, options.limits)
        gc.collect()
        gc.freeze()  # libraries and models stay: looking through them stopped everything for 50 ms
        started()
    await running


def _listen_to_signals(server: uvicorn.Server, app: FastAPI, limits: Limits) -> None:
    """In place of uvicorn's, which would end the process by the signal instead of with code 0."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[Any]] = set()
    aside = ThreadPoolExecutor(1, "grunlock-reload")

    async def drain() -> None:
        app.state.life.status = "draining"
        log.info("draining: not ready for more")
        await asyncio.sleep(limits.drain_seconds)
        server.should_exit = True

    def stop() -> None:
        if app.state.life.status == "draining":  # the second time somebody asks
            server.should_exit = server.force_exit = True
        else:
            tasks.add(loop.create_task(drain()))

    def reload() -> None:
        task = loop.create_task(app.state.slots.reload(aside))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reload)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ServingError for an address that is taken, forbidden or unknown."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: ("The port is taken.", "choose another with --port, or 0 for any that is free"),
            errno.EACCES: ("The port is not yours.", "choose one from 1024 on with --port"),
        }
        unknown = "There is no such address on this machine.", "use --host 127.0.0.1, or 0.0.0.0 for all"
        what, cure = reasons.get(error.errno or 0, unknown)
        where, got = f"{host}, port {port}", error.strerror or error
        raise ServingError(what, where=where, got=got, cure=cure) from error
    except OverflowError as error:
        expected = "a number from 0 to 65535"
        raise ServingError("There is no such port.", where="--port", got=port, expected=expected) from error


def address_of(listener: socket.socket) -> str:
    """As for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_connections(count: int) -> int:
    """Let this process open as many files as that takes. Returns how many connections it may have.

    A smaller number than asked for is logged: the system does not allow more.
    """
    if sys.platform == "win32":
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = count if soft == resource.RLIM_INFINITY else min(count, soft - SPARE_FILES)
    if allowed < count:
        log.warning("the system allows %d connections, not %d: see ulimit -n", allowed, count)
    return allowed
