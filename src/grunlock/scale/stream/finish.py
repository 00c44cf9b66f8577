"""The end of a streamed preparation: from what the workers left to a folder that training opens."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.data.notes import SHOWN_CLASSES
from grunlock.data.prepared import save_texts
from grunlock.data.shard_files import write_index
from grunlock.data.splits import SPLITS, SplitName
from grunlock.data.store import writing_store
from grunlock.errors import DataError
from grunlock.scale.stream.tasks import HeldOut, encoded_in_parts, fingerprint_of, written
from grunlock.shapes import IntArray
from grunlock.text import TextFrontEnd, TokenTypes


@dataclass(frozen=True)
class Finish:
    """From what the workers left to a prepared folder. parts: folders of ShardTask's results."""

    folder: Path
    parts: Sequence[Path]
    labels: tuple[str, ...]
    front_end: TextFrontEnd

    def run(self, facts: dict[str, Any]) -> None:
        counts, shards, num_cut = np.zeros(len(self.labels), np.int64), list[str](), 0
        held_out: dict[SplitName, list[HeldOut]] = {}
        for parts in self.parts:
            for _, found, texts in written(parts):
                counts += found.label_counts
                num_cut += found.num_cut
                shards += [] if found.shard is None else [found.shard]
                for each in texts:
                    held_out.setdefault(each.split, []).append(each)
        if not shards or "valid" not in held_out:
            raise DataError(
                "There are too few examples to cut a validation split.",
                got=f"{counts.sum():,} for training and {len(held_out.get('valid', [])):,} for validation",
                cure="give a validation file, or a larger data.valid_fraction",
            )
        types = self.front_end.new_types()
        prints = {
            split: self._write_split(split, held_out[split], types) for split in SPLITS if split in held_out
        }
        prints["train"] = write_index(self.folder / "train", shards)
        rows = "\n".join(f"{split} {prints[split]}" for split in sorted(prints))
        sizes = {"train": int(counts.sum()), **{split: len(texts) for split, texts in held_out.items()}}
        rest = {
            "label_counts": counts.tolist(),
            "splits": [split for split in SPLITS if split in prints],
            "fingerprint": hashlib.sha256(rows.encode()).hexdigest(),
            "notes": [
                "examples: " + ", ".join(f"{split} {sizes[split]:,}" for split in SPLITS if split in sizes),
                *self._class_notes(counts),
                *facts["notes"],
                *self._token_notes(facts["script"], num_cut, sizes["train"]),
            ],
        }
        save_texts(self.folder, self.front_end, types, facts | rest)

    def _write_split(self, split: SplitName, held_out: Sequence[HeldOut], types: TokenTypes) -> str:
        texts = [each.text for each in held_out]
        targets = np.array([each.target for each in held_out], np.int32)
        fingerprint = fingerprint_of([self.labels[target] for target in targets.tolist()], texts)
        with writing_store(self.folder / split) as (writer, facts):
            for encoded in encoded_in_parts(texts, self.front_end, types):
                first = writer.num_examples
                writer.append(encoded, targets[first : first + len(encoded.lengths)])
            facts["fingerprint"] = fingerprint
        return fingerprint

    def _class_notes(self, counts: IntArray) -> Iterator[str]:
        """counts: [K] training examples of each class"""
        lacking = [label for label, count in zip(self.labels, counts.tolist(), strict=True) if not count]
        if lacking:
            shown = ", ".join(lacking[:SHOWN_CLASSES]) + (" ..." if len(lacking) > SHOWN_CLASSES else "")
            yield f"{len(lacking)} classes have no training example: {shown}"

    def _token_notes(self, script: str, num_cut: int, num_texts: int) -> Iterator[str]:
        size = f"{self.front_end.vocab_size:,}"
        yield f"writing system {script}; tokens {self.front_end.tokens}, vocabulary of {size}"
        if num_cut:
            share = num_cut / num_texts
            yield f"{share:.1%} of training texts are cut to {self.front_end.max_tokens} tokens"
