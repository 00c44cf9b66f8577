"""What a server takes on: sizes, numbers and times, in one place. Knows no HTTP."""

from dataclasses import dataclass, fields

from grunlock.errors import ServingError

MAY_BE_ZERO = ("wait_ms", "drain_seconds")


@dataclass(frozen=True)
class Limits:
    """Of one worker process. Raises ServingError for what is not above zero.

    body_bytes:      of a request's body
    bodies_bytes:    of all bodies together that are being read
    header_bytes:    of a request's line and headers together
    text_chars:      of one text, in Unicode characters
    series_steps:    of one series
    batch_texts:     texts or series in one request to /v1/batch
    batch:           examples that one pass of the classifier takes
    wait_ms:         how long a free classifier waits for more examples; 0: not at all
    queue:           examples that wait for the classifier; more are refused
    connections:     open at once; for one more the longest idle one is closed
    streams:         WebSockets open at once
    stream_chars:    of one stream, in Unicode characters, or in numbers of a series
    header_seconds:  until a request's headers have come
    body_seconds:    until its body has
    timeout_seconds: until its answer is there
    idle_seconds:    without a word from a stream, or between two requests of a connection
    drain_seconds:   between saying "not ready" and taking no more connections, when the server stops
    grace_seconds:   for what runs then
    """

    body_bytes: int = 1_000_000
    bodies_bytes: int = 100_000_000
    header_bytes: int = 16_384
    text_chars: int = 20_000
    series_steps: int = 20_000
    batch_texts: int = 256
    batch: int = 32
    wait_ms: float = 0.0
    queue: int = 1024
    connections: int = 10_000
    streams: int = 500
    stream_chars: int = 1_000_000
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    timeout_seconds: float = 10.0
    idle_seconds: float = 60.0
    drain_seconds: float = 0.5
    grace_seconds: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in MAY_BE_ZERO else 1 if field.type is int else 1e-3
            if not least <= value < float("inf"):
                raise ServingError(
                    "A limit of the server is not one.",
                    where=field.name,
                    got=value,
                    expected=f"a {'whole ' if field.type is int else ''}number from {least:g} on",
                )
