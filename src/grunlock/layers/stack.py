"""What GRU and LSTM layers share: parameters named as in torch, and the run over layers and directions.

Functions on a module rather than a base class: each layer stays a class of its own that reads
from top to bottom.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.errors import ShapeError
from grunlock.kernels.dispatch import training_kernel
from grunlock.layers.dropout import drop_variational, drop_weight, variational_mask, zoneout_mask
from grunlock.layers.packing import Packed


@dataclass(frozen=True)
class Regularization:
    """Rates of being dropped, each in [0, 1). layers.gru.GRU says what each acts on."""

    input_dropout: float = 0.0
    output_dropout: float = 0.0
    state_dropout: float = 0.0
    weight_dropout: float = 0.0
    zoneout: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            if not 0.0 <= rate < 1.0:
                raise ShapeError(f"`{name}` is not a rate.", got=rate, expected="0 <= rate < 1")


@dataclass(frozen=True)
class Direction:
    """One layer in one direction: everything a scan needs besides the input."""

    weight_hh: Tensor  # [gH, H]
    bias_hh: Tensor | None  # [gH]
    norm_weight: Tensor | None  # [gH]
    state_mask: Tensor | None  # [B, H]
    zoneout: tuple[Tensor | float | None, ...]  # one per state
    reverse: bool


# From input gates [N, gH], batch sizes, initial states (each [B, H]) to output rows and final states.
Scan = Callable[[Tensor, list[int], tuple[Tensor, ...], Direction], tuple[Tensor, tuple[Tensor, ...]]]


def suffixes(num_layers: int, bidirectional: bool) -> list[list[str]]:
    """Parameter name endings by layer and direction, as torch writes them."""
    directions = ("", "_reverse") if bidirectional else ("",)
    return [[f"_l{layer}{direction}" for direction in directions] for layer in range(num_layers)]


def add_parameters(
    module: nn.Module,
    num_gates: int,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    bias: bool,
    bidirectional: bool,
    layer_norm: bool,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Give `module` torch's parameters, uniform in +-1 / sqrt(H) as torch draws them, plus norm gains."""
    rows = num_gates * hidden_size
    for layer, names in enumerate(suffixes(num_layers, bidirectional)):
        width = input_size if layer == 0 else hidden_size * len(names)
        for suffix in names:
            sizes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
            if bias:
                sizes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for name, size in sizes.items():
                value = torch.empty(size, device=device, dtype=dtype)
                bound = 1.0 / math.sqrt(hidden_size)
                module.register_parameter(name + suffix, nn.Parameter(value.uniform_(-bound, bound)))
            for name in ("norm_weight_ih", "norm_weight_hh") if layer_norm else ():
                gain = torch.ones(rows, device=device, dtype=dtype)
                module.register_parameter(name + suffix, nn.Parameter(gain))


def run_stack(
    module: nn.Module,
    scan: Scan,
    packed: Packed,
    initial: tuple[Tensor, ...],  # each [L * directions, B, H] in packed order
    num_layers: int,
    bidirectional: bool,
    dropout: float,
    regularization: Regularization,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All layers and directions. Returns rows [N, directions * H] and states [L * directions, B, H]."""
    rows = packed.rows
    finals: list[tuple[Tensor, ...]] = []
    for layer, names in enumerate(suffixes(num_layers, bidirectional)):
        if layer:
            rows = functional.dropout(rows, dropout, module.training)
        rows = drop_variational(rows, packed.batch_sizes, regularization.input_dropout, module.training)
        outputs = []
        for reverse, suffix in enumerate(names):
            output, final = _run_direction(
                module,
                scan,
                rows,
                packed.batch_sizes,
                tuple(state[layer * len(names) + reverse] for state in initial),
                suffix,
                bool(reverse),
                regularization,
            )
            outputs.append(output)
            finals.append(final)
        rows = torch.cat(outputs, dim=1) if bidirectional else outputs[0]
        rows = drop_variational(rows, packed.batch_sizes, regularization.output_dropout, module.training)
    return rows, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))


def _run_direction(
    module: nn.Module,
    scan: Scan,
    rows: Tensor,
    batch_sizes: Tensor,
    initial: tuple[Tensor, ...],
    suffix: str,
    reverse: bool,
    regularization: Regularization,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    weight_hh = getattr(module, "weight_hh" + suffix)
    hidden_size = weight_hh.shape[1]
    training = module.training
    mask = None
    if training and regularization.state_dropout:
        mask = variational_mask(int(batch_sizes[0]), hidden_size, regularization.state_dropout, rows)
    direction = Direction(
        weight_hh=drop_weight(weight_hh, regularization.weight_dropout, training),
        bias_hh=getattr(module, "bias_hh" + suffix, None),
        norm_weight=getattr(module, "norm_weight_hh" + suffix, None),
        state_mask=mask,
        zoneout=tuple(
            zoneout_mask(len(rows), hidden_size, regularization.zoneout, rows, training) for _ in initial
        ),
        reverse=reverse,
    )
    input_gates = _input_gates(module, rows, suffix, hidden_size)
    return scan(input_gates, batch_sizes.tolist(), initial, direction)


def _input_gates(module: nn.Module, rows: Tensor, suffix: str, hidden_size: int) -> Tensor:
    """[N, D] -> [N, gH]: weight_ih @ x + bias_ih, layer-normalised before the bias if the cell has norms."""
    weight, bias = getattr(module, "weight_ih" + suffix), getattr(module, "bias_ih" + suffix, None)
    norm_weight = getattr(module, "norm_weight_ih" + suffix, None)
    if norm_weight is None:
        return functional.linear(rows, weight, bias)
    gates: Tensor = training_kernel().normalize_gates(
        functional.linear(rows, weight), norm_weight, hidden_size
    )
    return gates if bias is None else gates + bias


def initial_states(
    given: tuple[Tensor, ...] | None, packed: Packed, shape: tuple[int, int], num_states: int
) -> tuple[Tensor, ...]:
    """Zero states, or the caller's [L * directions, B, H] (or [L * directions, H] unbatched), sorted."""
    expected = (shape[0], int(packed.batch_sizes[0]), shape[1])
    if given is None:
        zeros = torch.zeros(expected, dtype=packed.rows.dtype, device=packed.rows.device)
        return (zeros,) * num_states
    states = tuple(state.unsqueeze(1) if packed.form == "unbatched" else state for state in given)
    for state in states:
        if tuple(state.shape) != expected:
            raise ShapeError(
                "The initial state has the wrong shape.",
                got=list(state.shape),
                expected=f"[L * directions, B, H] = {list(expected)}",
            )
    return tuple(packed.sort(state) for state in states)
