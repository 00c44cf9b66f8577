"""From labelled texts to token stores: check, split, learn the vocabulary, tokenise once."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.data.checks import Progress, scan, settle_labels
from grunlock.data.notes import repeat_notes, source_notes, split_notes
from grunlock.data.parts import Part, assign_splits, chunks_of, split_names, targets_of, texts_of
from grunlock.data.prepared import (
    UNLABELLED,
    Known,
    PreparedData,
    open_prepared,
    remove_prepared,
    save_texts,
)
from grunlock.data.pretrained import open_pretrained
from grunlock.data.series.series_set import SeriesSet
from grunlock.data.sources import InMemory, PathLike, Source, SplitSources, open_source, read_texts
from grunlock.data.splits import SPLITS, SplitName
from grunlock.data.store import StoreWriter, writing_store
from grunlock.data.teacher import TeacherAnswers
from grunlock.data.vectors import new_words
from grunlock.errors import DataError
from grunlock.files import storage_guard
from grunlock.recipe.schema import Recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.text import EncodedTexts, Script, TextFrontEnd, TokenTypes, default_tokens, detect_script
from grunlock.text.token_kinds import Texts

Given = PathLike | Sequence[PathLike] | InMemory | SeriesSet


def gather_texts(
    source: Given, valid: Given | None, test: Given | None, options: TextDataOptions
) -> SplitSources:
    """Open all that is given. Raises DataError for files that cannot be read and for series."""
    opened = (
        SplitSources(_in_memory(source))
        if isinstance(source, InMemory | SeriesSet)
        else open_source(source, options)
    )
    return SplitSources(
        opened.train,
        opened.valid if valid is None else _one_source(valid, options),
        opened.test if test is None else _one_source(test, options),
        opened.notes,
    )


def prepare_texts(
    opened: SplitSources,
    recipe: Recipe,
    folder: Path,
    known: Known | None,
    progress: Progress | None,
    teacher: TeacherAnswers | None = None,
) -> PreparedData:
    """See data.prepare.prepare. A source is read several times instead of being held in memory."""
    options = recipe.data
    assert isinstance(options, TextDataOptions)  # a recipe for texts
    sources = opened.by_split()
    scans = {name: scan(found, options, progress) for name, found in sources.items()}
    names = {name: found.name for name, found in sources.items()}
    counts = {name: found.label_counts for name, found in scans.items()}
    labels = settle_labels(counts, names, () if known is None else known.labels, options)
    parts = assign_splits(sources, scans, labels, options)
    targets = {name: targets_of(parts, name) for name in split_names(parts)}
    notes = [*source_notes(opened, scans), *split_notes(targets, list(sources), labels)]
    script = detect_script(texts_of(parts, "train"))
    texts = partial(texts_of, parts, "train")
    front_end = train_front_end(texts, script, recipe) if known is None else known.front_end
    assert isinstance(front_end, TextFrontEnd)
    facts = {
        "labels": labels,
        "script": script,
        "valid_from_train": opened.valid is None,
        "notes": [*notes, *repeat_notes(parts)],
    }
    _write(folder, parts, front_end, facts, teacher, options, progress)
    return open_prepared(folder)


@dataclass(frozen=True)
class LabelledTexts:
    """A split's examples, in its order."""

    texts: list[str]
    labels: list[str]

    def fingerprint(self) -> str:
        """That of the store which prepare_texts makes of the same examples."""
        digest = hashlib.sha256()
        for label, text in zip(self.labels, self.texts, strict=True):
            _add_row(digest, label, text)
        return digest.hexdigest()


def labelled_splits(
    source: Given, valid: Given | None, test: Given | None, options: TextDataOptions
) -> dict[SplitName, LabelledTexts]:
    """The raw examples of each split, just as `prepare_texts` splits them. All of them are in memory.

    Raises DataError as prepare_texts does.
    """
    opened = gather_texts(source, valid, test, options)
    sources = opened.by_split()
    scans = {name: scan(found, options) for name, found in sources.items()}
    counts = {name: found.label_counts for name, found in scans.items()}
    labels = settle_labels(counts, {name: found.name for name, found in sources.items()}, (), options)
    parts = assign_splits(sources, scans, labels, options)
    return {
        name: LabelledTexts(
            list(texts_of(parts, name)), [labels[target] for target in targets_of(parts, name)]
        )
        for name in split_names(parts)
    }


def _in_memory(given: InMemory | SeriesSet) -> InMemory:
    if isinstance(given, InMemory):
        return given
    raise DataError(
        "The recipe is for texts.",
        where=given.name,
        got="numeric series",
        cure='the recipe "series" is for numeric series',
    )


