"""What the comparisons accept: checks of scores and of right and wrong answers, with our errors."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grunlock.errors import DataError, ShapeError

Doubles = NDArray[np.float64]


def finite_scores(name: str, values: ArrayLike, *, rank: int, letters: str, least: int = 1) -> Doubles:
    """`values` as float64 of that rank, at least `least` long on the first axis and 1 on the others.

    Raises ShapeError for another rank or too few values, DataError for what is not a finite number.
    """
    scores = _numbers(name, values)
    if scores.ndim != rank:
        raise ShapeError(f"`{name}` has the wrong shape.", got=list(scores.shape), expected=letters)
    if len(scores) < least or scores.size == 0:
        raise ShapeError(
            f"`{name}` has too few values to compare.",
            got=f"{letters} = {list(scores.shape)}",
            expected=f"at least {least} on the first axis",
        )
    return scores


def scores_by_seed(name: str, values: ArrayLike) -> Doubles:
    """`values` as float64 [S, n]; [n] is one fixed model. Errors as finite_scores."""
    scores = _numbers(name, values)
    if scores.ndim == 1:
        scores = scores[None]
    return finite_scores(name, scores, rank=2, letters="[S, n] or [n]")


def correctness_by_seed(name: str, values: ArrayLike) -> Doubles:
    """Right (1) and wrong (0) answers [S, n] or [n] as float64 [S, n].

    Raises ShapeError as scores_by_seed does, DataError for anything but 0, 1, False and True.
    """
    answers = scores_by_seed(name, values)
    other = (answers != 0.0) & (answers != 1.0)
    if other.any():
        seed, example = (int(i) for i in np.argwhere(other)[0])
        raise DataError(
            f"`{name}` is not right or wrong.",
            where=f"seed {seed}, example {example}",
            got=f"{answers[seed, example]:g}",
            expected="1 for a right answer, 0 for a wrong one",
            cure="compare predictions with targets first: predictions == targets",
        )
    return answers


def check_same_examples(a: Doubles, b: Doubles) -> None:
    """a: [S_a, n], b: [S_b, n]. Raises ShapeError unless both are about equally many examples."""
    if a.shape[1] != b.shape[1]:
        raise ShapeError(
            "The systems were not tried on the same examples.",
            got=f"{a.shape[1]} and {b.shape[1]} examples",
            expected="the same examples in the same order for both",
        )


def check_fraction(name: str, value: float) -> None:
    """Raises DataError unless 0 < value < 1."""
    if not 0.0 < value < 1.0:
        raise DataError(
            f"`{name}` is no share.", got=value, expected="a number between 0 and 1, ends excluded"
        )


def _numbers(name: str, values: ArrayLike) -> Doubles:
    raw: NDArray[Any] = np.asarray(values)
    if raw.dtype.kind not in "biuf":
        raise DataError(f"`{name}` holds no numbers.", got=f"an array of {raw.dtype}", expected="numbers")
    scores = raw.astype(np.float64)
    bad = ~np.isfinite(scores)
    if bad.any():
        place = [int(i) for i in np.argwhere(bad)[0]]
        raise DataError(
            f"`{name}` has a value that is not finite.",
            where=f"index {place}",
            got=scores[tuple(place)],
            expected="finite numbers",
            cure="leave out failed trials on purpose, and say how many",
        )
    return scores
