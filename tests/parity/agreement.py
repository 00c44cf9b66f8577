"""When two implementations agree: the one measure that every parity test uses."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Results = Mapping[str, Tensor]

# Largest difference allowed, as a fraction of a tensor's largest expected number where that exceeds 1.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class DisagreementError(AssertionError):
    """Two implementations gave different numbers."""


def assert_agrees(found: Results, expected: Results) -> None:
    """Compare tensors by name: same names, shapes and dtypes, and values within TOLERANCE.

    An expected tensor of nothing but zeros would compare nothing, so it is refused as a mistake in the test.
    """
    if found.keys() != expected.keys():
        raise DisagreementError(f"names differ: {sorted(found)}, expected {sorted(expected)}")
    problems = []
    for name, want in expected.items():
        got = found[name]
        if got.shape != want.shape or got.dtype != want.dtype:
            problems.append(
                f"{name}: {got.dtype} {list(got.shape)}, expected {want.dtype} {list(want.shape)}"
            )
            continue
        largest = want.abs().max().item()
        if not 0.0 < largest < float("inf"):
            raise ValueError(f"the expected {name} proves nothing: its largest number is {largest}")
        difference = (got - want).abs().max().item()
        allowed = TOLERANCE[want.dtype] * max(1.0, largest)
        if not difference <= allowed:  # a NaN must not pass
            problems.append(f"{name}: differs by {difference:.2e}, allowed {allowed:.2e}")
    if problems:
        raise DisagreementError("; ".join(problems))


def with_gradients(
    values: Results, leaves: Results, cotangents: Sequence[Tensor] | None = None
) -> dict[str, Tensor]:
    """`values` and, for every leaf, the gradient of sum(value * cotangent) over all values, as grad_{leaf}.

    Without cotangents they are drawn with a fixed seed, so two implementations with values of the same
    shapes get the same ones.
    """
    if cotangents is None:
        random = torch.Generator().manual_seed(0)
        cotangents = [torch.randn(v.shape, dtype=v.dtype, generator=random) for v in values.values()]
    gradients = torch.autograd.grad(
        list(values.values()), list(leaves.values()), cotangents, materialize_grads=True
    )
    results = {name: value.detach() for name, value in values.items()}
    return results | {f"grad_{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
