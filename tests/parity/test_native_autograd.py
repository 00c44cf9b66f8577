"""The compiled GRU layer as a part of torch's graphs: what it gives, what it refuses, what stays apart."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from grunlock.errors import ShapeError
from grunlock.kernels import autograd, reference
from grunlock.kernels.dispatch import gru_kernel
from tests.parity.native_cases import (
    Case,
    Problem,
    draw_problem,
    forward,
    kernel,
    leaves,
    solve,
    usable_kernels,
    with_leaves,
)

pytestmark = pytest.mark.skipif(not usable_kernels(), reason="installed without compiled kernels")

CASE = Case((9, 9, 4, 1), 6, 20, 2, indexing="few", state_mask=True, zoneout="drawn", h0=True)
FORMS = [
    CASE,
    replace(CASE, norm=True),
    replace(CASE, reset_after=False, indexing="none", input_mask=True),
    Case((60,) * 70, 20, 64),  # its saved states come from the library's own store
]
forms = pytest.mark.parametrize("case", FORMS, ids=str)


def graph(problem: Problem, wanted: Sequence[str] | None = None) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Fresh leaves by name, the wanted ones (default: all) with gradients; output and final of them."""
    fresh = {name: value.detach().clone() for name, value in leaves(problem).items()}
    for name in fresh if wanted is None else wanted:
        fresh[name].requires_grad_()
    output, final = forward(autograd.gru_layer, with_leaves(problem, fresh))
    return fresh, output, final


