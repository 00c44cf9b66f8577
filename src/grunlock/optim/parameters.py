"""Which parameter is what: decayed or not, hidden matrix or not. Reads names and module types only.

Names are those of the layers: recurrent weights `weight_ih_l{k}` [gH, D] and `weight_hh_l{k}` [gH, H],
both also with `_reverse`, g gates stacked; linear layers called `head...` give the logits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from grunlock.errors import ShapeError

STACKED_WEIGHT = re.compile(r"weight_(?:ih|hh)(_l\d+(?:_reverse)?)")


@dataclass(frozen=True)
class NamedParameter:
    """A trainable parameter. num_matrices: how many matrices are stacked in its rows (gates), else 1."""

    name: str
    parameter: nn.Parameter
    num_matrices: int = 1


@dataclass(frozen=True)
class ParameterGroups:
    """Every trainable parameter is in exactly one of the first two, in the model's order.

    decayed:         weight matrices, the head's too
    not_decayed:     everything of one dimension (biases, norms, queries) and embedding tables
    hidden_matrices: of the decayed, the two-dimensional ones outside the head
    row_tables:      of the not decayed, the embedding tables whose gradients are of single rows
    """

    decayed: tuple[NamedParameter, ...]
    not_decayed: tuple[NamedParameter, ...]
    hidden_matrices: tuple[NamedParameter, ...]
    row_tables: tuple[NamedParameter, ...] = ()

    @property
    def all(self) -> tuple[NamedParameter, ...]:
        return self.decayed + self.not_decayed

    @property
    def decayed_rest(self) -> tuple[NamedParameter, ...]:
        """The decayed ones that are no hidden matrices."""
        return _without(self.decayed, self.hidden_matrices)

    @property
    def not_decayed_rest(self) -> tuple[NamedParameter, ...]:
        """The not decayed ones that are no row tables."""
        return _without(self.not_decayed, self.row_tables)


def group_parameters(model: nn.Module) -> ParameterGroups:
    """Sort a model's trainable parameters. One shared by two modules counts where it is met first.

    Raises ShapeError if a recurrent weight does not hold whole gates.
    """
    decayed, not_decayed, hidden, row_tables = [], [], [], []
    for named, module_name, module in _trainable(model):
        has_row_gradient = getattr(module, "sparse", False) is True  # as torch's tables and ours call it
        if has_row_gradient:
            row_tables.append(named)
        if named.parameter.ndim < 2 or has_row_gradient or isinstance(module, nn.Embedding | nn.EmbeddingBag):
            not_decayed.append(named)
            continue
        decayed.append(named)
        if named.parameter.ndim == 2 and not _is_head(module_name, module):
            hidden.append(named)
    return ParameterGroups(tuple(decayed), tuple(not_decayed), tuple(hidden), tuple(row_tables))


def _without(
    parameters: tuple[NamedParameter, ...], others: tuple[NamedParameter, ...]
) -> tuple[NamedParameter, ...]:
    left_out = {id(named.parameter) for named in others}
    return tuple(named for named in parameters if id(named.parameter) not in left_out)


def _trainable(model: nn.Module) -> Iterator[tuple[NamedParameter, str, nn.Module]]:
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                full_name = f"{module_name}.{name}" if module_name else name
                yield NamedParameter(full_name, parameter, _num_gates(module, name)), module_name, module


def _is_head(module_name: str, module: nn.Module) -> bool:
    parts = module_name.split(".")
    return isinstance(module, nn.Linear) and any(part.startswith("head") for part in parts)


def _num_gates(module: nn.Module, name: str) -> int:
    """Gates stacked in a recurrent weight, told from weight_hh [gH, H]; 1 for any other parameter."""
    match = STACKED_WEIGHT.fullmatch(name)
    if match is None:
        return 1
    rows, columns = getattr(module, "weight_hh" + match.group(1)).shape
    if rows % columns:
        raise ShapeError(
            "A recurrent weight does not hold whole gates.",
            where="weight_hh" + match.group(1),
            got=[rows, columns],
            expected="[gH, H]",
        )
    return int(rows // columns)
