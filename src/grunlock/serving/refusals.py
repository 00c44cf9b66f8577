"""Requests that are refused: the status they end with, and the body that says why, in our form."""

import json
from collections.abc import Mapping

from grunlock.errors import CalibrationError, DataError, ExplanationError, GrunlockError, StreamError

CLIENT_GONE = 499  # as nginx counts it; nobody reads it
CLOSE = {"connection": "close"}  # where the rest of a body may still be on its way

BUSY = {"retry-after": "1"}  # seconds


class RequestError(GrunlockError):
    """A request that cannot be answered. status: of HTTP. headers: beside those of every answer."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
        where: object = None,
        got: object = None,
        expected: object = None,
        cure: str | None = None,
    ) -> None:
        self.status = status
        self.headers = dict(headers or {})
        super().__init__(what, where=where, got=got, expected=expected, cure=cure)


def status_of(error: GrunlockError) -> int:
    """422 for what the model cannot do with this input, 500 for a model at fault."""
    if isinstance(error, RequestError):
        return error.status
    asked_for = (CalibrationError, DataError, ExplanationError, StreamError)
    return 422 if isinstance(error, asked_for) else 500


def error_fields(error: GrunlockError) -> dict[str, object]:
    """JSON-able: {"error": {"what": ..., "where": ..., "got": ..., "expected": ..., "cure": ...}}."""
    named = {"where": error.where, "got": error.got, "expected": error.expected, "cure": error.cure}
    shown = {name: None if value is None else str(value) for name, value in named.items()}
    return {"error": {"what": error.what, **shown}}


def error_body(error: GrunlockError) -> bytes:
    """error_fields as JSON. What was got may hold half characters, which JSON writes as escapes."""
    return json.dumps(error_fields(error)).encode()
