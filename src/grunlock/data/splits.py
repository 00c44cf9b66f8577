"""Cutting a labelled collection into train, valid and test, and calibration from valid. Sees labels only."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import DataError
from grunlock.seeding import generator
from grunlock.shapes import IntArray

SplitName = Literal["train", "valid", "test", "calibration"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)  # calibration is never a file, always cut from valid


@dataclass(frozen=True)
class Splits:
    """Positions of each split's examples, in the collection's order; `valid` and `test` may be empty."""

    train: IntArray
    valid: IntArray
    test: IntArray


def stratified_splits(
    targets: NDArray[np.integer], valid_fraction: float, test_fraction: float, seed: int
) -> Splits:
    """Cut so that each split has each class in proportion, as far as whole examples allow.

    targets: [examples] class indices. The result is a pure function of these and the other arguments.

    A split of fraction f gets round(f * examples), at least 1 if f > 0. Each class gives the whole part of
    its share, and the classes with the largest remainders one more, but each keeps an example for training.
    """
    rng = generator(seed, "split")
    num_classes = int(targets.max()) + 1 if len(targets) else 0
    members = [rng.permutation(np.flatnonzero(targets == target)) for target in range(num_classes)]
    sizes = np.array([len(member) for member in members], dtype=np.int64)
    test = _shares(sizes, test_fraction, sizes - 1)
    valid = _shares(sizes, valid_fraction, sizes - 1 - test)
    parts: list[list[IntArray]] = [[], [], []]
    for member, num_test, num_valid in zip(members, test, valid, strict=True):
        cuts = np.split(member, [num_test, num_test + num_valid])
        for part, cut in zip(parts, cuts, strict=True):
            part.append(cut)
    of_test, of_valid, of_train = (np.sort(np.concatenate([*part, np.empty(0, np.int64)])) for part in parts)
    if (valid_fraction > 0 and not len(of_valid)) or (test_fraction > 0 and not len(of_test)):
        raise DataError(
            "There are too few examples to cut a validation or test split.",
            got=f"{len(targets)} examples of {num_classes} classes",
            expected="some class with at least two examples, three to cut both splits",
            cure="give validation and test files, or --set data.test_fraction=0",
        )
    return Splits(of_train.astype(np.int64), of_valid.astype(np.int64), of_test.astype(np.int64))


def stratified_folds(targets: NDArray[np.integer], num_folds: int, rng: np.random.Generator) -> IntArray:
    """[M] fold of each example: each class is dealt out in turn, in random order."""
    shuffled = rng.permutation(len(targets))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    folds = np.empty(len(targets), np.int64)
    folds[by_class] = np.arange(len(targets)) % num_folds
    return folds


def calibration_members(
    targets: NDArray[np.integer], calibration_fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Which validation examples are set aside for calibration: [examples] bool, a pure function of all this.

    targets: [examples] class indices of the validation examples.

    Systematic sampling (Madow 1944) through the classes one after another, these and their members in random
    order: round(calibration_fraction * examples) of them, at least 1 and at most all but 1. Each class gives
    its share rounded up or down, and every example is taken with the same probability, those of rare classes
    too: what is promised from these must hold for examples that come as the validation examples came.

    Raises DataError for fewer than two examples.
    """
    count = len(targets)
    if count < 2:
        raise DataError(
            "There are too few validation examples to set some aside for calibration.",
            where="data.calibration_fraction",
            got=f"{count} of them",
            expected="at least two; a hundred or more to promise anything from them",
            cure="give more validation examples, or --set data.calibration_fraction=0",
        )
    rng = generator(seed, "calibration")
    classes = rng.permutation(np.unique(targets))
    order = np.concatenate([rng.permutation(np.flatnonzero(targets == target)) for target in classes])
    wanted = min(max(1, round(calibration_fraction * count)), count - 1)
    places = np.floor((np.arange(wanted) + rng.random()) * (count / wanted)).astype(np.int64)
    members = np.zeros(count, np.bool_)
    members[order[np.minimum(places, count - 1)]] = True
    return members


def _shares(sizes: IntArray, fraction: float, at_most: IntArray) -> IntArray:
    """How many examples each class gives to a split of this fraction."""
    at_most = np.maximum(at_most, 0)
    if fraction == 0:
        return np.zeros_like(sizes)
    wanted = max(1, round(fraction * int(sizes.sum())))
    exact = fraction * sizes
    shares: IntArray = np.minimum(np.floor(exact).astype(np.int64), at_most)
    for target in np.argsort(shares - exact, kind="stable"):
        if shares.sum() >= wanted:
            break
        if shares[target] < at_most[target]:
            shares[target] += 1
    return shares
