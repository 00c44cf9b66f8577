"""What the user asks a long command for by signals."""

import signal
from types import FrameType
from typing import Any


class Signals:
    """What was asked for while the block runs. A second SIGINT or SIGTERM raises KeyboardInterrupt.

    Entered after ray.init, which takes SIGTERM for itself and would end the process by it.

    stop: SIGINT or SIGTERM. look: SIGHUP.
    """

    def __init__(self) -> None:
        self.stop = False
        self.look = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        if hasattr(signal, "SIGHUP"):
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True

    def _look(self, number: int, frame: FrameType | None) -> None:
        self.look = True
