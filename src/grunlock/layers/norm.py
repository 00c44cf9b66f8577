"""Batch normalisation over real steps. A packed batch holds no others, so only repeats need care."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.kernels import NORM_EPS


class PackedBatchNorm(nn.Module):
    """BatchNorm over packed rows [N, D]: statistics over all real steps of all sequences.

    In training y = (x - mean) / sqrt(var + eps) * weight + bias with the batch's own mean and biased
    variance; running_mean and running_var (unbiased) follow with `momentum` and serve at inference.
    A batch of one single step has no variance: it is normalised by the running statistics and does
    not change them. State dict as torch.nn.BatchNorm1d.
    """

    running_mean: Tensor
    running_var: Tensor

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
        num_steps = len(rows) if counts is None else int(counts.sum())
        training = self.training and num_steps > 1
        if training and counts is not None:
            return self._normalize_repeated(rows, counts.to(rows.dtype), num_steps)
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


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, forward passes in training leave every PackedBatchNorm's running statistics as they are."""
    norms = [module for module in model.modules() if isinstance(module, PackedBatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
