"""What gates and states do on texts, step by step, in double precision: measured, not read off weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.doctor.foreign import ForeignModel, GruLayer
from grunlock.kernels.stack import DirectionWeights
from grunlock.seeding import generator

Doubles = NDArray[np.float64]
NUM_SEQUENCES, NUM_STEPS = 24, 48
NUDGE = 1e-6


@dataclass(frozen=True)
class DirectionActivity:
    """One direction of a layer on random sequences. All over steps and sequences, [H].

    update, reset:   mean of the gate
    update_range:    lowest and highest of the update gate, [2, H]
    spread:          standard deviation of the state
    growth:          factor by which a small difference between two states grows in one step, on average
    """

    layer: str
    reverse: bool
    update: Doubles
    reset: Doubles
    update_range: Doubles
    spread: Doubles
    growth: float


def measure(model: ForeignModel, vectors: Doubles | None = None, seed: int = 0) -> list[DirectionActivity]:
    """Of each layer and direction.

    vectors: [B, T, D] inputs of the first layer; by default the embedding's own vectors in random order, and
    numbers from a normal distribution where there is no embedding
    """
    rows = _inputs(model, seed) if vectors is None else vectors
    found = []
    for layer in model.layers:
        outputs = []
        for reverse, direction in enumerate(layer.directions):
            steps = rows[:, ::-1] if reverse else rows
            states, activity = _run(layer, direction, steps, bool(reverse), seed)
            outputs.append(states[:, ::-1] if reverse else states)
            found.append(activity)
        rows = np.concatenate(outputs, axis=2)
    return found


def _inputs(model: ForeignModel, seed: int) -> Doubles:
    random = generator(seed, "doctor", "gates")
    if model.embedding is None:
        return random.normal(size=(NUM_SEQUENCES, NUM_STEPS, model.layers[0].input_size))
    table = model.embedding.weight
    first = 1 if len(table) > 1 and model.embedding.padding_id in (0, None) else 0
    vectors = table[random.integers(first, len(table), (NUM_SEQUENCES, NUM_STEPS))].astype(np.float64)
    for norm in model.norms:
        if norm.place == "embedding":
            vectors = vectors * norm.gain + norm.shift
    return vectors


def step(
    layer: GruLayer, direction: DirectionWeights, x: Doubles, h: Doubles
) -> tuple[Doubles, Doubles, Doubles]:
    """The next state, update and reset, [B, H], of projected inputs [B, 3H]; kernels/reference.py has the
    equations."""
    H = layer.hidden_size
    weight, bias = direction.weight_hh.astype(np.float64), direction.bias_hh
    a = h @ weight[: 2 * H].T + bias[: 2 * H]
    gates = 0.5 * np.tanh(0.5 * (x[:, : 2 * H] + a)) + 0.5
    r, z = gates[:, :H], gates[:, H:]
    if layer.reset_after:
        past = r * (h @ weight[2 * H :].T + bias[2 * H :])
    else:
        past = (r * h) @ weight[2 * H :].T + bias[2 * H :]
    n = np.tanh(x[:, 2 * H :] + past)
    return n + z * (h - n), z, r


def _run(
    layer: GruLayer, direction: DirectionWeights, rows: Doubles, reverse: bool, seed: int
) -> tuple[Doubles, DirectionActivity]:
    size = (len(rows), layer.hidden_size)
    random = generator(seed, "doctor", "nudge")
    h, nudge = np.zeros(size), _unit(random.normal(size=size))
    states, updates, resets, growths = [], [], [], []
    for t in range(rows.shape[1]):
        x = rows[:, t] @ direction.weight_ih.T.astype(np.float64) + direction.bias_ih
        beside, _, _ = step(layer, direction, x, h + NUDGE * nudge)
        h, z, r = step(layer, direction, x, h)
        grown = np.linalg.norm(beside - h, axis=1) / NUDGE
        if t >= rows.shape[1] // 4:  # the first steps are those of an empty state
            growths.append(np.log(np.maximum(grown, 1e-12)))
        nudge = _unit(beside - h)
        states.append(h)
        updates.append(z)
        resets.append(r)
    all_states, all_updates = np.stack(states, axis=1), np.stack(updates, axis=1)
    late = all_states[:, rows.shape[1] // 4 :]
    activity = DirectionActivity(
        layer.name,
        reverse,
        all_updates.mean(axis=(0, 1)),
        np.stack(resets, axis=1).mean(axis=(0, 1)),
        np.stack([all_updates.min(axis=(0, 1)), all_updates.max(axis=(0, 1))]),
        late.std(axis=(0, 1)),
        float(np.exp(np.mean(growths))),
    )
    return all_states, activity


def _unit(vectors: Doubles) -> Doubles:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Doubles = vectors / np.maximum(lengths, 1e-300)
    return result
