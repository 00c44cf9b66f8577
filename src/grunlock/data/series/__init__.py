"""Numeric series to learn from: reading, checking, standardising, storing, augmenting.

Knows numpy only: no recipe, no model; nothing here imports torch.
"""

from grunlock.data.series.augmentation import jitter, scaling, time_masking, window_slicing
from grunlock.data.series.checks import (
    CheckedSeries,
    check_series,
    raise_problems,
    value_notes,
    value_problems,
)
from grunlock.data.series.columns import SeriesColumns, SeriesOptions
from grunlock.data.series.long_table import read_long_tables
from grunlock.data.series.npz import read_npz
from grunlock.data.series.series_set import SeriesSet, SeriesSplits, channels_problem, concatenate
from grunlock.data.series.sources import open_series, read_series
from grunlock.data.series.standardization import Standardization, fit_standardization
from grunlock.data.series.store import SeriesStore, SeriesStoreWriter, open_series_store, writing_series_store
from grunlock.data.series.ts_file import read_ts

__all__ = [
    "CheckedSeries",
    "SeriesColumns",
    "SeriesOptions",
    "SeriesSet",
    "SeriesSplits",
    "SeriesStore",
    "SeriesStoreWriter",
    "Standardization",
    "channels_problem",
    "check_series",
    "concatenate",
    "fit_standardization",
    "jitter",
    "open_series",
    "open_series_store",
    "raise_problems",
    "read_long_tables",
    "read_npz",
    "read_series",
    "read_ts",
    "scaling",
    "time_masking",
    "value_notes",
    "value_problems",
    "window_slicing",
    "writing_series_store",
]
