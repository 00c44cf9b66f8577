"""What every HTTP request passes first: token, count and time, and the short way to the endpoint asked most.

Plain ASGI, in front of FastAPI's own layers. The short way is the same endpoint that the router would find:
at thousands of requests a second the layers and the router cost as much as the model.
"""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from grunlock.errors import GrunlockError
from grunlock.serving.bodies import JSON_TYPE
from grunlock.serving.metrics import Metrics
from grunlock.serving.refusals import RequestError, error_body, status_of

log = logging.getLogger("grunlock.serving")

Endpoint = Callable[[Request], Awaitable[Response]]
AT_FAULT = RequestError(500, "The server is at fault.", cure="its log says more")
OTHER = "other"  # the route of a path that there is not


class Door:
    """Who may ask. token: as the client has to send it; None: everybody.

    open_metrics: whether /metrics answers without it.
    """

    def __init__(self, token: str | None, *, open_metrics: bool = False) -> None:
        self._token = None if token is None else token.encode()
        self._closed = ("/v1/",) if open_metrics else ("/v1/", "/metrics")

    @property
    def locked(self) -> bool:
        return self._token is not None

    def refuse_stranger(self, path: str, authorization: bytes) -> None:
        """Raises RequestError (401) where the path needs a token and there is another or none."""
        if self._token is None or not path.startswith(self._closed):
            return
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not self.opens(given.strip()):
            raise RequestError(
                401,
                "This needs a token.",
                where="header authorization",
                got="none" if not authorization else "another one",
                expected="Bearer TOKEN",
                headers={"www-authenticate": 'Bearer realm="grunlock"'},
            )

    def opens(self, given: bytes) -> bool:
        """Compares in a time that tells nothing of the token."""
        return self._token is None or hmac.compare_digest(given, self._token)


class Front:
    """ASGI middleware. direct: endpoints of POST requests by path. routes: all paths, for counting."""

    def __init__(
        self,
        app: ASGIApp,
        direct: Mapping[str, Endpoint],
        routes: frozenset[str],
        door: Door,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._direct = direct
        self._routes = routes
        self._door = door
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, path, status = time.perf_counter(), scope["path"], 500

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            response = await self._answer(scope, receive, path)
            if response is None:
                await self._app(scope, receive, counted)
            else:
                await response(scope, receive, counted)
        finally:
            route = path if path in self._routes else OTHER
            self._metrics.request(route, status, time.perf_counter() - begun)

    async def _answer(self, scope: Scope, receive: Receive, path: str) -> Response | None:
        """None where the router has to find the endpoint."""
        try:
            if self._door.locked:
                self._door.refuse_stranger(path, _header(scope, b"authorization"))
            if scope["method"] == "POST" and path in self._direct:
                return await self._direct[path](Request(scope, receive))
        except GrunlockError as error:
            return refusal(error)
        except Exception:
            log.exception("%s failed", path)
            return refusal(AT_FAULT)
        return None


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def refusal(error: GrunlockError) -> Response:
    """The response that says why."""
    headers = error.headers if isinstance(error, RequestError) else None
    return Response(error_body(error), status_of(error), headers, JSON_TYPE.decode())
