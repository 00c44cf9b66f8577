"""Batch prediction on a cluster: files larger than memory in, a folder of part files out, each row once.

Readers hand chunks to tasks, in processes that keep the torch-free model (scoring.py); each chunk becomes one
part (parts.py). What is killed is repeated by Ray and writes the same parts again.
"""

import hashlib
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from grunlock import artifact as artifacts
from grunlock.artifact import ARTIFACT_NAME, Artifact
from grunlock.data.sources import files_to_read
from grunlock.errors import ClusterError, DataError, RunInterruptedError
from grunlock.evaluation import Promises
from grunlock.evaluation.answers import NO_PROMISES, answer_columns
from grunlock.evaluation.texts import prediction_options
from grunlock.files import storage_guard
from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe.text_options import TextDataOptions
from grunlock.scale.chunks import (
    CHUNK_ROWS,
    PIECE_BYTES,
    RETRIES,
    ChunkedFiles,
    chunk_dataset,
    cut_files,
    map_chunks,
)
from grunlock.scale.cluster import Cluster, own_versions
from grunlock.scale.failures import told
from grunlock.scale.predict.parts import REQUEST_NAME, Parts, finish, open_folder
from grunlock.scale.predict.scoring import WRITERS, Job, PartScorer, loaded
from grunlock.scale.reach import check_nodes_reach
from grunlock.scale.storage import Storage

SCORER_CPUS = 0.75  # beside a reader
SCORERS_TO_A_READER = 2  # reading takes a small part of the time
FORMAT_VERSION = 1

Progress = Callable[[int, int], None]  # parts that are there, and the texts in them


@dataclass(frozen=True)
class BatchRequest:
    """What is asked for. Other fields: see evaluation.predict_file.

    output: a folder on a file system that all nodes share, or an address such as s3://BUCKET/FOLDER
    format: of the parts: parquet, csv or jsonl
    """

    model: Path
    source: str
    output: str
    format: str = "parquet"
    text_column: str | None = None
    overrides: tuple[str, ...] = ()
    precision: InferencePrecision = "float32"
    promises: Promises = NO_PROMISES
    skip_damaged_files: bool = False
    chunk_rows: int = CHUNK_ROWS
    piece_bytes: int = PIECE_BYTES


@dataclass(frozen=True)
class BatchResult:
    """rows, parts: in the folder. kept: parts that an earlier job had written."""

    rows: int
    parts: int
    kept: int
    damaged: tuple[tuple[Path, str], ...]


def predict_on(cluster: Cluster, request: BatchRequest, progress: Progress | None = None) -> BatchResult:
    """Predict every text, one for one, and write a manifest when all are written.

    progress: told after each part.

    The same request goes on with a folder where it was stopped.

    Raises DataError for what cannot be read, StorageError for a folder that cannot be used, ClusterError for
    workers or nodes that were lost too often, CalibrationError for what the model cannot promise, and
    RunInterruptedError after Ctrl-C.
    """
    _check_processors(cluster)
    artifact, model = _model(request)
    options = _options(artifact, request)
    storage = Storage.at(request.output)
    files = _files(cluster, request, options, storage)
    facts = _facts(request, files, options, model)
    before = open_folder(storage, facts)
    check_nodes_reach(cluster, [], storage, REQUEST_NAME)
    job = Job(files, options, model, request.precision, request.promises, storage, request.format)
    rows = dict(before.rows)
    total = sum(rows.values())
    try:
        with closing(_score(job, cluster, before)) as written:  # ends the work of others, too
            for chunk, count in written:
                rows[chunk] = count
                total += count
                if progress is not None:
                    progress(len(rows), total)
    except KeyboardInterrupt as error:
        raise RunInterruptedError(
            f"Stopped after {len(rows)} parts.",
            where=request.output,
            cure="the same command goes on from there",
        ) from error
    finish(storage, Parts(rows, request.format), files, {"request": facts, "versions": own_versions()})
    return BatchResult(total, len(rows), len(before.rows), files.damaged)


def _check_processors(cluster: Cluster) -> None:
    if not any(node.cpus >= 1 for node in cluster.nodes):
        raise ClusterError(
            "No node of the cluster has a processor for tasks.",
            where=cluster.address,
            got=cluster.describe(),
            cure="add a node: ray start --address=HOST:PORT",
        )


def _files(
    cluster: Cluster, request: BatchRequest, options: TextDataOptions, storage: Storage
) -> ChunkedFiles:
    paths = [path.absolute() for path in files_to_read(request.source)]
    check_nodes_reach(cluster, paths)
    if request.skip_damaged_files:
        storage.check_writable()  # before all files are read
    return cut_files(
        paths,
        options,
        "ignored",
        skip_damaged_files=request.skip_damaged_files,
        chunk_rows=request.chunk_rows,
        piece_bytes=request.piece_bytes,
    )


def _score(job: Job, cluster: Cluster, before: Parts) -> Generator[tuple[str, int]]:
    """Chunk and rows of each part that is written."""
    left = [number for number, piece in enumerate(job.files.pieces) if not before.cover(piece)]
    if not left:
        return
    shared, scorer = ray.put(job), PartScorer

    def score(batch: pa.Table) -> pa.Table:
        return loaded(scorer, shared).write_parts(batch)

    readers = max(1, cluster.cpus // SCORERS_TO_A_READER)
    written = map_chunks(
        chunk_dataset(job.files, frozenset(before.rows), left, readers),
        score,
        batch_format="pyarrow",
        num_cpus=SCORER_CPUS,
        max_retries=RETRIES,
    )
    try:
        for row in written.iter_rows():
            yield row["chunk"], row["rows"]
    except ray.exceptions.RayError as error:
        raise told(error, job.storage.root) from error


def _model(request: BatchRequest) -> tuple[Artifact, bytes]:
    artifact = artifacts.read(request.model)
    if artifact.recipe.data.kind != "text":
        raise DataError(
            "Models of series are not scored on a cluster: the series of a file are read together.",
            where=request.model,
            cure="grunlock predict RUN FILE, without --cluster",
        )
    if request.format not in WRITERS:
        raise DataError("Unknown kind of output.", got=request.format, expected=", ".join(WRITERS))
    classifier = artifact.classifier(request.precision)
    answer_columns(classifier, classifier.logits([])[:0], request.promises)  # what it cannot promise, now
    path = request.model / ARTIFACT_NAME if request.model.is_dir() else request.model
    with storage_guard(path):
        return artifact, path.read_bytes()


def _options(artifact: Artifact, request: BatchRequest) -> TextDataOptions:
    options = prediction_options(artifact, request.overrides)
    if request.text_column is None:
        return options
    return options.model_copy(update={"text_column": request.text_column})


def _facts(
    request: BatchRequest, files: ChunkedFiles, options: TextDataOptions, model: bytes
) -> dict[str, Any]:
    """All that decides what the parts hold, as JSON."""
    states = [(str(path), path.stat()) for path in files.paths]
    return {
        "format_version": FORMAT_VERSION,
        "grunlock": own_versions()["grunlock"],
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "files": [{"path": path, "bytes": s.st_size, "modified_ns": s.st_mtime_ns} for path, s in states],
        "damaged_files": [str(path) for path, _ in files.damaged],
        "text_column": files.columns.text,
        "encoding": options.encoding,
        "max_text_bytes": options.max_text_bytes,
        "precision": request.precision,
        "coverage": request.promises.coverage,
        "max_error": request.promises.max_error,
        "format": request.format,
        "chunk_rows": request.chunk_rows,
        "piece_bytes": request.piece_bytes,
    }
