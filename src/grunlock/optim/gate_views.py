"""Each gate of a stacked recurrent weight as a matrix of its own, for optimisers that see matrices.

Muon and SOAP work on the singular or eigen directions of a matrix. Three gates [3H, D] stacked for one
product are three matrices; taken as one, an update of one gate would depend on the others.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from grunlock.optim.parameters import NamedParameter


@dataclass(frozen=True)
class GateView:
    """One gate. `matrix` is what the optimiser holds: a leaf that lives in the parameter's storage."""

    parameter: nn.Parameter  # [gH, D]
    rows: slice
    matrix: Tensor  # [H, D]

    def bind(self) -> None:
        """Point the matrix and its gradient at the parameter's present ones."""
        gradient = self.parameter.grad
        self.matrix.data = self.parameter.detach()[self.rows]
        self.matrix.grad = None if gradient is None else gradient[self.rows]

    def release(self) -> None:
        """Let go of the gradient, so that its memory can be freed."""
        self.matrix.grad = None


def gate_views(matrices: tuple[NamedParameter, ...]) -> tuple[GateView, ...]:
    """A view of each stacked matrix, in order; a parameter that is one matrix gives one view."""
    views = []
    for named in matrices:
        height = len(named.parameter) // named.num_matrices
        for gate in range(named.num_matrices):
            rows = slice(gate * height, (gate + 1) * height)
            views.append(GateView(named.parameter, rows, named.parameter.detach()[rows]))
    return tuple(views)
