"""From a recipe's optimiser options to optimisers of torch, schedulefree and pytorch_optimizer.

No update rule is written here. The two libraries beside torch are imported only by the kinds that
need them. Weight decay acts on ParameterGroups.decayed only; it is decoupled (times lr, apart from
the gradient) except for gd, sgd, momentum, nesterov, rmsprop, adagrad and adam, where it is L2.

Tables with row gradients are stepped by rows (row_optimizer.py) by the kinds of RowOptions. The other kinds
are the libraries' alone, which want dense gradients.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from grunlock.optim.gate_views import GateView, gate_views
from grunlock.optim.parameters import NamedParameter, ParameterGroups
from grunlock.optim.row_optimizer import RowOptimizer, RowOptions
from grunlock.recipe.optimization_options import (
    AdagradOptions,
    AdamOptions,
    AdamwOptions,
    AdanOptions,
    AdemamixOptions,
    GdOptions,
    LionOptions,
    MomentumOptions,
    MuonOptions,
    NadamOptions,
    NesterovOptions,
    OptimizerOptions,
    ProdigyOptions,
    RadamOptions,
    RmspropOptions,
    ScheduleFreeOptions,
    SgdOptions,
    SoapOptions,
)

LibraryOptimizer = torch.optim.Optimizer
Groups = list[dict[str, Any]]


class TwoWeights(Protocol):
    """An optimiser that trains at one point and is evaluated at another: schedule-free."""

    param_groups: list[dict[str, Any]]

    def train(self) -> None: ...

    def eval(self) -> None: ...


@dataclass(frozen=True)
class LibraryParts:
    """optimizers: step one after another, on disjoint parameters. views: to be bound before they do.

    rows: the one of the optimizers that takes row gradients; the tables of the others want dense ones.
    """

    optimizers: tuple[LibraryOptimizer | RowOptimizer, ...]
    views: tuple[GateView, ...] = ()
    two_weights: TwoWeights | None = None
    rows: RowOptimizer | None = None


def build_library_parts(
    options: OptimizerOptions, groups: ParameterGroups, warmup_steps: int
) -> LibraryParts:
    """The library optimisers of a recipe, over all parameters of `groups`."""
    match options:
        case MuonOptions() | SoapOptions():
            return _per_gate(options, groups)
        case ScheduleFreeOptions():
            return _schedule_free(options, _decay_groups(groups, options.weight_decay))
        case LionOptions() | AdanOptions() | AdemamixOptions() | ProdigyOptions():
            pairs = _decay_groups(groups, options.weight_decay)
            return LibraryParts((_from_pytorch_optimizer(options, pairs, warmup_steps),))
        case NadamOptions() | RadamOptions():
            return LibraryParts((_adam_like(options, _decay_groups(groups, options.weight_decay)),))
        case _:
            return _by_rows(options, groups)


def _decay_groups(groups: ParameterGroups, weight_decay: float) -> Groups:
    return _nonempty((_tensors(groups.decayed), weight_decay), (_tensors(groups.not_decayed), 0.0))


def _nonempty(*groups: tuple[list[Tensor], float]) -> Groups:
    return [{"params": tensors, "weight_decay": decay} for tensors, decay in groups if tensors]


def _tensors(named: Iterable[NamedParameter]) -> list[Tensor]:
    return [item.parameter for item in named]


def _by_rows(options: RowOptions, groups: ParameterGroups) -> LibraryParts:
    """Row steps for the tables that have row gradients, unless the recipe wants none; torch for the rest."""
    tables = [named.parameter for named in groups.row_tables] if _steps_rows(options) else []
    not_decayed = groups.not_decayed_rest if tables else groups.not_decayed
    pairs = _nonempty((_tensors(groups.decayed), options.weight_decay), (_tensors(not_decayed), 0.0))
    optimizers: list[LibraryOptimizer | RowOptimizer] = []
    if pairs and isinstance(options, AdamOptions | AdamwOptions):
        optimizers.append(_adam_like(options, pairs))
    elif pairs and not isinstance(options, AdamOptions | AdamwOptions):
        optimizers.append(_sgd_like(options, pairs))
    if not tables:
        return LibraryParts(tuple(optimizers))
    rows = RowOptimizer(tables, options)
    return LibraryParts((*optimizers, rows), rows=rows)


def _steps_rows(options: RowOptions) -> bool:
    match options:
        case GdOptions() | SgdOptions() | AdagradOptions():
            return True  # the same weights as with zeros for the other rows
        case _:
            return options.sparse_rows


def _sgd_like(
    options: GdOptions | SgdOptions | MomentumOptions | NesterovOptions | RmspropOptions | AdagradOptions,
    groups: Groups,
) -> LibraryOptimizer:
    lr = options.lr
    match options:
        case GdOptions() | SgdOptions():  # they differ in what the training loop puts into one gradient
            return torch.optim.SGD(groups, lr=lr, fused=True)
        case MomentumOptions():
            return torch.optim.SGD(groups, lr=lr, momentum=options.momentum, fused=True)
        case NesterovOptions():
            return torch.optim.SGD(groups, lr=lr, momentum=options.momentum, nesterov=True, fused=True)
        case RmspropOptions():
            return torch.optim.RMSprop(groups, lr=lr, alpha=options.alpha, eps=options.eps)
        case AdagradOptions():
            return torch.optim.Adagrad(groups, lr=lr, eps=options.eps, fused=True)


def _adam_like(
    options: AdamOptions | AdamwOptions | NadamOptions | RadamOptions, groups: Groups
) -> LibraryOptimizer:
    lr, betas, eps = options.lr, (options.beta1, options.beta2), options.eps
    match options:
        case AdamOptions():
            return torch.optim.Adam(groups, lr=lr, betas=betas, eps=eps, fused=True)
        case AdamwOptions():
            return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)
        case NadamOptions():
            return torch.optim.NAdam(groups, lr=lr, betas=betas, eps=eps, decoupled_weight_decay=True)
        case RadamOptions():
            return torch.optim.RAdam(groups, lr=lr, betas=betas, eps=eps, decoupled_weight_decay=True)


def _from_pytorch_optimizer(
    options: LionOptions | AdanOptions | AdemamixOptions | ProdigyOptions, groups: Groups, warmup_steps: int
) -> LibraryOptimizer:
    import pytorch_optimizer as library

    lr, beta1, beta2 = options.lr, options.beta1, options.beta2
    made: LibraryOptimizer
    match options:
        case LionOptions():
            made = library.Lion(groups, lr=lr, betas=(beta1, beta2))
        case AdanOptions():  # its own decay, p / (1 + lr * weight_decay), is what decouple=False means here
            made = library.Adan(groups, lr=lr, betas=(beta1, beta2, options.beta3), eps=options.eps)
        case AdemamixOptions():
            betas = (beta1, beta2, options.beta3)
            made = library.AdEMAMix(
                groups, lr=lr, betas=betas, alpha=options.alpha, eps=options.eps, weight_decouple=True
            )
        case ProdigyOptions():  # all groups share one d
            made = library.Prodigy(
                groups,
                lr=lr,
                betas=(beta1, beta2),
                d_coef=options.d_coef,
                eps=options.eps,
                safeguard_warmup=warmup_steps > 0,
            )
    return made


def _schedule_free(options: ScheduleFreeOptions, groups: Groups) -> LibraryParts:
    """Without the library's own warm-up: lr times the schedule's warm-up factor is the same number."""
    import schedulefree

    made = schedulefree.AdamWScheduleFree(
        groups, lr=options.lr, betas=(options.beta1, options.beta2), eps=options.eps
    )
    return LibraryParts((made,), two_weights=made)


def _per_gate(options: MuonOptions | SoapOptions, groups: ParameterGroups) -> LibraryParts:
    """Muon or SOAP on each gate of the hidden matrices, AdamW at the same lr on everything else."""
    lr, betas, eps, decay = options.lr, (options.beta1, options.beta2), options.eps, options.weight_decay
    views = gate_views(groups.hidden_matrices)
    matrices = _nonempty(([view.matrix for view in views], decay))
    rest = _nonempty((_tensors(groups.decayed_rest), decay), (_tensors(groups.not_decayed), 0.0))
    optimizers: list[LibraryOptimizer] = []
    if matrices and isinstance(options, MuonOptions):
        made = torch.optim.Muon(matrices, lr=lr, momentum=options.momentum, adjust_lr_fn="match_rms_adamw")
        optimizers.append(made)
    elif matrices and isinstance(options, SoapOptions):
        import pytorch_optimizer

        every = options.precondition_every_steps
        optimizers.append(
            pytorch_optimizer.SOAP(matrices, lr=lr, betas=betas, eps=eps, precondition_frequency=every)
        )
    if rest:
        optimizers.append(torch.optim.AdamW(rest, lr=lr, betas=betas, eps=eps, fused=True))
    return LibraryParts(tuple(optimizers), views)
