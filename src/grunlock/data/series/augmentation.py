"""Random changes of one ragged training batch, each a pure function of its values and a generator.

Batches are values [steps, C], series one after another, and lengths [B], their sum the steps. Missing values
(NaN) stay missing. Nothing here changes its arguments or reads a random state of its own.
"""

import math

import numpy as np
from numpy.typing import NDArray

from grunlock.data.series.series_set import offsets_of
from grunlock.errors import RecipeError, ShapeError
from grunlock.recipe.series_options import SeriesOptions
from grunlock.shapes import FloatArray, IntArray


def augment(
    values: FloatArray, lengths: IntArray, options: SeriesOptions, rng: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    """All that the options ask for, on standardised values [steps, C]. Returns them with their lengths."""
    if options.slicing:
        values, lengths = window_slicing(values, lengths, 1 - options.slicing, rng)
    if options.scaling:
        values = scaling(values, lengths, options.scaling, rng)
    if options.jitter:
        values = jitter(values, options.jitter, rng)
    if options.masking:
        values = time_masking(values, lengths, options.masking, rng)
    return values, lengths


def jitter(values: FloatArray, std: float, rng: np.random.Generator) -> FloatArray:
    """[steps, C] values + normal noise, drawn for each value (Um et al. 2017, 1706.00527).

    std: of the noise, in the values' unit, 0 or more.
    """
    _check_std(std)
    noise = rng.standard_normal(values.shape, np.float32)
    return values + np.float32(std) * noise


def scaling(values: FloatArray, lengths: IntArray, std: float, rng: np.random.Generator) -> FloatArray:
    """[steps, C] values times a normal factor around 1, one for each series and channel (Um et al. 2017).

    std: of the factors, 0 or more.

    Raises ShapeError if the lengths do not add up to the steps.
    """
    _check_std(std)
    _check_lengths(values, lengths)
    factors = 1 + np.float32(std) * rng.standard_normal((len(lengths), values.shape[1]), np.float32)
    return values * np.repeat(factors, lengths, axis=0)


def window_slicing(
    values: FloatArray, lengths: IntArray, share: float, rng: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    """A contiguous part of each series at a random place (Le Guennec et al. 2016, window slicing).

    share: of a series' steps that is kept, above 0 and at most 1; rounded up, so at least one step stays.

    Returns the kept values [fewer steps, C] and lengths [B]. Raises ShapeError if the lengths do not add up.
    """
    _check_share("share", share, 0 < share <= 1, "above 0 and at most 1")
    _check_lengths(values, lengths)
    kept = np.ceil(share * lengths).astype(np.int64)
    starts = rng.integers(0, lengths - kept, endpoint=True)
    return values[_inside(lengths, starts, kept)], kept


def time_masking(
    values: FloatArray,
    lengths: IntArray,
    max_share: float,
    rng: np.random.Generator,
    fill: float = math.nan,
) -> FloatArray:
    """[steps, C] values with a stretch of steps of each series masked (SpecAugment, Park et al. 2019).

    As there (1904.08779, time masking with the upper bound p), a stretch has 0 to max_share of its series'
    steps, each number of steps and each place as likely as the others.

    max_share: 0 or more, below 1, so that a step stays.
    fill: what masked steps become: missing, or 0 for values that are standardised already.

    Raises ShapeError if the lengths do not add up to the steps.
    """
    _check_share("max_share", max_share, 0 <= max_share < 1, "0 or more and below 1")
    _check_lengths(values, lengths)
    widths = rng.integers(0, np.floor(max_share * lengths).astype(np.int64), endpoint=True)
    starts = rng.integers(0, lengths - widths, endpoint=True)
    masked = values.copy()
    masked[_inside(lengths, starts, widths)] = fill
    return masked


def _inside(lengths: IntArray, starts: IntArray, widths: IntArray) -> NDArray[np.bool_]:
    """[steps] whether a step lies in its series' stretch of `widths` [B] steps from `starts` [B]"""
    place = np.arange(int(lengths.sum())) - np.repeat(offsets_of(lengths)[:-1], lengths)
    first = np.repeat(starts, lengths)
    inside: NDArray[np.bool_] = (place >= first) & (place < first + np.repeat(widths, lengths))
    return inside


def _check_lengths(values: FloatArray, lengths: IntArray) -> None:
    if int(lengths.sum()) != len(values):
        raise ShapeError(
            "The lengths do not add up to the steps.", got=int(lengths.sum()), expected=len(values)
        )


def _check_std(std: float) -> None:
    if not 0 <= std < math.inf:
        raise RecipeError("Wrong value.", where="std", got=std, expected="a finite number, 0 or more")


def _check_share(name: str, share: float, fits: bool, expected: str) -> None:
    if not fits:
        raise RecipeError("Wrong value.", where=name, got=share, expected=expected)
