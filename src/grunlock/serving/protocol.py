"""uvicorn's HTTP protocol with limits that it lacks: time and size of headers, number of connections.

It is a subclass because that is the place where uvicorn lets one change it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from grunlock.serving.limits import Limits
from grunlock.serving.refusals import RequestError, error_body

REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class Doorman:
    """The connections of one worker.

    present: all but streams and those that are closing. idle: those without a request on its way, the longest
    idle first.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.present: set[GuardedProtocol] = set()
        self.idle: dict[GuardedProtocol, None] = {}

    def welcome(self, connection: "GuardedProtocol") -> None:
        """For one too many the longest idle one is closed, which may be this one."""
        self.present.add(connection)
        self.idle[connection] = None
        if len(self.present) > self.limits.connections:
            next(iter(self.idle)).leave()


def guarded(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol class for uvicorn's configuration."""
    doorman = Doorman(limits)

    class Guarded(GuardedProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(doorman, *args, **kwargs)

    return Guarded


class GuardedProtocol(HttpToolsProtocol):
    """One connection. It has limits.header_seconds for the headers of a request, from its first byte on, or
    from the beginning of the connection."""

    def __init__(self, doorman: Doorman, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._doorman = doorman
        self._deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection."""
        super().connection_made(transport)
        self._begin_deadline()
        self._doorman.welcome(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio tells it."""
        self._forget()
        self._doorman.present.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes while headers are not complete."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > self._doorman.limits.header_bytes:
            limit = f"at most {self._doorman.limits.header_bytes:,} bytes"
            self._refuse(RequestError(431, "The headers are too large.", expected=limit))

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_headers = True
        if self._deadline is None:
            self._begin_deadline()

    def on_headers_complete(self) -> None:
        """The request goes to the application."""
        self._forget()
        self._in_headers, self._header_bytes = False, 0
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The connection is idle again."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._doorman.idle[self] = None

    def handle_websocket_upgrade(self) -> None:
        """The connection is a stream from here on."""
        self._forget()
        self._doorman.present.discard(self)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """In our form."""
        self._refuse(RequestError(400, "This is no HTTP request.", got=msg))

    def timeout_keep_alive_handler(self) -> None:
        """The client asks no more. For one that does not even read its answer nobody waits."""
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def leave(self) -> None:
        """Close, for another connection's sake."""
        self._forget()
        self._doorman.present.discard(self)
        self.transport.close()

    def _begin_deadline(self) -> None:
        self._deadline = self.loop.call_later(self._doorman.limits.header_seconds, self._too_late)

    def _too_late(self) -> None:
        if self._header_bytes == 0:  # it has not said a word
            self.leave()
            return
        seconds = f"all of them within {self._doorman.limits.header_seconds:g} seconds"
        self._refuse(RequestError(408, "The headers did not come in time.", expected=seconds))

    def _refuse(self, error: RequestError) -> None:
        self._forget()
        if self.transport.is_closing():
            return
        body = error_body(error)
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        status = head % (error.status, REASONS[error.status], len(body))
        self.transport.write(status + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _forget(self) -> None:
        self._doorman.idle.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
