"""From labelled texts to token stores: check, split, learn the vocabulary, tokenise once.

The source is read several times instead of being held in memory. Reopening the result: prepared.py.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.data.checks import Progress, scan, settle_labels
from grunlock.data.notes import repeat_notes, source_notes, split_notes
from grunlock.data.parts import Part, assign_splits, chunks_of, split_names, targets_of, texts_of
from grunlock.data.prepared import PreparedData, open_prepared, remove_prepared, save_facts
from grunlock.data.sources import InMemory, PathLike, Source, SplitSources, open_source
from grunlock.data.splits import SPLITS, SplitName
from grunlock.data.store import StoreWriter, writing_store
from grunlock.files import storage_guard
from grunlock.recipe.schema import Recipe
from grunlock.recipe.text_options import DataOptions
from grunlock.text import EncodedTexts, Script, TextFrontEnd, TokenTypes, default_tokens, detect_script

Examples = PathLike | Sequence[PathLike] | InMemory


def prepare(
    source: Examples,
    recipe: Recipe,
    folder: str | Path,
    *,
    valid: Examples | None = None,
    test: Examples | None = None,
    progress: Progress | None = None,
    front_end: TextFrontEnd | None = None,
    labels: Sequence[str] | None = None,
) -> PreparedData:
    """Check, split and tokenise examples into `folder`.

    Given files are splits as they are. Else valid and test are cut from train, only valid if test is given.

    progress: called with what is being done and the rows done so far.
    front_end: used instead of learning one from the training texts.
    labels: known beforehand; they keep their order, new ones follow.

    Raises DataError for whatever is wrong with the data, StorageError for a full disk; nothing is left in
    the folder then.
    """
    folder = Path(folder)
    opened = _gather(source, valid, test, recipe.data)
    sources = opened.by_split()
    scans = {name: scan(found, recipe.data, progress) for name, found in sources.items()}
    names = {name: found.name for name, found in sources.items()}
    all_labels = settle_labels(scans, names, labels, recipe.data)
    parts = assign_splits(sources, scans, all_labels, recipe.data)
    notes = [*source_notes(opened, scans), *split_notes(parts, list(sources), all_labels)]
    script = detect_script(texts_of(parts, "train"))
    front_end = front_end or _train_front_end(parts, script, recipe)
    columns = opened.train.columns
    facts = {
        "labels": all_labels,
        "script": script,
        "notes": [*notes, *repeat_notes(parts)],
        "columns": None if columns is None else asdict(columns),
    }
    _write(folder, parts, front_end, facts, progress)
    return open_prepared(folder)


def _gather(
    source: Examples, valid: Examples | None, test: Examples | None, options: DataOptions
) -> SplitSources:
    opened = SplitSources(source) if isinstance(source, InMemory) else open_source(source, options)
    return SplitSources(
        opened.train,
        opened.valid if valid is None else _one_source(valid, options),
        opened.test if test is None else _one_source(test, options),
        opened.notes,
    )


def _one_source(given: Examples, options: DataOptions) -> Source:
    if isinstance(given, InMemory):
        return given
    return open_source([given] if isinstance(given, str | os.PathLike) else given, options).train


def _train_front_end(parts: Sequence[Part], script: Script, recipe: Recipe) -> TextFrontEnd:
    options = recipe.text
    if options.tokens == "auto":
        options = options.model_copy(update={"tokens": default_tokens(script)})
    return TextFrontEnd.train(partial(texts_of, parts, "train"), options, recipe.embedding.ngrams)


def _write(
    folder: Path,
    parts: Sequence[Part],
    front_end: TextFrontEnd,
    facts: dict[str, Any],
    progress: Progress | None,
) -> None:
    with storage_guard(folder):
        remove_prepared(folder)
    try:
        outcome = _Outcome(front_end.new_types(), facts["labels"])
        with ExitStack() as stack:
            writers = {}
            for name in split_names(parts):
                writers[name], outcome.facts[name] = stack.enter_context(writing_store(folder / name))
            for part in parts:
                _tokenise(part, front_end, writers, outcome, progress)
            outcome.finish()
        counts = np.bincount(targets_of(parts, "train"), minlength=len(facts["labels"]))
        rest = {
            "label_counts": counts.tolist(),
            "splits": list(writers),
            "fingerprint": outcome.fingerprint(),
            "notes": [*facts["notes"], *outcome.notes(front_end, facts["script"])],
        }
        save_facts(folder, front_end, outcome.types, facts | rest)
    except BaseException:
        remove_prepared(folder)
        raise


@dataclass
class _Outcome:
    """What tokenising finds out on the way."""

    types: TokenTypes
    labels: Sequence[str]
    facts: dict[SplitName, dict[str, str]] = field(default_factory=dict)
    digests: dict[SplitName, Any] = field(default_factory=dict)
    num_texts: int = 0
    num_cut: int = 0

    def add_rows(self, split: SplitName, texts: list[str], targets: NDArray[np.int32]) -> None:
        digest = self.digests.setdefault(split, hashlib.sha256())
        for text, target in zip(texts, targets.tolist(), strict=True):
            for cell in (self.labels[target].encode(), text.encode()):
                digest.update(len(cell).to_bytes(8, "little") + cell)

    def add_encoded(self, split: SplitName, encoded: EncodedTexts) -> None:
        if split == "train":
            self.num_texts += len(encoded.cut)
            self.num_cut += int(encoded.cut.sum())

    def finish(self) -> None:
        for split, digest in self.digests.items():
            self.facts[split]["fingerprint"] = digest.hexdigest()

    def fingerprint(self) -> str:
        rows = "\n".join(f"{name} {self.facts[name]['fingerprint']}" for name in sorted(self.facts))
        return hashlib.sha256(rows.encode()).hexdigest()

    def notes(self, front_end: TextFrontEnd, script: Script) -> list[str]:
        size = f"{front_end.vocab_size:,}"
        found = [f"writing system {script}; tokens {front_end.tokens}, vocabulary of {size}"]
        if self.num_cut:
            share = self.num_cut / self.num_texts
            found.append(f"{share:.1%} of training texts are cut to {front_end.max_tokens} tokens")
        return found


def _tokenise(
    part: Part,
    front_end: TextFrontEnd,
    writers: dict[SplitName, StoreWriter],
    outcome: _Outcome,
    progress: Progress | None,
) -> None:
    for texts, splits, targets in chunks_of(part):
        for split, writer in writers.items():
            rows = np.flatnonzero(splits == SPLITS.index(split))
            if not len(rows):
                continue
            chosen = [texts[row] for row in rows.tolist()]
            encoded = front_end.encode(chosen, outcome.types)
            writer.append(encoded, targets[rows])
            outcome.add_rows(split, chosen, targets[rows])
            outcome.add_encoded(split, encoded)
        if progress is not None:
            progress("tokenising", sum(writer.num_examples for writer in writers.values()))
