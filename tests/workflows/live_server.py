"""A server in this process, on a port of its own, and what a client sees of it."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from grunlock.serving import Limits, create_app
from grunlock.serving.server import bound, configuration

WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def fields(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.fields["error"]
        assert found.keys() == {"what", "where", "got", "expected", "cure"}
        return found


@dataclass(frozen=True)
class LiveServer:
    port: int
    app: FastAPI

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        """One request on a connection of its own. raw: a body as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        sent = json.dumps(body).encode() if body is not None else raw
        given = {"content-type": "application/json"} if sent is not None else {}
        try:
            connection.request(method, path, sent, {**given, **(headers or {})})
            reply = connection.getresponse()
            lowered = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, lowered, reply.read())
        finally:
            connection.close()

    def post(self, path: str, body: object = None, **more: Any) -> Reply:
        return self.ask("POST", path, body, **more)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS)


@contextmanager
def live(
    models: Path | Mapping[str, Path], limits: Limits | None = None, **options: Any
) -> Iterator[LiveServer]:
    """Runs until the block ends. options: of create_app."""
    limits = limits or Limits(drain_seconds=0, grace_seconds=1)
    app = create_app(models, limits=limits, **{"watch_seconds": None, **options})
    listener = bound("127.0.0.1", 0)
    config = configuration(app, limits)
    server = uvicorn.Server(config)

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        yield LiveServer(listener.getsockname()[1], app)
    finally:
        server.should_exit = True
        thread.join(WAIT_SECONDS)
        listener.close()
        assert not thread.is_alive()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    found = b""
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            return found
        if not part:
            return found
        found += part
