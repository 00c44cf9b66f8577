"""Cases of the LSTM layer: the GRU's from native_cases.py, with four gates and a cell; and their solution."""

from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from grunlock.kernels.direction import DrawnZoneout, LstmDirection
from tests.parity.native_cases import (
    KEEP,
    ZONEOUT_RATE,
    Case,
    Layer,
    Problem,
    ZoneoutKind,
    draw_problem,
    leaves,
    with_leaves,
)

RESULTS = ("output", "final", "final_cell")


def draw_lstm_problem(case: Case) -> Problem:
    """Inputs and masks as the GRU's; the cell's zoneout is of any kind, whatever that of the hidden state."""
    problem = draw_problem(replace(case, reset_after=True))
    random = torch.Generator().manual_seed(case.seed + 1)
    batch, rows, size = len(case.lengths), case.num_rows, case.hidden_size

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=random) * 2 - 1) * size**-0.5

    def zoneout(kind: ZoneoutKind) -> Tensor | float | DrawnZoneout | None:
        seed = int(torch.randint(2**62, (), generator=random))
        mask = (torch.rand(rows, size, generator=random) < KEEP).float()
        return {"off": None, "mask": mask, "rate": ZONEOUT_RATE, "drawn": DrawnZoneout(ZONEOUT_RATE, seed)}[
            kind
        ]

    kinds = get_args(ZoneoutKind)
    cell_kind = kinds[(kinds.index(case.zoneout) + case.seed) % len(kinds)]
    directions = tuple(
        LstmDirection(
            uniform(4 * size, case.input_size),
            uniform(4 * size, size),
            uniform(4 * size) if case.bias else None,
            uniform(4 * size) if case.bias else None,
            1 + uniform(4 * size) if case.norm else None,
            1 + uniform(4 * size) if case.norm else None,
            normal(batch, size).tanh() if case.h0 else None,
            normal(batch, size) if case.h0 else None,
            given.state_mask,
            zoneout(case.zoneout),
            zoneout(cell_kind),
        )
        for given in problem.directions
    )
    cotangents = (*problem.cotangents, normal(case.num_directions, batch, size))
    return replace(problem, directions=directions, cotangents=cotangents)


def lstm_forward(layer: Layer, problem: Problem, **options: object) -> tuple[Tensor, ...]:
    return layer(
        problem.rows,
        problem.index,
        problem.batch_sizes,
        problem.directions,
        input_mask=problem.input_mask,
        **options,
    )


def lstm_solve(layer: Layer, problem: Problem, **options: object) -> dict[str, Tensor]:
    """RESULTS and, as grad_{leaf}, every gradient of the loss."""
    fresh = {name: value.detach().clone().requires_grad_() for name, value in leaves(problem).items()}
    values = lstm_forward(layer, with_leaves(problem, fresh), **options)
    gradients = torch.autograd.grad(
        list(values), list(fresh.values()), problem.cotangents, materialize_grads=True
    )
    results = {name: value.detach() for name, value in zip(RESULTS, values, strict=True)}
    return results | {f"grad_{name}": value for name, value in zip(fresh, gradients, strict=True)}
