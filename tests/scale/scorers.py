"""Scorers that fail, for tests of batch prediction. Workers import them from here."""

import os
import sys
import time
import uuid
from pathlib import Path

from grunlock.scale.chunks import PieceChunk
from grunlock.scale.predict.scoring import PartScorer

MARKS = "marks"  # folder beside the files that are read


def marks_of(chunk: PieceChunk) -> Path:
    return chunk.piece.table.path.parent.parent / MARKS


class KilledOnce(PartScorer):
    """Its process ends at one chunk, half of its part written, the first time that it comes."""

    def write(self, chunk: PieceChunk) -> int:
        assert "torch" not in sys.modules
        mark = marks_of(chunk) / "killed"
        if chunk.number == 1 and not mark.exists():
            mark.write_text(chunk.name)
            (Path(self.job.storage.path) / f"{self.part_name(chunk, 1)}.0.partial").write_bytes(b"half")
            os._exit(1)
        return super().write(chunk)


class KilledAlways(PartScorer):
    def write(self, chunk: PieceChunk) -> int:
        os._exit(1)


class Slow(PartScorer):
    """Leaves time to kill its node; marks where it has been."""

    def write(self, chunk: PieceChunk) -> int:
        import ray

        (marks_of(chunk) / ray.get_runtime_context().get_node_id()).touch()
        time.sleep(0.3)
        return super().write(chunk)


class NamedByAttempt(PartScorer):
    """The planted error: who repeats a chunk writes another part."""

    def part_name(self, chunk: PieceChunk, rows: int) -> str:
        stem, _, suffix = super().part_name(chunk, rows).rpartition(".")
        return f"{stem}-{uuid.uuid4().hex}.{suffix}"
