"""A WebSocket on which a text or a series comes in pieces, with an answer after each.

    client                                              server
    {"open": {"max_error": 0.05, "model": "a"}}         {"opened": {...}}
    {"piece": "some words"} or {"values": [[...]]}      {"probs": {...}, "outlook": {...}, "decided": ...}
    {"finish": true}                                    the same, with "finished": true

Another "open" begins anew on the same socket. What is wrong is answered by {"error": {...}}, as in HTTP; then
the socket closes, except that an "open" may be repaired.
"""

import asyncio
import json
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect

from grunlock.errors import DataError, GrunlockError
from grunlock.runtime.streaming import Stream
from grunlock.serving.bodies import parse_object
from grunlock.serving.front import Door
from grunlock.serving.limits import Limits
from grunlock.serving.questions import (
    refuse_unknown,
    series,
    share_or_none,
    text,
    text_or_none,
)
from grunlock.serving.refusals import RequestError, error_fields
from grunlock.serving.served import ServedModel
from grunlock.serving.slots import Slots
from grunlock.shapes import FloatArray

# Codes of RFC 6455, 7.4.1, and of the registry of the IANA
POLICY, TOO_BIG, TRY_LATER = 1008, 1009, 1013
MESSAGES = ("open", "piece", "values", "finish")


@dataclass
class Reading:
    """One text or series on its way. taken: characters or numbers so far."""

    served: ServedModel
    stream: Stream[Any]
    taken: int = 0

    def state(self, *, finished: bool) -> dict[str, Any]:
        """What is told after each piece; no probabilities before anything has been read."""
        stream, served = self.stream, self.served
        try:
            probs, outlook = stream.probabilities, stream.outlook
        except DataError:
            return {**self._rest(finished), "label": None, "probs": None, "outlook": None}
        return {
            "label": stream.label,
            "probs": _named(served, probs),
            "outlook": _named(served, outlook),
            **self._rest(finished),
        }

    def _rest(self, finished: bool) -> dict[str, Any]:
        stream, served = self.stream, self.served
        return {
            "num_steps": stream.num_steps,
            "decided": stream.decided,
            "answer": stream.answer,
            "decided_at": stream.decided_at,
            "finished": finished,
            "model": served.name,
            "version": served.version,
        }


class Streams:
    """All of a worker. count: how many are open."""

    def __init__(
        self, slots: Slots, limits: Limits, door: Door, origins: tuple[str, ...], aside: Executor
    ) -> None:
        self._slots = slots
        self._limits = limits
        self._door = door
        self._origins = origins
        self._aside = aside
        self.count = 0

    async def serve(self, websocket: WebSocket) -> None:
        """One socket, until it closes."""
        if not self._is_own(websocket):
            await websocket.close(POLICY)  # before it is accepted: the client sees 403
            return
        await websocket.accept()
        try:
            if self.count >= self._limits.streams:
                raise RequestError(
                    503,
                    "The server has as many streams as it can read.",
                    expected=f"at most {self._limits.streams}",
                    cure="try again later, or ask /v1/predict",
                )
            self.count += 1
            try:
                await self._converse(websocket)
            finally:
                self.count -= 1
        except WebSocketDisconnect:
            return
        except GrunlockError as error:
            await _say(websocket, error_fields(error))
            await websocket.close(_code_of(error), error.what[:100])

    def _is_own(self, websocket: WebSocket) -> bool:
        """Whether it is opened by a page of this server, or by no page: other pages may not use the browser
        of a user to ask."""
        origin = websocket.headers.get("origin")
        if origin is None or origin in self._origins:
            return True
        return urlsplit(origin).netloc == websocket.headers.get("host")

    async def _converse(self, websocket: WebSocket) -> None:
        reading: Reading | None = None
        bearer = websocket.headers.get("authorization", "").removeprefix("Bearer ")
        loop = asyncio.get_running_loop()
        while True:
            fields = await self._next(websocket)
            refuse_unknown(fields, MESSAGES)
            if len(fields) != 1:
                raise _no_message(fields)
            ((kind, given),) = fields.items()
            if kind == "open":
                reading = self._open(given, bearer)
                opened = {"model": reading.served.name, "version": reading.served.version}
                await _say(websocket, {"opened": opened})
                continue
            if reading is None:
                raise RequestError(422, "The stream is not open.", got=kind, expected='{"open": {}} first')
            piece = None if kind == "finish" else self._piece(reading, kind, given)
            state = await loop.run_in_executor(self._aside, _read_on, reading, piece)
            await _say(websocket, state)

    async def _next(self, websocket: WebSocket) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                message = await websocket.receive()
        except TimeoutError as error:
            seconds = f"{self._limits.idle_seconds:g} seconds"
            raise RequestError(408, "The stream was silent for too long.", expected=seconds) from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        given = message.get("text")
        if given is None:
            raise RequestError(400, "A message is binary.", expected="text: a JSON object")
        return parse_object(given)

    def _open(self, given: Any, bearer: str) -> Reading:
        if not isinstance(given, dict):
            raise RequestError(422, "A value is not what it should be.", where="open", expected="an object")
        refuse_unknown(given, ("model", "max_error", "token"))
        token = text_or_none(given, "token") or bearer
        if not self._door.opens(token.encode("utf-8", "replace")):
            raise RequestError(401, "This needs a token.", where="open.token", expected="the token")
        served = self._slots.pick(text_or_none(given, "model"))
        return Reading(served, served.classifier.stream(share_or_none(given, "max_error")))

    def _piece(self, reading: Reading, kind: str, given: Any) -> str | FloatArray:
        expected, read = ("piece", text) if reading.served.kind == "text" else ("values", series)
        if kind != expected:
            raise RequestError(422, f"This model reads {reading.served.kind}.", got=kind, expected=expected)
        piece = read(given, expected, reading.served, self._limits)
        reading.taken += piece.size
        if reading.taken > self._limits.stream_chars:
            raise RequestError(
                413, "The stream is too long.", expected=f"at most {self._limits.stream_chars:,} characters"
            )
        return piece.value


def _read_on(reading: Reading, piece: str | FloatArray | None) -> dict[str, Any]:
    """None: the input has ended."""
    if piece is None:
        reading.stream.finish()
    else:
        reading.stream.feed(piece)
    return reading.state(finished=piece is None)


def _named(served: ServedModel, probs: FloatArray) -> dict[str, float]:
    return dict(zip(served.labels, probs.tolist(), strict=True))


def _no_message(fields: dict[str, Any]) -> RequestError:
    return RequestError(
        422,
        "A message has one key.",
        got=", ".join(fields) or "none",
        expected=f"one of: {', '.join(MESSAGES)}",
    )


def _code_of(error: GrunlockError) -> int:
    status = error.status if isinstance(error, RequestError) else 422
    return {413: TOO_BIG, 503: TRY_LATER}.get(status, POLICY)


async def _say(websocket: WebSocket, fields: dict[str, Any]) -> None:
    await websocket.send_text(json.dumps(fields))
