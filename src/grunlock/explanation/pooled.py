"""Pooling as it came: how much of each state is in the pooled vector. No torch.

Maximum pooling's choice of step and attention pooling's weights depend on all states; here they are taken as
they are, and the pooled vector is then a sum of states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from grunlock.explanation.gates import Doubles
from grunlock.recipe.model_options import PoolingPart
from grunlock.runtime.network import attention_scores
from grunlock.runtime.norms import Weights
from grunlock.shapes import FloatArray


@dataclass(frozen=True)
class Block:
    """Columns of the pooled vector that are one weighted sum of states.

    head:   [K, E] the head's weights of these columns
    weight: [T, E] or [T, 1] how much of each state is in them
    """

    head: Doubles
    weight: Doubles


def blocks(
    weights: Weights, parts: Sequence[PoolingPart], states: FloatArray, backward: slice | None
) -> tuple[Block, ...]:
    """Of all parts in turn.

    states: [T, E]; backward: columns whose direction ends at the first step, None if there are none
    """
    size, found, first = states.shape[1], [], 0
    head = np.asarray(weights["head.weight"], np.float64)
    for part in parts:
        for weight in _weights_of(weights, part, states, backward):
            found.append(Block(head[:, first : first + size], weight))
            first += size
    return tuple(found)


def _weights_of(
    weights: Weights, part: PoolingPart, states: FloatArray, backward: slice | None
) -> Iterator[Doubles]:
    steps, size = states.shape
    if part == "mean":
        yield np.full((steps, 1), 1.0 / steps)
    elif part == "max":
        chosen = np.zeros((steps, size))
        chosen[states.argmax(axis=0), np.arange(size)] = 1.0
        yield chosen
    elif part == "last":
        chosen = np.zeros((steps, size))
        chosen[-1] = 1.0
        if backward is not None:
            chosen[-1, backward], chosen[0, backward] = 0.0, 1.0
        yield chosen
    else:
        scores = np.asarray(attention_scores(weights, f"pooling.{part}.", states), np.float64)
        shares = np.exp(scores - scores.max(axis=0))
        yield from (shares / shares.sum(axis=0)).T[:, :, None]  # of each hop [T, 1]


def column_weights(found: Sequence[Block], step: int) -> Doubles:
    """[K, E]: what a logit gains per unit of the state of this step."""
    total = np.zeros_like(found[0].head)
    for block in found:
        total += block.head * block.weight[step]
    return total
