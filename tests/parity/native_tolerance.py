"""How far the compiled GRU layer may be from the oracle in float64: by its numbers' type and a case's sizes.

A sum of K products in float32 is off by some u * sqrt(K) of its size, u = 2^-24 being the largest error of
one rounding: errors of either sign add up as a random walk does (Higham and Mary 2019,
doi:10.1137/18M1226312). Operands in bfloat16 add v = 2^-8, 2^-9 for each of two, whatever K is, for they
are rounded only once.

An argument of a gate is a sum of K = D + H products. With weights of at most 1 / sqrt(H) and inputs of
deviation 1 its size is A = max(1, sqrt(D / H)), and gates have slopes of at most 1. What is carried from
step to step shrinks (the weights contract, and the update gate blends), so T does not matter. Beside the
sum, a gate costs some four more roundings.

        unit = (u * (sqrt(D + H) + 4) + v) * A

Layer norm divides an argument, and with it its error, by the deviation in its row: unit grows by the
largest such factor, which the oracle reports. The weights no longer contract the state then: errors add up
over the steps, by sqrt(T). In rare cases they grow faster than that, and no arithmetic of float32 can follow:
the oracle's own results, in float64, leave the bounds when all numbers it is given move by one rounding. Such
a case is chaotic and is judged on fewer steps.

Values are of size 1, so unit bounds them. A gradient inherits the error of the values in proportion to its
size. One that is a sum over N rows is the rest of terms that cancel; these leave an error as large as
sqrt(N) of them have, and the sum itself one of u * sqrt(N).

        gradient's bound = (unit + u * sqrt(N)) * (max(1, its largest number) + sqrt(N) / 8)

All bounds are multiplied by MARGIN, which was measured: benchmarks/kernel_agreement.py records how much of
it is used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf, sqrt

import torch
from torch import Tensor

from grunlock.kernels import NORM_EPS, reference
from tests.parity.agreement import DisagreementError, Results
from tests.parity.native_cases import Case, Layer, Problem, converted, leaves, solve, with_leaves

Solve = Callable[[Layer, Problem], Results]

MARGIN = 6.0
MOVES = 4
FLOAT32_ROUNDING = 2.0**-24
OPERAND_ROUNDING = {"float32": 0.0, "bfloat16": 2.0**-8}


class Oracle:
    """The right results of a case, and how much its layer norms magnify errors (1 without)."""

    def __init__(
        self, case: Case, problem: Problem, layer: Layer = reference.gru_layer, solve: Solve = solve
    ) -> None:
        self.case = case
        exact = converted(problem, torch.float64)
        self._moved = lambda seed: solve(layer, _moved(exact, seed))
        with _steepest_norm() as steepest:
            self.results = solve(layer, exact)
        self.condition = max(steepest) * sqrt(case.lengths[0]) if steepest else 1.0

    def ratios(self, found: Results, precision: str = "float32") -> dict[str, float]:
        """Each result's largest error as a share of what is allowed; infinite for NaN or another shape."""
        if found.keys() != self.results.keys():
            raise DisagreementError(f"names differ: {sorted(found)}, expected {sorted(self.results)}")
        return {name: self._ratio(name, found[name], precision) for name in found}

    def assert_agrees(self, found: Results, precision: str = "float32") -> None:
        off = {name: ratio for name, ratio in self.ratios(found, precision).items() if not ratio <= 1}
        if off:
            words = (f"{name}: off by {ratio:.3g} times what is allowed" for name, ratio in off.items())
            raise DisagreementError("; ".join(words))

    @property
    def is_chaotic(self) -> bool:
        """Whether one rounding of what it is given moves a result beyond its bound, the margin left out."""
        moved = (max(self.ratios(self._moved(seed)).values()) for seed in range(MOVES))
        return self.case.norm and any(ratio > 1 / MARGIN for ratio in moved)

    def allowed(self, name: str, precision: str = "float32") -> float:
        """Largest error that a result may have."""
        inputs, units, rows = self.case.input_size, self.case.hidden_size, self.case.num_rows
        rounding = FLOAT32_ROUNDING * (sqrt(inputs + units) + 4) + OPERAND_ROUNDING[precision]
        unit = MARGIN * rounding * max(1.0, sqrt(inputs / units)) * self.condition
        if not name.startswith("grad_"):
            return unit
        size = max(1.0, self.results[name].abs().max().item()) + sqrt(rows) / 8
        return (unit + MARGIN * FLOAT32_ROUNDING * sqrt(rows)) * size

    def _ratio(self, name: str, found: Tensor, precision: str) -> float:
        expected = self.results[name]
        if found.shape != expected.shape:
            return inf
        error = (found.double() - expected).abs().max().item()
        return error / self.allowed(name, precision) if error == error else inf


def _moved(problem: Problem, seed: int) -> Problem:
    """Each number of rows, weights and first states off by about one rounding."""
    draw = torch.Generator().manual_seed(seed)

    def move(numbers: Tensor) -> Tensor:
        return numbers * (
            1 + FLOAT32_ROUNDING * torch.randn(numbers.shape, generator=draw, dtype=numbers.dtype)
        )

    return with_leaves(problem, {name: move(numbers) for name, numbers in leaves(problem).items()})


@contextmanager
def _steepest_norm() -> Iterator[list[float]]:
    """Collects the largest 1 / deviation of each layer norm of the oracle. Rows of zeros stay zeros."""
    normalize_gates, steepest = reference.normalize_gates, []

    def recording(gates: Tensor, norm_weight: Tensor, hidden_size: int) -> Tensor:
        blocks = gates.detach().reshape(len(gates), -1, hidden_size)
        scales = (blocks.var(-1, unbiased=False) + NORM_EPS).rsqrt()[blocks.any(-1)]
        if scales.numel() > 0:
            steepest.append(scales.max().item())
        return normalize_gates(gates, norm_weight, hidden_size)

    reference.normalize_gates = recording
    try:
        yield steepest
    finally:
        reference.normalize_gates = normalize_gates
