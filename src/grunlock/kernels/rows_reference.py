"""Arithmetic on some rows of a table, in plain torch: the oracle and the fall-back of rows.py.

Equations and letters are there. Nothing is checked here but what torch checks.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from grunlock.kernels.rows import AdagradRule, AdamRule, RmspropRule, Rule, SgdRule


def step(weight: Tensor, states: Sequence[Tensor], ids: Tensor, grads: Tensor, rule: Rule) -> None:
    match rule:
        case SgdRule():
            _sgd(weight, states, ids, grads, rule)
        case RmspropRule():
            _rmsprop(weight, states, ids, grads, rule)
        case AdagradRule():
            _adagrad(weight, states, ids, grads, rule)
        case AdamRule():
            _adam(weight, states, ids, grads, rule)


def _sgd(weight: Tensor, states: Sequence[Tensor], ids: Tensor, grads: Tensor, rule: SgdRule) -> None:
    update = grads
    for buffer in states:
        buffer[ids] = update = rule.momentum * buffer[ids] + grads
        if rule.nesterov:
            update = grads + rule.momentum * update
    weight[ids] -= rule.lr * update


def _rmsprop(weight: Tensor, states: Sequence[Tensor], ids: Tensor, grads: Tensor, rule: RmspropRule) -> None:
    (mean_square,) = states
    mean_square[ids] = s = rule.alpha * mean_square[ids] + (1.0 - rule.alpha) * grads.square()
    weight[ids] -= rule.lr * (grads / (s.sqrt() + rule.eps))


def _adagrad(weight: Tensor, states: Sequence[Tensor], ids: Tensor, grads: Tensor, rule: AdagradRule) -> None:
    (square_sum,) = states
    square_sum[ids] = s = square_sum[ids] + grads.square()
    weight[ids] -= rule.lr * (grads / (s.sqrt() + rule.eps))


def _adam(weight: Tensor, states: Sequence[Tensor], ids: Tensor, grads: Tensor, rule: AdamRule) -> None:
    mean, mean_square = states
    mean[ids] = m = mean[ids].lerp(grads, 1.0 - rule.beta1)
    mean_square[ids] = v = rule.beta2 * mean_square[ids] + (1.0 - rule.beta2) * grads.square()
    step_size = rule.lr / (1.0 - rule.beta1**rule.num_steps)
    root = math.sqrt(1.0 - rule.beta2**rule.num_steps)
    weight[ids] -= step_size * m / (v.sqrt() / root + rule.eps)


def move_average(average: Tensor, weight: Tensor, ids: Tensor, take: Tensor) -> None:
    average[ids] = average[ids].lerp(weight[ids], take[:, None].to(weight.dtype))


def scatter_bags(grads: Tensor, slots: Tensor, offsets: Tensor, num_slots: int) -> Tensor:
    counts = offsets.diff()
    shares = (grads / counts.clamp(min=1)[:, None]).repeat_interleave(counts, dim=0)  # [M, D]
    return grads.new_zeros((num_slots, grads.shape[1])).index_add_(0, slots, shares)
