"""Reading a request's body: in time, within its size, as a JSON object. Knows no field of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NoReturn

from starlette.requests import Request

from grunlock.serving.limits import Limits
from grunlock.serving.refusals import BUSY, CLIENT_GONE, CLOSE, RequestError

JSON_TYPE = b"application/json"
MAX_SHOWN = 80

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodyReader:
    """Reads the bodies of all requests, and knows how many bytes it holds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    async def read_json(self, request: Request) -> dict[str, Any]:
        """The fields of the object.

        Raises RequestError: 415 for another content type, 413 for more bytes than limits.body_bytes, counted
        as they come, 408 for bytes that do not come in time, 503 where all bodies together are too large, 400
        for what is no JSON object in UTF-8.
        """
        _check_headers(request, self._limits)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._read(request.receive)
        except TimeoutError as error:
            raise RequestError(
                408,
                "The body did not come in time.",
                expected=f"all of it within {self._limits.body_seconds:g} seconds",
                headers=CLOSE,
            ) from error
        return parse_object(body)

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._limits.body_bytes:
                raise _too_large(f"{len(body):,} bytes", self._limits)
            return body
        parts = bytearray()
        try:
            return await self._rest(message, receive, parts)
        finally:
            self._held -= len(parts)

    async def _rest(self, message: MutableMapping[str, Any], receive: Receive, parts: bytearray) -> bytes:
        while True:
            if message["type"] == "http.disconnect":
                raise RequestError(CLIENT_GONE, "The client has left.")
            part = message.get("body", b"")
            parts += part
            self._held += len(part)
            if len(parts) > self._limits.body_bytes:
                raise _too_large(f"more than {self._limits.body_bytes:,} bytes", self._limits)
            if self._held > self._limits.bodies_bytes:
                raise RequestError(
                    503,
                    "The server reads too many large bodies.",
                    cure="try again in a second",
                    headers={**CLOSE, **BUSY},
                )
            if not message.get("more_body"):
                return bytes(parts)
            message = await receive()


def parse_object(body: bytes | str) -> dict[str, Any]:
    """Raises RequestError (400) for what is no JSON object in UTF-8."""
    try:
        text = body.decode() if isinstance(body, bytes) else body
        found = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        got = f"byte {error.start + 1}: {error.reason}"
        raise RequestError(400, "The body is not UTF-8.", where="body", got=got) from error
    except RecursionError as error:
        raise RequestError(400, "The body is nested too deeply.", where="body") from error
    except json.JSONDecodeError as error:
        raise RequestError(
            400,
            "The body is not JSON.",
            where=f"body, line {error.lineno}, column {error.colno}",
            got=error.msg,
            expected='an object such as {"text": "..."}',
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise RequestError(400, "The body is not JSON.", where="body", got=str(error)[:MAX_SHOWN]) from error
    if not isinstance(found, dict):
        got = type(found).__name__
        raise RequestError(400, "The body is not a JSON object.", where="body", got=got, expected="{...}")
    return found


def _check_headers(request: Request, limits: Limits) -> None:
    content_type, length = b"", None
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = int(value)  # the server has checked that these are digits
    media_type, _, parameters = content_type.partition(b";")
    charset = parameters.strip().lower()
    if media_type.strip().lower() != JSON_TYPE or (charset and charset not in _UTF_8):
        raise RequestError(
            415,
            "The body has a content type that is not read here.",
            where="header content-type",
            got=content_type.decode("latin-1")[:MAX_SHOWN] or "none",
            expected="application/json, in UTF-8",
            headers=CLOSE,
        )
    if length is not None and length > limits.body_bytes:
        raise _too_large(f"{length:,} bytes announced", limits)


def _too_large(got: str, limits: Limits) -> RequestError:
    return RequestError(
        413,
        "The body is too large.",
        where="body",
        got=got,
        expected=f"at most {limits.body_bytes:,} bytes",
        cure="send the texts in several requests",
        headers=CLOSE,
    )


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError(
        400,
        "The body is not JSON.",
        where="body",
        got=name,
        expected="a number, or null where one is missing",
    )


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(
            400, "A key stands twice in one object.", where="body", got=repr(twice)[:MAX_SHOWN]
        )
    return fields


_UTF_8 = (b"charset=utf-8", b'charset="utf-8"', b"charset=utf8")
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated)
