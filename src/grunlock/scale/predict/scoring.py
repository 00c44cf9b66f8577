"""Answers of a model to one chunk after another, each written as one part. Without torch."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from grunlock import artifact as artifacts
from grunlock.evaluation import Promises, write_csv, write_jsonl
from grunlock.evaluation.answers import answer_columns, answer_fields
from grunlock.evaluation.texts import Prediction, text_classifier, usable_texts
from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe.text_options import TextDataOptions
from grunlock.runtime.classifier import TextClassifier
from grunlock.scale.chunks import ChunkedFiles, PieceChunk
from grunlock.scale.predict.parts import part_name
from grunlock.scale.storage import Storage
from grunlock.shapes import FloatArray

SLICE_ROWS = 2048  # at a time: what the tokeniser says of texts takes far more room than they do
WRITTEN = pa.schema({"chunk": pa.string(), "rows": pa.int64()})


@dataclass(frozen=True)
class Job:
    """What each process is told once."""

    files: ChunkedFiles
    options: TextDataOptions
    model: bytes  # of the artifact's file
    precision: InferencePrecision
    promises: Promises
    storage: Storage
    format: str


class PartScorer:
    """Takes rows of `chunk_dataset`, writes a part for each, and tells which."""

    def __init__(self, job: Job) -> None:
        self.job = job
        with TemporaryDirectory() as folder:
            path = Path(folder) / artifacts.ARTIFACT_NAME
            path.write_bytes(self.job.model)
            self.classifier = text_classifier(artifacts.load(path, self.job.precision))

    def write_parts(self, batch: pa.Table) -> pa.Table:
        written = [(chunk.name, self.write(chunk)) for chunk in self.job.files.chunks_in(batch)]
        names, rows = zip(*written, strict=True)
        return pa.table([pa.array(names), pa.array(rows)], schema=WRITTEN)

    def write(self, chunk: PieceChunk) -> int:
        """Write a chunk's part. Returns its rows."""
        texts = usable_texts(chunk, self.job.options)
        slices = [texts[start : start + SLICE_ROWS] for start in range(0, len(texts), SLICE_ROWS)]
        logits = np.concatenate([self.classifier.logits(some) for some in slices])
        content = WRITERS[self.job.format](self.classifier, texts, logits, self.job.promises)
        self.job.storage.write(self.part_name(chunk, len(texts)), content)
        return len(texts)

    def part_name(self, chunk: PieceChunk, rows: int) -> str:
        return part_name(chunk.name, rows, self.job.format)


@lru_cache(maxsize=1)
def loaded(kind: type[PartScorer], job: "ray.ObjectRef[Job]") -> PartScorer:
    """The scorer of this process, which outlives a task."""
    return kind(ray.get(job))


def parquet_bytes(
    classifier: TextClassifier, texts: list[str], logits: FloatArray, promises: Promises
) -> bytes:
    """Columns text, label, probability, probs (a struct with a field for each label) and label_set."""
    found = answer_columns(classifier, logits, promises)
    by_label = [pa.array(column) for column in found.probs.T]
    columns = {
        "text": pa.array(texts, pa.string()),
        "label": pa.array(found.labels, pa.string()).dictionary_encode(),
        "probability": pa.array(found.probability),
        "probs": pa.StructArray.from_arrays(by_label, names=list(classifier.labels)),
    }
    if found.label_sets is not None:
        columns["label_set"] = pa.array(found.label_sets, pa.list_(pa.string()))
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", use_dictionary=["label"])
    return sink.getvalue()


def csv_bytes(classifier: TextClassifier, texts: list[str], logits: FloatArray, promises: Promises) -> bytes:
    file = io.StringIO(newline="")
    write_csv(file, _predictions(classifier, texts, logits, promises))
    return file.getvalue().encode()


def jsonl_bytes(
    classifier: TextClassifier, texts: list[str], logits: FloatArray, promises: Promises
) -> bytes:
    file = io.StringIO(newline="")
    write_jsonl(file, _predictions(classifier, texts, logits, promises))
    return file.getvalue().encode()


def _predictions(
    classifier: TextClassifier, texts: list[str], logits: FloatArray, promises: Promises
) -> list[Prediction]:
    fields = answer_fields(classifier, logits, promises)
    return [Prediction(text, **found) for text, found in zip(texts, fields, strict=True)]


WRITERS: dict[str, Callable[[TextClassifier, list[str], FloatArray, Promises], bytes]] = {
    "parquet": parquet_bytes,
    "csv": csv_bytes,
    "jsonl": jsonl_bytes,
}
