"""Gradients of tables that hold only some rows: what the rest of optim/ needs to know of them.

Such a gradient is a sparse tensor [V, D] with ids [U] and values [U, D]. Settled, its ids are distinct and
rising. Only settled ones meet norms, clipping and steps: of unsettled ones the values would count twice.
"""

from collections.abc import Iterable

from torch import Tensor


def settle(parameter: Tensor) -> None:
    """Make the ids of a row gradient distinct and rising. Other gradients stay as they are.

    Meant as a hook after each accumulation: torch merges settled ones, but leaves the first one unmarked.
    """
    gradient = parameter.grad
    if gradient is None or not gradient.is_sparse or gradient.is_coalesced():
        return
    if bool((gradient._indices()[0].diff() > 0).all()):
        gradient._coalesced_(True)
    else:
        parameter.grad = gradient.coalesce()


def gradient_values(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The entries of each gradient, live: changing them changes the gradient. [U, D] of row gradients.

    Parameters without a gradient are left out.
    """
    values = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None:
            values.append(gradient.values() if gradient.is_sparse else gradient)
    return values


def densify(parameter: Tensor) -> None:
    """Give a row gradient its zeros, for optimisers that step every row."""
    if parameter.grad is not None and parameter.grad.is_sparse:
        parameter.grad = parameter.grad.to_dense()
