"""What of numeric series a network reads: shared by training and by the torch-free runtime. Reads no file."""

from grunlock.series.front_end import SeriesFrontEnd
from grunlock.series.standardization import Standardization, fit_standardization

__all__ = ["SeriesFrontEnd", "Standardization", "fit_standardization"]