def _one_source(given: Given, options: TextDataOptions) -> Source:
    if isinstance(given, InMemory | SeriesSet):
        return _in_memory(given)
    return open_source([given] if isinstance(given, str | os.PathLike) else given, options).train


def train_front_end(texts: Texts, script: Script, recipe: Recipe) -> TextFrontEnd:
    """That of the training texts, which each call of `texts` gives from the start."""
    options = recipe.text
    assert options is not None  # a recipe for texts has it
    if recipe.pretrained is not None:
        return open_pretrained(recipe.pretrained.path).front_end(recipe)
    if options.tokens == "auto":
        options = options.model_copy(update={"tokens": default_tokens(script)})
    ngrams = recipe.ngrams_of(options.tokens)
    front_end = TextFrontEnd.train(texts, options, ngrams)
    embedding = recipe.embedding
    if embedding is None or embedding.vectors is None or not embedding.vector_words:
        return front_end
    words = new_words(embedding.vectors, front_end, embedding.size, embedding.vector_words)
    return front_end.with_words(words)


def _write(
    folder: Path,
    parts: Sequence[Part],
    front_end: TextFrontEnd,
    facts: dict[str, Any],
    teacher: TeacherAnswers | None,
    options: TextDataOptions,
    progress: Progress | None,
) -> None:
    with storage_guard(folder):
        remove_prepared(folder)
    try:
        outcome = _Outcome(front_end.new_types(), facts["labels"], teacher)
        with ExitStack() as stack:
            writers = {}
            for name in split_names(parts):
                classes = None if outcome.teacher_of(name) is None else len(facts["labels"])
                store = writing_store(folder / name, classes)
                writers[name], outcome.facts[name] = stack.enter_context(store)
            for part in parts:
                _tokenise(part, front_end, writers, outcome, progress)
            outcome.finish()
        stores: list[str] = list(writers)
        if options.unlabelled is not None:
            stores.append(UNLABELLED)
            facts["notes"].append(_write_unlabelled(folder / UNLABELLED, front_end, outcome.types, options))
        counts = np.bincount(targets_of(parts, "train"), minlength=len(facts["labels"]))
        rest = {
            "label_counts": counts.tolist(),
            "splits": stores,
            "fingerprint": outcome.fingerprint(),
            "notes": [*facts["notes"], *outcome.notes(front_end, facts["script"])],
        }
        save_texts(folder, front_end, outcome.types, facts | rest)
    except BaseException:
        remove_prepared(folder)
        raise


def _write_unlabelled(
    folder: Path, front_end: TextFrontEnd, types: TokenTypes, options: TextDataOptions
) -> str:
    """Store the texts of data.unlabelled, empty ones left out. Returns what to tell the user."""
    assert options.unlabelled is not None
    source = read_texts(options.unlabelled, options, labels="ignored")
    with writing_store(folder) as (writer, facts):
        for chunk in source.chunks():
            texts = [text for text in chunk.texts if text and text.strip()]
            if texts:
                writer.append(front_end.encode(texts, types), np.zeros(len(texts), np.int32))
        facts["fingerprint"] = source.name
        num_texts = writer.num_examples
    if not num_texts:
        raise DataError("There is no text to learn from.", where=source.name, got="empty texts only")
    return f"{num_texts:,} texts without labels from {source.name}"


@dataclass
class _Outcome:
    """What tokenising finds out on the way."""

    types: TokenTypes
    labels: Sequence[str]
    teacher: TeacherAnswers | None
    facts: dict[SplitName, dict[str, str]] = field(default_factory=dict)
    digests: dict[SplitName, Any] = field(default_factory=dict)
    num_texts: int = 0
    num_cut: int = 0

    def teacher_of(self, split: SplitName) -> TeacherAnswers | None:
        """Only training examples are taught."""
        return self.teacher if split == "train" else None

    def add_rows(self, split: SplitName, texts: list[str], targets: NDArray[np.int32]) -> None:
        digest = self.digests.setdefault(split, hashlib.sha256())
        for text, target in zip(texts, targets.tolist(), strict=True):
            _add_row(digest, self.labels[target], text)

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
            teacher = outcome.teacher_of(split)
            answers = None if teacher is None else teacher.to_texts(chosen, outcome.labels)
            writer.append(encoded, targets[rows], answers)
            outcome.add_rows(split, chosen, targets[rows])
            outcome.add_encoded(split, encoded)
        if progress is not None:
            progress("tokenising", sum(writer.num_examples for writer in writers.values()))


def _add_row(digest: Any, label: str, text: str) -> None:
    """To a fingerprint: a hashlib object over the rows of a split."""
    name, content = label.encode(), text.encode()
    digest.update(len(name).to_bytes(8, "little") + name + len(content).to_bytes(8, "little") + content)
