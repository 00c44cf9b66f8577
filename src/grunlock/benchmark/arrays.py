"""The numbers every contender computes with: the same in every process, drawn from the case's seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.benchmark.cases import NUM_GATES, Case

Array = NDArray[np.float32]

NUM_SAMPLED = 512  # values of an array that are compared


@dataclass(frozen=True)
class BatchArrays:
    """One batch, padded with zeros, longest sequence first."""

    inputs: Array  # [T, B, D]
    cotangent: Array  # [T, B, H] what the output is multiplied by; zero past each end
    lengths: NDArray[np.int64]  # [B]

    @property
    def real(self) -> NDArray[np.bool_]:
        """[T, B] True where a sequence still runs. Indexing with it gives rows in packed order."""
        mask: NDArray[np.bool_] = np.arange(len(self.inputs))[:, None] < self.lengths
        return mask


def draw_batches(case: Case) -> list[BatchArrays]:
    rng = np.random.default_rng([case.seed, 0])
    batches = []
    for lengths in case.batches:
        T, B = max(lengths), len(lengths)
        arrays = BatchArrays(
            rng.standard_normal((T, B, case.input_size), dtype=np.float32),
            rng.standard_normal((T, B, case.hidden_size), dtype=np.float32),
            np.array(lengths, np.int64),
        )
        if case.lengths is not None:
            arrays.inputs[~arrays.real] = 0
            arrays.cotangent[~arrays.real] = 0
        batches.append(arrays)
    return batches


def draw_weights(case: Case) -> dict[str, Array]:
    """Named and laid out as torch.nn.GRU's, uniform in +-1 / sqrt(H) as it draws them."""
    rng = np.random.default_rng([case.seed, 1])
    H, bound = case.hidden_size, case.hidden_size**-0.5
    weights = {}
    for layer in range(case.num_layers):
        width = H if layer else case.input_size
        sizes: dict[str, tuple[int, ...]] = {
            "weight_ih": (NUM_GATES * H, width),
            "weight_hh": (NUM_GATES * H, H),
            "bias_ih": (NUM_GATES * H,),
            "bias_hh": (NUM_GATES * H,),
        }
        for name, size in sizes.items():
            weights[f"{name}_l{layer}"] = rng.uniform(-bound, bound, size).astype(np.float32)
    return weights


def swap_reset_update(rows: Array) -> Array:
    """Gate blocks r z n on the first axis to z r n, as Keras and ONNX stack them, or back."""
    first, second, candidate = np.split(rows, NUM_GATES)
    return np.concatenate([second, first, candidate])


def sample(arrays: Mapping[str, Array]) -> dict[str, list[float]]:
    """Some values of each array, at places that depend on its size alone."""
    return {name: _spread(array) for name, array in arrays.items()}


def _spread(array: Any) -> list[float]:
    flat = np.asarray(array, np.float64).reshape(-1)
    places = np.linspace(0, flat.size - 1, min(flat.size, NUM_SAMPLED)).astype(np.int64)
    return [float(value) for value in flat[places]]


def disagreement(found: Mapping[str, list[float]], expected: Mapping[str, list[float]]) -> float:
    """The largest relative error, in the Euclidean norm, among arrays that both have.

    Infinite if they share none, if sizes differ or if a value is not finite.
    """
    worst = 0.0
    shared = found.keys() & expected.keys()
    for name in shared:
        ours, theirs = np.array(found[name]), np.array(expected[name])
        if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            return float("inf")
        scale = max(float(np.linalg.norm(theirs)), float(np.finfo(np.float32).tiny))
        worst = max(worst, float(np.linalg.norm(ours - theirs)) / scale)
    return worst if shared else float("inf")
