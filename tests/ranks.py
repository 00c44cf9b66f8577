"""Work done by several processes of one group, as torchrun would start them.

A server that has imported torch forks them, so that a group starts in a moment; no test's threads are copied.
"""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PRELOADED = ["pytest", "hypothesis", "grunlock.training.run", "grunlock.cli.main"]
LIMIT_SECONDS = 60.0


class Lost(Exception):
    """A process ended without a word."""


def on_ranks(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What work(rank, *arguments) gives or raises on each rank. It and its arguments are pickled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    port, started = _free_port(), []
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(sender, rank, size, port, work, arguments))
        process.start()
        sender.close()
        started.append((process, receiver))
    try:
        return [_answer(receiver) for _, receiver in started]
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _answer(receiver: Connection) -> Any:
    if not receiver.poll(LIMIT_SECONDS):
        return Lost(f"no answer within {LIMIT_SECONDS:g} s")
    try:
        return receiver.recv()
    except EOFError:
        return Lost("killed")


def _run(
    sender: Connection, rank: int, size: int, port: int, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    names = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()}, GLOO_SOCKET_IFNAME="lo")
    try:
        sender.send(work(rank, *arguments))
    except BaseException as error:
        traceback.print_exc()
        sender.send(error)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
