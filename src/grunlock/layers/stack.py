"""What GRU and LSTM layers share: parameters named as in torch, and the run over layers and directions.

Functions on a module rather than a base class: each layer stays a class of its own that reads
from top to bottom.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.errors import ShapeError
from grunlock.kernels.direction import GruDirection, LstmDirection
from grunlock.kernels.native import Precision
from grunlock.layers.dropout import drop_variational, drop_weight, variational_mask, zoneout_of
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


PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "norm_weight_ih", "norm_weight_hh")
ParameterNames = tuple[str | None, ...]  # one direction's, in the order of PARAMETERS; None: it has none

Direction = TypeVar("Direction", GruDirection, LstmDirection)
# One layer with its directions and the mask on its inputs [B, D]: to output rows [N, directions * H] and
# final states [directions, B, H], as many as the cell has.
RunLayer = Callable[[Packed, list[Direction], Tensor | None], tuple[Tensor, ...]]


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
    parameter_names: list[list[ParameterNames]]  # by layer and direction
    training: bool
    _parameters: dict[str, nn.Parameter | None]

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None: ...


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
    rows, directions = num_gates * hidden_size, ("", "_reverse") if bidirectional else ("",)
    module.parameter_names = []
    for layer in range(num_layers):
        width = hidden_size * len(directions) if layer else input_size
        sizes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
        sizes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
        sizes |= {"norm_weight_ih": (rows,), "norm_weight_hh": (rows,)} if layer_norm else {}
        suffixes = [f"_l{layer}{direction}" for direction in directions]
        module.parameter_names.append(
            [tuple(name + suffix if name in sizes else None for name in PARAMETERS) for suffix in suffixes]
        )
        for suffix in suffixes:
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


def check_precision(precision: str) -> None:
    """Raise ShapeError unless it is a Precision."""
    if precision not in get_args(Precision):
        expected = " or ".join(map(repr, get_args(Precision)))
        raise ShapeError("`precision` is not known.", got=repr(precision), expected=expected)


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
    new_direction: Callable[..., Direction],
    run_layer: RunLayer[Direction],
    packed: Packed,
    initial: tuple[Tensor | None, ...],  # each [L * directions, B, H] in packed order; None: zeros
) -> tuple[Tensor, ...]:
    """All layers and directions. Returns rows [N, directions * H], then states [L * directions, B, H]."""
    rates, training, sizes = module.regularization, module.training, packed.batch_sizes
    finals: list[list[Tensor]] = []
    rows = packed.rows
    for layer, names in enumerate(module.parameter_names):
        if layer:
            rows = functional.dropout(rows, module.dropout, training) if module.dropout else rows
            packed = Packed(rows, None, sizes)
        mask = None
        if training and rates.input_dropout:
            mask = variational_mask(sizes[0], packed.rows.shape[1], rates.input_dropout, packed.rows)
        directions = []
        for place, direction_names in enumerate(names):
            scan = layer * len(names) + place
            first = [None if state is None else state[scan] for state in initial]
            directions.append(_direction(module, new_direction, direction_names, first, packed))
        rows, *states = run_layer(packed, directions, mask)
        rows = drop_variational(rows, sizes, rates.output_dropout, training)
        finals.append(states)
    return rows, *(finals[0] if len(finals) == 1 else map(torch.cat, zip(*finals, strict=True)))


def _direction(
    module: RecurrentModule,
    new_direction: Callable[..., Direction],
    names: ParameterNames,
    states: list[Tensor | None],
    packed: Packed,
) -> Direction:
    """Weights, initial states, the state mask and a zoneout for each state, in the order of the fields."""
    rates, training = module.regularization, module.training
    weight_ih, weight_hh, *others = _parameters(module, names)
    mask = None
    if training and rates.state_dropout:
        mask = variational_mask(packed.batch_sizes[0], module.hidden_size, rates.state_dropout, packed.rows)
    weight_hh = drop_weight(weight_hh, rates.weight_dropout, training)
    zoneouts = [zoneout_of(rates.zoneout, training) for _ in states]
    return new_direction(weight_ih, weight_hh, *others, *states, mask, *zoneouts)


def _parameters(module: RecurrentModule, names: ParameterNames) -> list[Any]:
    """Looked up in every forward pass, for they may be replaced; a parametrised one is an attribute only."""
    own = module._parameters
    return [None if n is None else own[n] if n in own else getattr(module, n) for n in names]


def initial_states(module: RecurrentModule, given: tuple[Tensor, ...], packed: Packed) -> tuple[Tensor, ...]:
    """The caller's states [L * directions, B, H] (or [L * directions, H] unbatched) in packed order."""
    num_scans = module.num_layers * (2 if module.bidirectional else 1)
    batch = () if packed.unbatched else (packed.batch_sizes[0],)
    expected = (num_scans, *batch, module.hidden_size)
    for state in given:
        if state.shape != expected:
            raise ShapeError(
                "The initial state has the wrong shape.",
                got=list(state.shape),
                expected=f"[L * directions, {'' if packed.unbatched else 'B, '}H] = {list(expected)}",
            )
    return tuple(packed.sort(state) for state in given)
