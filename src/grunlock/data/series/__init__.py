"""Numeric series to learn from: reading, checking, storing, augmenting. Preparing them: prepare.py here.

Knows no model; nothing here imports torch.
"""

from grunlock.data.series.augmentation import jitter, scaling, time_masking, window_slicing
from grunlock.data.series.checks import (
    CheckedSeries,
    check_series,
    raise_problems,
    value_notes,
    value_problems,
)
from grunlock.data.series.columns import SeriesColumns
from grunlock.data.series.long_table import read_long_tables
from grunlock.data.series.npz import read_npz
from grunlock.data.series.series_set import (
    SeriesSet,
    SeriesSplits,
    channels_problem,
    concatenate,
    series_of_arrays,
)
from grunlock.data.series.sources import open_series, read_series
from grunlock.data.series.store import SeriesStore, SeriesStoreWriter, open_series_store, writing_series_store
from grunlock.data.series.ts_file import read_ts

__all__ = [
    "CheckedSeries",
    "SeriesColumns",
    "SeriesSet",
    "SeriesSplits",
    "SeriesStore",
    "SeriesStoreWriter",
    "channels_problem",
    "check_series",
    "concatenate",
    "jitter",
    "open_series",
    "open_series_store",
    "raise_problems",
    "read_long_tables",
    "read_npz",
    "read_series",
    "read_ts",
    "scaling",
    "series_of_arrays",
    "time_masking",
    "value_notes",
    "value_problems",
    "window_slicing",
    "writing_series_store",
]
