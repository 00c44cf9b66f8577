"""Cutting a corpus into splits by a hash of each text: nothing is held of any, and equal ones stay together.

A split has about its share of the texts, not exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.data.splits import SplitName
from grunlock.recipe.text_options import TextDataOptions
from grunlock.seeding import derive_seed
from grunlock.shapes import IntArray

MOST_HELD_OUT = 50_000  # examples of validation and calibration together, and of test: these are in memory


@dataclass(frozen=True)
class Slices:
    """Which split a text of one source belongs to.

    shares: of the interval from 0 to 1, one behind the other; the rest is `rest`. None: left out
    """

    seed: int
    shares: tuple[tuple[SplitName, float], ...]
    rest: SplitName | None

    @property
    def names(self) -> tuple[SplitName | None, ...]:
        return (*(name for name, _ in self.shares), self.rest)

    def of(self, hashes: NDArray[np.uint64]) -> IntArray:
        """[texts] index into `names`."""
        ends = np.cumsum([share for _, share in self.shares])
        return ends.searchsorted(_spread(hashes, self.seed), side="right")


def train_slices(options: TextDataOptions, num_texts: int, valid_given: bool, test_given: bool) -> Slices:
    """Of a training source: what is cut from it for the splits that are not given."""
    most = MOST_HELD_OUT / num_texts
    valid = 0.0 if valid_given else min(options.valid_fraction, most)
    test = 0.0 if valid_given or test_given else min(options.test_fraction, most)
    calibration = valid * options.calibration_fraction
    shares: list[tuple[SplitName, float]]
    shares = [("valid", valid - calibration), ("calibration", calibration), ("test", test)]
    return Slices(derive_seed(options.split_seed, "slices"), tuple(s for s in shares if s[1] > 0), "train")


def given_slices(options: TextDataOptions, num_texts: int, split: SplitName) -> Slices:
    """Of a source that is given as validation or test split."""
    kept = min(1.0, MOST_HELD_OUT / num_texts)
    calibration = kept * options.calibration_fraction if split == "valid" else 0.0
    shares: list[tuple[SplitName, float]] = [("calibration", calibration)]
    rest: SplitName | None = split
    if kept < 1.0:
        shares, rest = [*shares, (split, kept - calibration)], None
    return Slices(derive_seed(options.split_seed, "slices"), tuple(s for s in shares if s[1] > 0), rest)


def _spread(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """[texts] from 0 to 1, for every seed another number (splitmix64's finaliser)."""
    z = hashes ^ np.uint64(seed)
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) / 2.0**53
