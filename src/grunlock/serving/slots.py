"""Which models are served, and how a new file takes the place of an old one while requests run.

A request takes one reference to a ServedModel and keeps it; a reload replaces the reference that later
requests take. So no answer mixes two versions, and an old model is gone when its last request is answered.
"""

import asyncio
import difflib
import logging
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from grunlock.errors import GrunlockError, ServingError
from grunlock.kernels.stack import InferencePrecision
from grunlock.serving.refusals import RequestError
from grunlock.serving.served import ServedModel, artifact_path, file_version, load_served

log = logging.getLogger("grunlock.serving")

Outcome = Literal["same", "changed", "failed"]
Stamp = tuple[int, int, int]


@dataclass
class Slot:
    """A name and the model that stands there now.

    fault: why the newest file could not be taken, None if it was. reloads: by outcome, attempts so far.
    """

    path: Path
    precision: InferencePrecision
    current: ServedModel
    stamp: Stamp | None
    fault: GrunlockError | None = None
    reloads: dict[Outcome, int] = field(default_factory=lambda: {"same": 0, "changed": 0, "failed": 0})
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def open(cls, name: str, path: Path, precision: InferencePrecision = "float32") -> "Slot":
        """Raises as load_served."""
        stamp = stamp_of(path)
        return cls(path, precision, load_served(name, path, precision), stamp)

    async def reload(self, executor: Executor) -> Outcome:
        """Take the file as it is now, if it is another than the one that is served and is sound."""
        async with self._busy:
            loop = asyncio.get_running_loop()
            self.stamp = stamp_of(self.path)
            try:
                found = await loop.run_in_executor(executor, self._newer)
                self.fault = None
                outcome: Outcome = "same" if found is None else "changed"
                if found is not None:
                    self._take(found)
            except (GrunlockError, OSError) as error:
                self.fault = error if isinstance(error, GrunlockError) else _unreadable(self.path, error)
                outcome = "failed"
                log.error("%s stays at %s: %s", self.current.name, self.current.version[:12], self.fault)
            self.reloads[outcome] += 1
            return outcome

    def has_changed(self) -> bool:
        """Whether the file is another than at the last look, by its inode, size and time."""
        return stamp_of(self.path) != self.stamp

    def _newer(self) -> ServedModel | None:
        served, file = self.current, artifact_path(self.path)
        if file.is_file() and file_version(file) == served.version:
            return None
        found = load_served(served.name, self.path, self.precision)
        if found.kind != served.kind:
            raise ServingError(
                "The new model reads something else than the one that is served.",
                where=file,
                got=found.kind,
                expected=served.kind,
                cure="start a server of its own for it",
            )
        return found

    def _take(self, found: ServedModel) -> None:
        old, self.current = self.current, found
        log.info("%s: %s takes the place of %s", found.name, found.version[:12], old.version[:12])
        if found.labels != old.labels:
            log.warning("%s: the labels are others than before: %s", found.name, ", ".join(found.labels))


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no file."""
    try:
        status = artifact_path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> ServingError:
    return ServingError("The model file cannot be read.", where=path, got=error.strerror)


class Slots:
    """The slots by name. The first is asked where a request names none."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self.by_name = {slot.current.name: slot for slot in slots}

    @property
    def kinds(self) -> frozenset[str]:
        """What the models read: text, series or both."""
        return frozenset(slot.current.kind for slot in self.by_name.values())

    def pick(self, name: str | None) -> ServedModel:
        """The model that stands there now. Raises RequestError (404) for a name that there is not."""
        if name is None:
            return next(iter(self.by_name.values())).current
        if name in self.by_name:
            return self.by_name[name].current
        near = difflib.get_close_matches(name, list(self.by_name), n=1)
        raise RequestError(
            404,
            "There is no such model.",
            where="model",
            got=repr(name)[:80],
            expected=f"one of: {', '.join(self.by_name)}",
            cure=f"did you mean {near[0]}?" if near else None,
        )

    def about(self) -> dict[str, Any]:
        """What /v1/model tells: JSON-able."""
        models = []
        for slot in self.by_name.values():
            fault = None if slot.fault is None else str(slot.fault)
            models.append({**slot.current.about(), "reloads": dict(slot.reloads), "refused_file": fault})
        return {"models": models}

    async def reload(self, executor: Executor) -> dict[str, Outcome]:
        """All of them, one after another."""
        return {name: await slot.reload(executor) for name, slot in self.by_name.items()}

    async def watch(self, seconds: float, executor: Executor) -> None:
        """Reload each model when its file changes, for ever. Looks every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            for slot in self.by_name.values():
                if slot.has_changed():
                    await slot.reload(executor)
