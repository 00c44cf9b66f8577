"""What GRU and LSTM layers share: parameters named as in torch, and the run over layers and directions.

Functions on a module rather than a base class: each layer stays a class of its own that reads
from top to bottom.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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


class RecurrentModule(Protocol):
    """What `set_up` gives a module and `run_stack` reads from it."""

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    layer_norm: bool
    regularization: Regularization
    training: bool

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None: ...


def suffixes(module: RecurrentModule) -> list[list[str]]:
    """Parameter name endings by layer and direction, as torch writes them."""
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return [[f"_l{layer}{direction}" for direction in directions] for layer in range(module.num_layers)]


def set_up(
    module: RecurrentModule,
    num_gates: int,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    bias: bool,
    batch_first: bool,
    dropout: float,
    bidirectional: bool,
    layer_norm: bool,
    regularization: Regularization,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Store the settings and register the parameters, drawn as torch.nn.GRU draws them."""
    if dropout and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} acts between layers, and there is one layer: it does nothing. "
            "Use output_dropout or input_dropout, or more layers.",
            stacklevel=3,
        )
    module.input_size = input_size
    module.hidden_size = hidden_size
    module.num_layers = num_layers
    module.bias = bias
    module.batch_first = batch_first
    module.dropout = dropout
    module.bidirectional = bidirectional
    module.layer_norm = layer_norm
    module.regularization = regularization
    rows = num_gates * hidden_size
    for layer, names in enumerate(suffixes(module)):
        width = input_size if layer == 0 else hidden_size * len(names)
        for suffix in names:
            sizes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
            sizes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
            sizes |= {"norm_weight_ih": (rows,), "norm_weight_hh": (rows,)} if layer_norm else {}
            for name, size in sizes.items():
                value = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
                module.register_parameter(name + suffix, value)


def describe(module: RecurrentModule) -> str:
    """The settings that differ from torch's defaults, behind the sizes."""
    rates = {name: rate for name, rate in vars(module.regularization).items() if rate}
    flags = {"bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False, "layer_norm": False}
    changed = {name: getattr(module, name) for name in flags if getattr(module, name) != flags[name]}
    sizes = f"{module.input_size}, {module.hidden_size}, num_layers={module.num_layers}"
    return ", ".join([sizes, *(f"{name}={value}" for name, value in {**changed, **rates}.items())])


@torch.no_grad()
def reset_uniform(module: nn.Module, hidden_size: int) -> None:
    """Weights and biases uniform in +-1 / sqrt(H), as torch.nn.GRU; gains of layer norms 1."""
    bound = 1.0 / math.sqrt(hidden_size)
    for name, parameter in module.named_parameters():
        if name.startswith("norm_weight"):
            parameter.fill_(1.0)
        else:
            parameter.uniform_(-bound, bound)


def run_stack(
    module: RecurrentModule,
    scan: Scan,
    packed: Packed,
    initial: tuple[Tensor, ...],  # each [L * directions, B, H] in packed order
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All layers and directions. Returns rows [N, directions * H] and states [L * directions, B, H]."""
    rows, batch_sizes, rates = packed.rows, packed.batch_sizes, module.regularization
    finals: list[tuple[Tensor, ...]] = []
    for layer, names in enumerate(suffixes(module)):
        if layer:
            rows = functional.dropout(rows, module.dropout, module.training)
        rows = drop_variational(rows, batch_sizes, rates.input_dropout, module.training)
        outputs = []
        for reverse, suffix in enumerate(names):
            states = tuple(state[layer * len(names) + reverse] for state in initial)
            output, final = _run_direction(module, scan, rows, batch_sizes, states, suffix, bool(reverse))
            outputs.append(output)
            finals.append(final)
        rows = torch.cat(outputs, dim=1) if module.bidirectional else outputs[0]
        rows = drop_variational(rows, batch_sizes, rates.output_dropout, module.training)
    return rows, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))


def _run_direction(
    module: RecurrentModule,
    scan: Scan,
    rows: Tensor,
    batch_sizes: Tensor,
    initial: tuple[Tensor, ...],
    suffix: str,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    weight_hh: Tensor = getattr(module, "weight_hh" + suffix)
    rates, training, hidden_size = module.regularization, module.training, module.hidden_size
    mask = None
    if training and rates.state_dropout:
        mask = variational_mask(int(batch_sizes[0]), hidden_size, rates.state_dropout, rows)
    direction = Direction(
        weight_hh=drop_weight(weight_hh, rates.weight_dropout, training),
        bias_hh=getattr(module, "bias_hh" + suffix, None),
        norm_weight=getattr(module, "norm_weight_hh" + suffix, None),
        state_mask=mask,
        zoneout=tuple(zoneout_mask(len(rows), hidden_size, rates.zoneout, rows, training) for _ in initial),
        reverse=reverse,
    )
    return scan(_input_gates(module, rows, suffix), batch_sizes.tolist(), initial, direction)


def _input_gates(module: RecurrentModule, rows: Tensor, suffix: str) -> Tensor:
    """[N, D] -> [N, gH]: weight_ih @ x + bias_ih, layer-normalised before the bias if the cell has norms."""
    weight, bias = getattr(module, "weight_ih" + suffix), getattr(module, "bias_ih" + suffix, None)
    norm_weight = getattr(module, "norm_weight_ih" + suffix, None)
    if norm_weight is None:
        return functional.linear(rows, weight, bias)
    gates: Tensor = training_kernel().normalize_gates(
        functional.linear(rows, weight), norm_weight, module.hidden_size
    )
    return gates if bias is None else gates + bias


def initial_states(
    module: RecurrentModule, given: tuple[Tensor, ...] | None, packed: Packed, num_states: int
) -> tuple[Tensor, ...]:
    """Zero states, or the caller's [L * directions, B, H] (or [L * directions, H] unbatched), sorted."""
    num_scans = module.num_layers * (2 if module.bidirectional else 1)
    expected = (num_scans, int(packed.batch_sizes[0]), module.hidden_size)
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
