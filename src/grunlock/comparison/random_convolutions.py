"""What a linear model reads of numeric series: random convolutions (ROCKET, Dempster 2020).

A kernel has 7, 9 or 11 weights from N(0, 1), centred, a bias from U(-1, 1), a dilation that spreads it over
up to a whole series, and is slid with or without padding. It gives two features: its largest value, and the
share of steps at which it is positive. Of several channels a kernel reads some (section 3 of the paper and
its code for several channels).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import conv1d

from grunlock.seeding import generator
from grunlock.shapes import FloatArray

LENGTHS = (7, 9, 11)
NUM_KERNELS = 2500  # the paper's 10,000 gain little where series are few
ALPHAS = np.logspace(-3, 3, 10)
MAX_CELLS = 2**24  # of one convolution's output


def series_baseline(seed: int = 0) -> Pipeline:
    """For series [steps, F]: random convolutions, standardised, ridge regression on the classes."""
    return make_pipeline(RandomConvolutions(seed), StandardScaler(), RidgeClassifierCV(alphas=ALPHAS))


@dataclass(frozen=True)
class Kernels:
    """Some of equal length and dilation. weights: [k, F, length], biases: [k], padded: [k] bool."""

    weights: Tensor
    biases: Tensor
    dilation: int
    padded: Tensor

    @property
    def reach(self) -> int:
        """Steps to either side of the middle."""
        return (self.weights.shape[2] - 1) // 2 * self.dilation


class RandomConvolutions(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Features [series, 2 * num_kernels] of series [steps, F], each with steps of its own."""

    def __init__(self, seed: int = 0, num_kernels: int = NUM_KERNELS) -> None:
        self.seed = seed
        self.num_kernels = num_kernels

    def fit(self, series: Sequence[FloatArray], targets: object = None) -> "RandomConvolutions":
        """Draw kernels for series of this many channels and about this length. Targets are not looked at."""
        steps = int(np.median([len(each) for each in series]))
        self.kernels_ = list(_draw(self.num_kernels, series[0].shape[1], steps, self.seed))
        return self

    def transform(self, series: Sequence[FloatArray]) -> FloatArray:
        found = np.empty((len(series), 2 * sum(len(k.biases) for k in self.kernels_)), np.float32)
        for some in _of_like_length([len(each) for each in series]):
            lengths = torch.tensor([len(series[i]) for i in some])
            values = torch.zeros(len(some), series[0].shape[1], int(lengths.max()))
            for place, i in enumerate(some):
                values[place, :, : len(series[i])] = torch.from_numpy(np.ascontiguousarray(series[i].T))
            parts = [_features(values, lengths, kernels) for kernels in self.kernels_]
            found[some] = torch.cat(parts, dim=1).numpy()
        return found


def _draw(count: int, channels: int, steps: int, seed: int) -> Iterator[Kernels]:
    rng = generator(seed, "random_convolutions")
    lengths = rng.choice([n for n in LENGTHS if n <= steps] or [LENGTHS[0]], count)
    most = np.log2(np.maximum((steps - 1) / (lengths - 1), 1.0))
    dilations = np.floor(2 ** (rng.uniform(size=count) * most)).astype(int)
    kinds = sorted(zip(lengths.tolist(), dilations.tolist(), strict=True))
    for (length, dilation), group in groupby(kinds):
        size = len(list(group))
        weights = rng.normal(size=(size, channels, length))
        weights -= weights.mean(axis=2, keepdims=True)
        read = np.floor(2 ** (rng.uniform(size=size) * np.log2(channels + 1))).astype(int)
        order = rng.random((size, channels)).argsort(axis=1).argsort(axis=1)
        weights *= (order < read[:, None])[:, :, None]
        yield Kernels(
            torch.from_numpy(weights).float(),
            torch.from_numpy(rng.uniform(-1, 1, size)).float(),
            dilation,
            torch.from_numpy(rng.random(size) < 0.5),
        )


def _of_like_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in groups, short series first, so that padding is little and memory bounded."""
    largest_group = NUM_KERNELS  # at the most all kernels are of one kind
    some: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        if some and (len(some) + 1) * lengths[i] * largest_group > MAX_CELLS:
            yield some
            some = []
        some.append(i)
    yield some


def _features(values: Tensor, lengths: Tensor, kernels: Kernels) -> Tensor:
    """[B, 2k] of padded series [B, F, T]."""
    found = conv1d(
        values, kernels.weights, kernels.biases, padding=kernels.reach, dilation=kernels.dilation
    )  # [B, k, T]
    step = torch.arange(values.shape[2])
    whole = step < lengths[:, None]  # [B, T]
    inside = whole & (step >= kernels.reach) & (step < lengths[:, None] - kernels.reach)
    inside = torch.where(inside.any(dim=1, keepdim=True), inside, whole)  # a short series is always padded
    counted = torch.where(kernels.padded[:, None], whole[:, None], inside[:, None])  # [B, k, T]
    largest = found.masked_fill(~counted, -torch.inf).amax(dim=2)
    positive = ((found > 0) & counted).sum(dim=2) / counted.sum(dim=2)
    return torch.cat([largest, positive], dim=1)