def assert_same_bits(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    assert [torch.equal(a, b) for a, b in zip(found, expected, strict=True)] == [True] * len(expected)


@forms
def test_a_second_backward_gives_the_same_gradients(case: Case) -> None:
    problem = draw_problem(case)
    fresh, output, final = graph(problem)
    inputs = list(fresh.values())
    first = torch.autograd.grad([output, final], inputs, problem.cotangents, retain_graph=True)
    torch.autograd.grad([output, final], inputs, [2 * c for c in problem.cotangents], retain_graph=True)
    third = torch.autograd.grad([output, final], inputs, problem.cotangents)
    assert_same_bits(third, first)


@forms
def test_gradients_of_some_inputs_are_those_of_all(case: Case) -> None:
    problem = draw_problem(case)
    everything = solve(autograd.gru_layer, problem)
    for name in leaves(problem):
        fresh, output, final = graph(problem, [name])
        (found,) = torch.autograd.grad([output, final], [fresh[name]], problem.cotangents)
        assert_same_bits([found], [everything[f"grad_{name}"]])


@forms
def test_a_loss_of_one_result_alone(case: Case) -> None:
    problem = draw_problem(case)
    for place in (0, 1):
        cotangents = [torch.zeros_like(c) if i != place else c for i, c in enumerate(problem.cotangents)]
        fresh, *results = graph(problem)
        inputs = list(fresh.values())
        found = torch.autograd.grad([results[place]], inputs, [cotangents[place]])
        fresh, *results = graph(problem)
        assert_same_bits(found, torch.autograd.grad(results, list(fresh.values()), cotangents))


def test_gradients_add_up_over_two_uses_of_the_same_weights() -> None:
    problem = draw_problem(CASE)
    once = solve(autograd.gru_layer, problem)
    fresh = {name: value.detach().clone().requires_grad_() for name, value in leaves(problem).items()}
    first = forward(autograd.gru_layer, with_leaves(problem, fresh))
    second = forward(autograd.gru_layer, with_leaves(problem, fresh))
    found = torch.autograd.grad([*first, *second], list(fresh.values()), [*problem.cotangents] * 2)
    assert_same_bits(found, [2 * once[f"grad_{name}"] for name in fresh])


@forms
def test_tensors_need_not_be_contiguous(case: Case) -> None:
    problem = draw_problem(case)
    expected = solve(autograd.gru_layer, problem)

    def spread(tensor: Tensor) -> Tensor:
        """The same numbers, every other one of a row of memory that holds NaN between them."""
        room = torch.full((*tensor.shape, 2), torch.nan).to(tensor)
        room[..., 1] = tensor
        return room[..., 1]

    fresh = {name: spread(value).requires_grad_() for name, value in leaves(problem).items()}
    directions = tuple(
        replace(d, **{k: spread(v) for k, v in vars(d).items() if k.endswith("mask") and v is not None})
        for d in problem.directions
    )
    scattered = replace(
        problem,
        directions=directions,
        index=None if problem.index is None else spread(problem.index),
        input_mask=None if problem.input_mask is None else spread(problem.input_mask),
    )
    output, final = forward(autograd.gru_layer, with_leaves(scattered, fresh))
    cotangents = [spread(c) for c in problem.cotangents]
    gradients = torch.autograd.grad([output, final], list(fresh.values()), cotangents)
    names = [f"grad_{name}" for name in fresh]
    assert_same_bits([output, final, *gradients], [expected[name] for name in ("output", "final", *names)])


def test_a_broadcast_gradient_is_read_as_it_is_meant() -> None:
    problem = draw_problem(CASE)
    fresh, output, _ = graph(problem)
    found = torch.autograd.grad(output.sum(), list(fresh.values()))  # ones, of one number in memory
    fresh, output, _ = graph(problem)
    assert_same_bits(found, torch.autograd.grad([output], list(fresh.values()), [torch.ones_like(output)]))


def test_gradients_of_gradients_are_refused() -> None:
    fresh, output, _ = graph(draw_problem(CASE))
    (gradient,) = torch.autograd.grad(output.square().sum(), [fresh["rows"]], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice a function that was marked with @once_diff"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", ["rows", "weight_hh.0", "h0.1"])
def test_changing_an_input_before_backward_is_refused(name: str) -> None:
    fresh, output, _ = graph(draw_problem(CASE))
    with torch.no_grad():
        fresh[name].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_changing_the_output_before_backward_is_refused() -> None:
    _, output, _ = graph(draw_problem(CASE))
    output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("wrong", [-1, 10**6, -(2**40)])
@pytest.mark.parametrize("case", FORMS[:2], ids=str)
def test_an_index_outside_is_refused(case: Case, wrong: int) -> None:
    problem = draw_problem(case)
    assert problem.index is not None
    problem.index[3] = wrong
    expected = (
        r"The index names vectors that are not there\.\n"
        rf"  expected: 0 to {len(problem.rows) - 1} in every row"
    )
    with pytest.raises(ShapeError, match=expected):
        graph(problem)
    with pytest.raises(ShapeError, match=expected), torch.no_grad():
        graph(problem, [])


def test_other_types_and_devices_take_the_reference_path() -> None:
    with kernel():
        assert gru_kernel(torch.zeros(1, 1)) is autograd
        assert gru_kernel(torch.zeros(1, 1, dtype=torch.float64)) is reference
        assert gru_kernel(torch.zeros(1, 1, dtype=torch.bfloat16)) is reference
        assert gru_kernel(torch.zeros(1, 1, device="meta")) is reference


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["weight_hh.0", "bias_ih.1", "h0.0"])
def test_weights_of_another_type_are_refused(name: str, dtype: torch.dtype) -> None:
    """Read as float32 they would be noise, or end before the kernel does."""
    problem = draw_problem(CASE)
    other = with_leaves(problem, {name: leaves(problem)[name].to(dtype)})
    expected = rf"got: +{dtype} on cpu\n +expected: +torch.float32 on cpu"
    with pytest.raises(ShapeError, match=expected):
        graph(other)
    with pytest.raises(ShapeError, match=expected), torch.no_grad():
        forward(autograd.gru_layer, other)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@forms
def test_a_bad_number_stays_in_its_sequence(case: Case, value: float) -> None:
    """NaN and infinities come through, and reach no other sequence of the batch."""
    case = replace(case, indexing="none")
    clean = draw_problem(case)
    rows = clean.rows.clone()
    rows[1, 0] = value  # the second sequence, from its first step on
    if clean.input_mask is not None:
        clean.input_mask[1, 0] = 1.0
    sequence = torch.cat([torch.arange(active) for active in clean.batch_sizes])
    with torch.no_grad():
        expected, _ = forward(autograd.gru_layer, clean)
        found, final = forward(autograd.gru_layer, replace(clean, rows=rows))
    assert torch.equal(found[sequence != 1], expected[sequence != 1])
    if value != value:
        assert found[1].isnan().any()
        assert final[0, 1].isnan().any()
    else:
        assert not torch.equal(found[1], expected[1])
