"""Preparing a corpus that is larger than any memory: two passes over its chunks, on the workers of a cluster.

    1  look at every row: labels, hashes of the texts, a sample of them
    2  tokenise: each chunk becomes a shard of the training split, texts of the other splits are gathered

Between them this process learns the vocabulary from the sample. The folder is on a file system that every
node sees; what the workers find goes there, and only names come back. Training opens it as any prepared one.
"""

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from grunlock.data.checks import Progress, nothing_left, settle_labels
from grunlock.data.prepared import PreparedData, is_prepared, open_prepared, remove_prepared
from grunlock.data.shards import SAMPLE_EXAMPLES
from grunlock.data.sources import PathLike, files_by_split, find_files
from grunlock.data.splits import SplitName
from grunlock.data.texts import train_front_end
from grunlock.errors import ClusterError, DataError
from grunlock.files import storage_guard, write_atomically
from grunlock.recipe import Recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.scale.chunks import RETRIES, ChunkedFiles, PieceChunk, cut_files, map_chunks, quiet
from grunlock.scale.failures import told
from grunlock.scale.stream.finish import Finish
from grunlock.scale.stream.slices import Slices, given_slices, train_slices
from grunlock.scale.stream.tasks import (
    ScanTask,
    ShardTask,
    scanned,
    written,
)
from grunlock.text import TextFrontEnd, detect_script

STREAM = "stream.json"  # which preparation the folder is of
WORK = "work"
SHARD_ROWS = 2**15  # of a source; a shard has those of the training split
SAMPLE_TEXTS = 1_000_000  # that the vocabulary is learned from, at most
FEWEST_SAMPLED = 100  # texts of a chunk
PIECE_BYTES = 16 * 2**20  # that one task reads

Corpus = PathLike | Sequence[PathLike]
Corpora = dict[SplitName, ChunkedFiles]


def prepare_streamed(
    source: Corpus,
    recipe: Recipe,
    folder: str | Path,
    *,
    valid: Corpus | None = None,
    test: Corpus | None = None,
    skip_damaged_files: bool = False,
    progress: Progress | None = None,
) -> PreparedData:
    """Check, split and store the texts of files or folders of them, in memory that does not depend on their
    size, on the cluster that this process is connected to.

    What is not given of valid and test is cut from train by a hash of each text. folder: every node sees it.
    A preparation that was stopped or killed goes on where it was; a finished one is opened.

    Raises DataError for whatever is wrong with the data, ClusterError for what is with the cluster,
    StorageError for a full disk.
    """
    folder, options = Path(folder).absolute(), _streamable(recipe)
    corpora = _opened(source, valid, test, options, skip_damaged_files)
    _begin(folder, _key(recipe, corpora))
    if not is_prepared(folder):
        _Preparation(folder, recipe, options, corpora, progress).run()
        shutil.rmtree(folder / WORK, ignore_errors=True)
    return open_prepared(folder)


@dataclass(frozen=True)
class _Totals:
    """Of all chunks of a source."""

    rows: int
    empty: int
    sampled: int
    label_counts: Counter[str]


