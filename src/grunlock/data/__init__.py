"""Labelled texts and series to ragged batches: sources, checks, splits, stores, batch plans, vectors.

Knows text, series and recipes, no model; nothing here imports torch.
"""

from grunlock.data.batches import Batch, ExampleStore, evaluation_batches, plan_batches
from grunlock.data.checks import Progress
from grunlock.data.columns import Columns
from grunlock.data.prepare import Examples, prepare
from grunlock.data.prepared import Known, PreparedData, open_prepared
from grunlock.data.sources import Chunk, FileSource, InMemory, Source, SplitSources, open_source, read_texts
from grunlock.data.store import TokenStore, open_store, writing_store
from grunlock.data.vectors import PretrainedVectors, read_vectors

__all__ = [
    "Batch",
    "Chunk",
    "Columns",
    "ExampleStore",
    "Examples",
    "FileSource",
    "InMemory",
    "Known",
    "PreparedData",
    "PretrainedVectors",
    "Progress",
    "Source",
    "SplitSources",
    "TokenStore",
    "evaluation_batches",
    "open_prepared",
    "open_source",
    "open_store",
    "plan_batches",
    "prepare",
    "read_texts",
    "read_vectors",
    "writing_store",
]
