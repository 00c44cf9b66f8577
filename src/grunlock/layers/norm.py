"""Batch normalisation over real steps. A packed batch holds no others, so only repeats need care.

Where several processes compute one batch, statistics are those of all of it, and gradients too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from grunlock.kernels import NORM_EPS
from grunlock.parallel import ALONE, Group


class PackedBatchNorm(nn.Module):
    """BatchNorm over packed rows [N, D]: statistics over all real steps of all sequences.

    In training y = (x - mean) / sqrt(var + eps) * weight + bias with the batch's own mean and biased
    variance; running_mean and running_var (unbiased) follow with `momentum` and serve at inference.
    A batch of one single step has no variance: it is normalised by the running statistics and does
    not change them. State dict as torch.nn.BatchNorm1d.

    Attributes:
        group: the processes whose rows are one batch; see synchronize_norms.
        takes_part: whether the rows of this process are of the batch; see without_rows.
    """

    running_mean: Tensor
    running_var: Tensor
    group: Group = ALONE
    takes_part = True

    def __init__(self, size: int, *, eps: float = NORM_EPS, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))

    def forward(self, rows: Tensor, counts: Tensor | None = None) -> Tensor:  # [U, D] -> [U, D]
        """With counts [U], row u stands for counts[u] equal steps, perhaps none; without, each for one."""
        if self.training and self.group.size > 1:
            return self._normalize_shared(rows, counts)
        num_steps = len(rows) if counts is None else int(counts.sum())
        training = self.training and num_steps > 1
        if training and counts is not None:
            return self._normalize_repeated(rows, counts.to(rows.dtype), num_steps)
        return self._normalize_plain(rows, training=training)

    def _normalize_plain(self, rows: Tensor, *, training: bool) -> Tensor:
        return functional.batch_norm(
            rows,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=training,
            momentum=self.momentum,
            eps=self.eps,
        )

    def _normalize_repeated(self, rows: Tensor, counts: Tensor, num_steps: int) -> Tensor:
        """What batch_norm gives on every step's row, at the cost of the distinct ones."""
        mean = counts @ rows / num_steps  # [D]
        centred = rows - mean
        variance = counts @ centred.square() / num_steps
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (num_steps / (num_steps - 1)), self.momentum)
        return torch.addcmul(self.bias, centred, self.weight * torch.rsqrt(variance + self.eps))

    def _normalize_shared(self, rows: Tensor, counts: Tensor | None) -> Tensor:
        """As the two above, on this process's share of the rows of all."""
        repeats = (rows.new_ones(len(rows)) if counts is None else counts.to(rows.dtype))[:, None]
        if not self.takes_part:
            repeats = torch.zeros_like(repeats)
        moments = _shared_moments(rows.detach(), repeats, self.group)
        if moments.num_steps <= 1:
            return self._normalize_plain(rows, training=False)
        with torch.no_grad():
            unbiased = moments.variance * (moments.num_steps / (moments.num_steps - 1))
            self.running_mean.lerp_(moments.mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        scale = torch.rsqrt(moments.variance + self.eps)
        shared = _Shared(moments.mean, scale, repeats, moments.num_steps, self.group, self.takes_part)
        normalized: Tensor = _NormalizeShared.apply(rows, self.weight, self.bias, shared)  # type: ignore[no-untyped-call]
        return normalized


@dataclass(frozen=True)
class _Moments:
    """Of the steps of all processes. mean, variance: [D], the variance biased."""

    mean: Tensor
    variance: Tensor
    num_steps: int


def _shared_moments(rows: Tensor, repeats: Tensor, group: Group) -> _Moments:
    """rows: [U, D], of which row u stands for repeats[u] steps [U, 1].

    Own moments are about the own mean. Joined, they are sums of squares in float64, where subtracting the
    square of the mean costs float32 rows nothing.
    """
    size, num_steps = rows.shape[1], repeats.sum().clamp(min=1)
    mean = (repeats * rows).sum(0) / num_steps
    variance = (repeats * (rows - mean).square()).sum(0) / num_steps
    own_mean = mean.double()
    sums = torch.cat([torch.ones(1, dtype=torch.float64), own_mean, variance.double() + own_mean.square()])
    sums *= repeats.sum().double()
    group.sum_(sums, "statistics")
    total = max(1, round(float(sums[0])))
    mean, square = torch.split(sums[1:] / total, size)
    variance = (square - mean.square()).clamp(min=0.0)
    return _Moments(mean.to(rows.dtype), variance.to(rows.dtype), round(float(sums[0])))


@dataclass(frozen=True)
class _Shared:
    """What is given in a shared pass. mean, scale: [D] of all steps. repeats: [U, 1] steps of each row."""

    mean: Tensor
    scale: Tensor  # 1 / sqrt(variance + eps)
    repeats: Tensor
    num_steps: int
    group: Group
    takes_part: bool


class _NormalizeShared(torch.autograd.Function):
    """y = (x - mean) * scale * weight + bias, where mean and scale come from the rows of all processes.

    With x' = (x - mean) * scale, c steps for each row, n in all, and sums over the rows of all processes:

        dx = weight * scale * (dy - c / n * (sum dy + x' * sum dy x'))
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, shared: _Shared) -> Tensor:
        normalized = (rows - shared.mean) * shared.scale
        ctx.save_for_backward(normalized, weight)
        ctx.shared = shared
        return torch.addcmul(bias, normalized, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normalized, weight = ctx.saved_tensors
        shared: _Shared = ctx.shared
        grad_bias = grad.sum(0)
        grad_weight = (grad * normalized).sum(0)
        sums = torch.stack([grad_bias, grad_weight])  # those of parameters stay the own ones
        if not shared.takes_part:
            sums.zero_()
        shared.group.sum_(sums, "statistics")
        mean_grads = shared.repeats / shared.num_steps * torch.addcmul(sums[0], normalized, sums[1])
        return weight * shared.scale * (grad - mean_grads), grad_weight, grad_bias, None


def synchronize_norms(model: nn.Module, group: Group) -> None:
    """From now on the model's norms in training see the rows of all the group's processes as one batch."""
    for norm in _norms(model):
        norm.group = group


@contextmanager
def without_rows(model: nn.Module) -> Iterator[None]:
    """Inside, what this process computes is not of the batch: its norms take part in the exchanges and add
    nothing. The loss must not depend on it, so that no gradient comes back."""
    norms = list(_norms(model))
    for norm in norms:
        norm.takes_part = False
    try:
        yield
    finally:
        for norm in norms:
            norm.takes_part = True


def _norms(model: nn.Module) -> Iterator[PackedBatchNorm]:
    return (module for module in model.modules() if isinstance(module, PackedBatchNorm))


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, forward passes in training leave every PackedBatchNorm's running statistics as they are."""
    norms = list(_norms(model))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