@dataclass(frozen=True)
class _Preparation:
    folder: Path
    recipe: Recipe
    options: TextDataOptions
    corpora: Corpora
    progress: Progress | None

    def run(self) -> None:
        totals = {split: self._scan(split, files) for split, files in self.corpora.items()}
        names = {split: str(files.paths[0]) for split, files in self.corpora.items()}
        labels = settle_labels(
            {split: found.label_counts for split, found in totals.items()}, names, (), self.options
        )
        slices = {split: self._slices(split, totals) for split in totals}
        share = min(1.0, SAMPLE_TEXTS / totals["train"].sampled)
        texts = partial(_sampled_texts, self._scans("train"), slices["train"], share)
        script = detect_script(texts())
        front_end = train_front_end(texts, script, self.recipe)
        for split in self.corpora:
            self._shard(split, slices[split], labels, front_end, totals[split].rows)
        notes = [*self._source_notes(totals), *self._sample_notes(share, totals["train"])]
        Finish(self.folder, [self._parts(split) for split in self.corpora], labels, front_end).run(
            {
                "labels": labels,
                "script": script,
                "valid_from_train": "valid" not in self.corpora,
                "notes": notes,
            }
        )

    def _scans(self, split: str) -> Path:
        return self.folder / WORK / f"scan-{split}"

    def _parts(self, split: str) -> Path:
        return self.folder / WORK / f"parts-{split}"

    def _scan(self, split: str, files: ChunkedFiles) -> _Totals:
        chunks = sum(len(piece.chunk_names() or [""]) for piece in files.pieces)
        sampled = max(FEWEST_SAMPLED, -(-SAMPLE_TEXTS // chunks))
        task = ScanTask(self._scans(split), self.options, sampled if split == "train" else 0)
        self._over_chunks(f"checking {split}", files, task, task.folder)
        rows = empty = num_sampled = 0
        counts: Counter[str] = Counter()
        for _, facts in scanned(task.folder):
            rows, empty = rows + facts.num_rows, empty + facts.num_empty
            num_sampled += len(facts.sample)
            counts.update(facts.label_counts)
        if not counts:
            raise nothing_left(str(files.paths[0]))
        return _Totals(rows, empty, num_sampled, counts)

    def _slices(self, split: SplitName, totals: dict[SplitName, _Totals]) -> Slices:
        texts = totals[split].label_counts.total()
        if split == "train":
            return train_slices(self.options, texts, "valid" in totals, "test" in totals)
        return given_slices(self.options, texts, split)

    def _shard(
        self, split: SplitName, slices: Slices, labels: tuple[str, ...], front_end: TextFrontEnd, rows: int
    ) -> None:
        parts, shards = self._parts(split), self.folder / "train"
        with storage_guard(shards):
            shards.mkdir(exist_ok=True)
        task = ShardTask(self._scans(split), parts, shards, split, slices, labels, front_end)
        self._over_chunks(f"tokenising {split}", self.corpora[split], task, parts)
        found = sum(facts.num_rows for _, facts, _ in written(parts))
        if found != rows:
            raise DataError(
                "The data changed while it was read.",
                where=self.corpora[split].paths[0],
                got=f"{found:,} rows",
                expected=f"{rows:,} as at first",
                cure="start again when nothing writes to it",
            )

    def _over_chunks(
        self, activity: str, files: ChunkedFiles, task: Callable[[PieceChunk], None], results: Path
    ) -> None:
        """Run the task for every chunk that has no result yet."""
        with storage_guard(results):
            results.mkdir(parents=True, exist_ok=True)
        try:
            for name, rows in _worked(files, task, results):
                if not (results / f"{name}.json").is_file():
                    raise _unshared(results)
                if self.progress is not None:
                    self.progress(activity, rows)
        except ray.exceptions.RayError as error:
            raise told(error, files.paths[0]) from error

    def _source_notes(self, totals: dict[SplitName, _Totals]) -> Iterator[str]:
        note = self.corpora["train"].columns.note
        if note is not None:
            yield note
        for split, files in self.corpora.items():
            for path, reason in files.damaged:
                yield f"left out of {split}, damaged: {path} ({reason})"
            if totals[split].empty:
                done = "kept as [empty]" if self.options.empty_texts == "keep" else "dropped"
                yield f"{totals[split].empty:,} empty texts {done} in {split}"

    def _sample_notes(self, share: float, train: _Totals) -> Iterator[str]:
        texts, sampled = train.label_counts.total(), round(share * train.sampled)
        if sampled < texts:
            yield f"writing system and vocabulary are learned from {sampled:,} of {texts:,} texts"
        if self.recipe.wide_apart is not None:
            yield f"the wide path learns from at most {SAMPLE_EXAMPLES:,} training texts"


def _streamable(recipe: Recipe) -> TextDataOptions:
    """Raises DataError for recipes that need what only data in memory has."""
    hindrance = None
    if not isinstance(recipe.data, TextDataOptions):
        hindrance = "numeric series"
    elif recipe.distillation is not None:
        hindrance = "the section distillation: a teacher answers texts in memory"
    elif recipe.data.unlabelled is not None:
        hindrance = "data.unlabelled: its texts are held in memory"
    elif recipe.optim.kind == "gd":
        hindrance = 'optim.kind = "gd": each step takes all examples'
    if hindrance is not None or not isinstance(recipe.data, TextDataOptions):
        raise DataError(
            "This recipe cannot learn from a streamed corpus.",
            where=recipe.name,
            got=hindrance,
            cure="train it without --cluster, on what fits in memory",
        )
    return recipe.data


def _opened(
    source: Corpus, valid: Corpus | None, test: Corpus | None, options: TextDataOptions, skip: bool
) -> Corpora:
    """The sources by split, found as data.sources.open_source finds them."""
    found: dict[SplitName, list[Path]] = {}
    if isinstance(source, str | os.PathLike):
        paths = find_files(source)
        by_split = files_by_split(paths, source) if len(paths) > 1 else {}
        found |= {split: [path] for split, path in by_split.items()} or {"train": paths}
    else:
        found["train"] = [Path(path) for path in source]
    given: dict[SplitName, Corpus | None] = {"valid": valid, "test": test}
    found |= {split: _paths(corpus) for split, corpus in given.items() if corpus is not None}
    cut = partial(
        cut_files,
        options=options,
        labels="required",
        skip_damaged_files=skip,
        chunk_rows=SHARD_ROWS,
        piece_bytes=PIECE_BYTES,
    )
    return {split: cut(paths) for split, paths in found.items()}


def _paths(corpus: Corpus) -> list[Path]:
    return find_files(corpus) if isinstance(corpus, str | os.PathLike) else [Path(path) for path in corpus]


def _key(recipe: Recipe, corpora: Corpora) -> str:
    """Of all that decides what a preparation writes."""
    sections = recipe.model_dump_json(include={"data", "text", "embedding", "wide", "pretrained"})
    digest = hashlib.sha256(f"{sections} {SHARD_ROWS} {SAMPLE_TEXTS}\n".encode())
    for split, files in corpora.items():
        for path in files.paths:
            about = path.stat()
            digest.update(f"{split} {path.absolute()} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _begin(folder: Path, key: str) -> None:
    """Keep what is there of the same preparation; remove that of another."""
    path = folder / STREAM
    if path.is_file() and path.read_text(encoding="utf-8") == key:
        return
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_prepared(folder)
        shutil.rmtree(folder / WORK, ignore_errors=True)
    write_atomically(path, key)


def _worked(
    files: ChunkedFiles, task: Callable[[PieceChunk], None], results: Path
) -> Iterator[tuple[str, int]]:
    """Names of chunks as they are finished, and the rows finished so far. Those with a result are left out.

    Who reads a piece works on its chunks: texts never go through the object store.
    """
    done = {path.stem for path in results.glob("*.json")}
    wanted = [
        {"piece": number}
        for number, piece in enumerate(files.pieces)
        if (names := piece.chunk_names()) is None or not done.issuperset(names)
    ]
    shared = ray.put((files, task, results))

    def work(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a task has one processor
        found, do, folder = ray.get(shared)
        for number in batch["piece"]:
            for chunk in found.chunks_of(found.pieces[number]):
                if not (folder / f"{chunk.name}.json").is_file():
                    do(chunk)
                    yield {"chunk": [chunk.name], "rows": [len(chunk.texts)]}

    rows = 0
    if wanted:
        dataset = quiet(ray.data.from_items(wanted, override_num_blocks=len(wanted)))
        for row in map_chunks(dataset, work, num_cpus=1, max_retries=RETRIES).iter_rows():
            rows += row["rows"]
            yield row["chunk"], rows


def _sampled_texts(scans: Path, slices: Slices, share: float) -> Iterator[str]:
    """A share of the texts sampled from each chunk, those that will be learned from."""
    names = slices.names
    for _, facts in scanned(scans):
        sample = facts.sample[: math.ceil(share * len(facts.sample))]
        of = slices.of(np.array([code for code, _ in sample], np.uint64))
        yield from (
            text for (_, text), place in zip(sample, of.tolist(), strict=True) if names[place] == "train"
        )


def _unshared(folder: Path) -> ClusterError:
    return ClusterError(
        "A node does not see the folder that data is prepared in.",
        where=folder,
        got="a task that ended well and left nothing there",
        expected="a folder of a file system that all nodes share",
        cure="choose such a folder with -o",
    )
