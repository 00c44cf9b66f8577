"""What workers do with a chunk when a corpus is prepared: look at its rows, then write its shard.

Each result is a file whose name is the chunk's, written whole and the same by whoever writes it. So a task
that is run again after its worker died changes nothing, and a killed preparation goes on where it was.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grunlock.data.checks import Scan, scan_rows
from grunlock.data.shard_files import write_shard
from grunlock.data.splits import SplitName
from grunlock.data.texts import LabelledTexts
from grunlock.errors import DataError
from grunlock.files import write_atomically
from grunlock.recipe.text_options import TextDataOptions
from grunlock.scale.chunks import PieceChunk
from grunlock.scale.stream.slices import Slices
from grunlock.text import EncodedTexts, TextFrontEnd, TokenTypes

ENCODED_TEXTS = 2048  # at a time: what the tokeniser says of them takes far more room than they do


@dataclass(frozen=True)
class ChunkFacts:
    """What a scan found. sample: [hash, text] of some texts, by rising hash."""

    num_rows: int
    num_empty: int
    label_counts: dict[str, int]
    sample: list[tuple[int, str]]


@dataclass(frozen=True)
class ScanTask:
    """Check a chunk's rows; keep which stay, their labels and hashes, and a sample of texts.

    folder: of the results. sampled: texts of a chunk.
    """

    folder: Path
    options: TextDataOptions
    sampled: int

    def __call__(self, chunk: PieceChunk) -> None:
        if chunk.labels is None:
            raise DataError("The examples have no labels.", where=chunk.piece.table.path)
        found = scan_rows(chunk, self.options)
        kept = np.flatnonzero(found.kept)
        # The lowest hashes: equal texts are sampled together or not at all, and no order of rows matters.
        order = np.argsort(found.hashes, kind="stable")[: self.sampled]
        sample = [(int(found.hashes[i]), chunk.texts[kept[i]] or "") for i in order.tolist()]
        _write_scan(self.folder / f"{chunk.name}.npz", found)
        facts = ChunkFacts(len(found.kept), found.num_empty, found.label_counts, sample)
        write_atomically(self.folder / f"{chunk.name}.json", json.dumps(vars(facts), ensure_ascii=False))


def scanned(folder: Path) -> Iterator[tuple[str, ChunkFacts]]:
    """Names and facts of the chunks that a ScanTask has finished, in order, one at a time in memory."""
    for path in sorted(folder.glob("*.json")):
        yield path.stem, ChunkFacts(**json.loads(path.read_text(encoding="utf-8")))


class HeldOut(NamedTuple):
    """A text of the small splits, which the process that prepares gathers."""

    split: SplitName
    target: int
    text: str


@dataclass(frozen=True)
class ShardFacts:
    """What became of a chunk. label_counts: of training texts, by class; shard: None without any."""

    num_rows: int
    label_counts: list[int]
    num_cut: int
    shard: str | None


@dataclass(frozen=True)
class ShardTask:
    """Tokenise the training texts of a chunk into a shard, and keep those of other splits.

    scans, results: folders of what ScanTask found, and of what this finds
    shards:         folder of the shards
    prefix:         of the shard's name, for each source another
    """

    scans: Path
    results: Path
    shards: Path
    prefix: str
    slices: Slices
    labels: tuple[str, ...]
    front_end: TextFrontEnd

    def __call__(self, chunk: PieceChunk) -> None:
        kept, targets, hashes = self._scan_of(chunk)
        texts = [chunk.texts[row] or "" for row in np.flatnonzero(kept).tolist()]
        slices, names = self.slices.of(hashes), self.slices.names
        held_out: list[HeldOut] = []
        facts = ShardFacts(len(kept), [0] * len(self.labels), 0, None)
        for place, split in enumerate(names):
            members = np.flatnonzero(slices == place)
            if split == "train" and len(members):
                facts = self._write_shard(
                    chunk.name, len(kept), [texts[i] for i in members], targets[members]
                )
            elif split is not None:
                held_out += [HeldOut(split, int(targets[i]), texts[i]) for i in members.tolist()]
        content = {"facts": vars(facts), "held_out": held_out}
        write_atomically(self.results / f"{chunk.name}.json", json.dumps(content, ensure_ascii=False))

    @cached_property
    def _class_of(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def _scan_of(self, chunk: PieceChunk) -> tuple[NDArray[np.bool_], NDArray[np.int32], NDArray[np.uint64]]:
        """Which rows stay [rows]; class and hash of those that do."""
        with np.load(self.scans / f"{chunk.name}.npz", allow_pickle=False) as found:
            kept, targets, hashes = found["kept"], found["targets"], found["hashes"]
            labels = json.loads(found["labels"].tobytes())
        if len(kept) != len(chunk.texts):
            raise DataError(
                "The data changed while it was read.",
                where=chunk.piece.table.path,
                got="another number of rows than at first",
                cure="start again when nothing writes to it",
            )
        classes = np.array([self._class_of[label] for label in labels], np.int32)
        return kept, classes[targets] if len(targets) else targets, hashes

    def _write_shard(
        self, chunk: str, num_rows: int, texts: list[str], targets: NDArray[np.int32]
    ) -> ShardFacts:
        types = self.front_end.new_types()
        parts = list(encoded_in_parts(texts, self.front_end, types))
        encoded = EncodedTexts(
            tokens=np.concatenate([part.tokens for part in parts]),
            lengths=np.concatenate([part.lengths for part in parts]),
            empty=np.concatenate([part.empty for part in parts]),
            cut=np.concatenate([part.cut for part in parts]),
        )
        name = f"{self.prefix}-{chunk}"
        fingerprint = fingerprint_of([self.labels[target] for target in targets.tolist()], texts)
        write_shard(self.shards / name, encoded, targets, types, fingerprint)
        counts = np.bincount(targets, minlength=len(self.labels))
        return ShardFacts(num_rows, counts.tolist(), int(encoded.cut.sum()), name)


def encoded_in_parts(
    texts: Sequence[str], front_end: TextFrontEnd, types: TokenTypes
) -> Iterator[EncodedTexts]:
    for start in range(0, len(texts), ENCODED_TEXTS):
        yield front_end.encode(texts[start : start + ENCODED_TEXTS], types)


def written(folder: Path) -> Iterator[tuple[str, ShardFacts, list[HeldOut]]]:
    """Names and results of the chunks that a ShardTask has finished, in order."""
    for path in sorted(folder.glob("*.json")):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        held_out = [HeldOut(*each) for each in content["held_out"]]
        yield path.stem, ShardFacts(**content["facts"]), held_out


def fingerprint_of(labels: list[str], texts: list[str]) -> str:
    """That of a store of these examples."""
    return LabelledTexts(texts, labels).fingerprint()


def _write_scan(path: Path, found: Scan) -> None:
    labels = np.frombuffer(json.dumps(found.labels).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, kept=found.kept, targets=found.targets, hashes=found.hashes, labels=labels)
    write_atomically(path, content.getvalue())
