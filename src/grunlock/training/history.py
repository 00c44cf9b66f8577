"""history.jsonl: one event a line, appended as it happens, cut back to the checkpoint on resume.

Strict JSON: a number that is not finite, such as the loss of a skipped step, is null.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from grunlock.files import storage_error, write_atomically
from grunlock.training.events import EVENT_NAMES, EpochDone, Event, PretrainEpochDone

EPOCHS = (EVENT_NAMES[EpochDone], EVENT_NAMES[PretrainEpochDone])


class History:
    """A listener that writes. Use as a context manager.

    A run that resumes at `step`, with `epoch` epochs finished, loses the lines of what it repeats.
    """

    def __init__(self, path: Path, step: int, epoch: int) -> None:
        self.path = path
        past = [] if step == 0 else read_history(path)
        kept = [
            record
            for record in past
            if record["step"] <= step and (record["event"] not in EPOCHS or record["epoch"] <= epoch)
        ]
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept))
        try:
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise storage_error(error, path) from error

    def __call__(self, event: Event) -> None:
        record = {"event": EVENT_NAMES[type(event)], **_finite(asdict(event))}
        try:
            self._file.write(json.dumps(record, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise storage_error(error, self.path) from error

    def __enter__(self) -> "History":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()  # tries once more to write what did not fit
        except OSError as refused:
            if error is None:
                raise storage_error(refused, self.path) from refused


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def read_history(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a last line cut by a crash is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last newline is cut
    return [json.loads(line) for line in lines]
