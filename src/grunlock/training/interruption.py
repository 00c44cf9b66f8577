"""Stopping a run between two steps, so that its checkpoint is always whole."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
PASSED_ON_SECONDS = 10.0  # a launcher sends its processes what the terminal has sent them already


class StopRequest:
    """Set by the first Ctrl-C or SIGTERM; the loop asks after each step. A second one stops at once.

    passed_on: signals also come from a launcher, so what follows soon after the first is no second one.
    """

    def __init__(self, *, passed_on: bool = False) -> None:
        self.requested = False
        self._first_at = 0.0
        self._passed_on = passed_on

    def handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self._first_at = True, time.monotonic()
        elif not self._passed_on or time.monotonic() - self._first_at > PASSED_ON_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def stop_request(*, passed_on: bool = False) -> Iterator[StopRequest]:
    """Catch stop signals inside the block. Outside the main thread signals cannot be caught: never set."""
    request = StopRequest(passed_on=passed_on)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.signal(number, request.handle) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
