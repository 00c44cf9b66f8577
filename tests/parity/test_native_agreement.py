"""Every instruction set's GRU layer against the oracle in float64: values and all gradients, in every form.

benchmarks/kernel_agreement.py draws the same cases by the thousand.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grunlock.kernels import autograd, reference
from grunlock.kernels.direction import DrawnZoneout
from tests.parity import test_planted_errors as planted
from tests.parity.agreement import DisagreementError
from tests.parity.native_cases import (
    FEW_STEPS,
    Case,
    Problem,
    converted,
    draw_case,
    draw_problem,
    for_bfloat16,
    kernel,
    solve,
    usable_kernels,
    with_half_the_steps,
)
from tests.parity.native_tolerance import Oracle

KERNELS = usable_kernels()
pytestmark = pytest.mark.skipif(not KERNELS, reason="installed without compiled kernels")


@pytest.fixture(autouse=True, scope="module")
def _oracle_on_one_thread() -> Iterator[None]:
    """Its products are too small to share out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check(case: Case, precision: str = "float32") -> None:
    """Raise unless every kernel gives the oracle's numbers, and the same bits on one thread and two."""
    problem = draw_problem(case)
    oracle = Oracle(case, problem)
    for name in KERNELS:
        with kernel(name, threads=1):
            alone = solve(autograd.gru_layer, problem, precision=precision)
        with kernel(name, threads=2):
            shared = solve(autograd.gru_layer, problem, precision=precision)
        try:
            oracle.assert_agrees(shared, precision)
        except DisagreementError as error:
            if case.lengths[0] > FEW_STEPS and oracle.is_chaotic:
                check(with_half_the_steps(case), precision)
                return
            raise DisagreementError(f"{name}, {case}: {error}") from None
        for result, value in alone.items():
            assert torch.equal(value, shared[result]), f"{name}, {case}: {result} depends on the threads"


CASES = st.randoms(use_true_random=False)


@settings(max_examples=50, deadline=None)
@given(CASES)
def test_any_case(random: Random) -> None:
    check(draw_case(random, most_work=3e6))


@settings(max_examples=15, deadline=None)
@given(CASES)
def test_any_case_with_products_in_bfloat16(random: Random) -> None:
    check(for_bfloat16(draw_case(random, most_work=2e6)), "bfloat16")


# Sizes at which the work is cut up in another way: blocks, groups of threads, chunks, tables of vectors.
@pytest.mark.parametrize(
    "case",
    [
        Case((3,) * 257, 16, 31, 2, state_mask=True),
        Case((500, 499, 1), 1, 15, 2, h0=True),
        Case((12,) * 4, 40, 300, 2, zoneout="drawn"),
        Case((40,), 33, 257, indexing="few"),
        Case((2, 2, 1), 1024, 1024),
        Case((9,) * 130, 20, 65, 2, indexing="few", state_mask=True, h0=True),
        Case((9,) * 70, 20, 130, norm=True, indexing="few", h0=True),
        Case((9,) * 70, 20, 130, norm=True, reset_after=False, state_mask=True, h0=True),
        Case((15,) * 3, 20, 280, reset_after=False, zoneout="rate"),
        Case((60,) * 64, 16, 200),  # more is kept for the backward than caches hold
        Case((40,) * 64, 16, 130, norm=True),
        Case((1,), 1, 1),
    ],
    ids=str,
)
def test_every_way_to_cut_up_the_work(case: Case) -> None:
    check(case)


# Planted errors: what the comparison above would notice ------------------------------------------------

AFTER = Case(
    (30, 30, 17, 1, 1),
    12,
    33,
    2,
    indexing="few",
    input_mask=True,
    state_mask=True,
    zoneout="drawn",
    h0=True,
)
BEFORE = replace(AFTER, reset_after=False, zoneout="mask")
NORMED = replace(AFTER, norm=True, zoneout="rate")
PLAIN = Case((200, 150, 1), 64, 128, 2, indexing="distinct", h0=True)  # long and wide: more is allowed
PLANTED = {"after": AFTER, "before": BEFORE, "normed": NORMED, "plain": PLAIN}


@cache
def solved(case: Case) -> tuple[Problem, Oracle, dict[str, Tensor]]:
    problem = draw_problem(case)
    with kernel():
        found = solve(autograd.gru_layer, problem)
    oracle = Oracle(case, problem)
    oracle.assert_agrees(found)
    return problem, oracle, found


def assert_caught(case: Case, spoilt: Problem) -> None:
    """The kernel's right results differ from the oracle's for a spoilt problem."""
    _, _, found = solved(case)
    with pytest.raises(DisagreementError):
        Oracle(case, spoilt).assert_agrees(found)


def scaled(value: Tensor | None, gate: int, factor: float) -> Tensor:
    assert value is not None
    parts = list(value.chunk(3))
    parts[gate] = parts[gate] * factor
    return torch.cat(parts)


def in_first(problem: Problem, **changes: object) -> Problem:
    """The problem with some fields of its first direction changed."""
    return replace(problem, directions=(replace(problem.directions[0], **changes), *problem.directions[1:]))


@pytest.mark.parametrize("case", ["after", "before", "plain"])
@pytest.mark.parametrize("gate", range(3))
@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_one_gate_off_by_a_thousandth_is_caught(case: str, name: str, gate: int) -> None:
    problem, *_ = solved(PLANTED[case])
    weight = scaled(getattr(problem.directions[0], name), gate, 1.001)
    assert_caught(PLANTED[case], in_first(problem, **{name: weight}))


@pytest.mark.parametrize("case", PLANTED)
@pytest.mark.parametrize("gate", range(3))
@pytest.mark.parametrize("name", ["bias_ih", "bias_hh"])
def test_a_dropped_bias_is_caught(case: str, name: str, gate: int) -> None:
    problem, *_ = solved(PLANTED[case])
    bias = scaled(getattr(problem.directions[0], name), gate, 0.0)
    assert_caught(PLANTED[case], in_first(problem, **{name: bias}))


@pytest.mark.parametrize("name", ["norm_weight_ih", "norm_weight_hh"])
def test_a_norm_off_by_a_hundredth_is_caught(name: str) -> None:
    problem, *_ = solved(NORMED)
    gain = getattr(problem.directions[0], name)
    assert_caught(NORMED, in_first(problem, **{name: gain * 1.01}))


@pytest.mark.parametrize("case", PLANTED)
def test_inputs_of_another_step_are_caught(case: str) -> None:
    problem, *_ = solved(PLANTED[case])
    assert problem.index is not None
    assert_caught(PLANTED[case], replace(problem, index=problem.index.roll(1)))


@pytest.mark.parametrize("case", PLANTED)
def test_first_states_of_other_sequences_are_caught(case: str) -> None:
    problem, *_ = solved(PLANTED[case])
    h0 = problem.directions[0].h0
    assert h0 is not None
    for spoilt in (h0.roll(1, 0), h0.clone().index_fill_(0, torch.tensor([len(h0) - 1]), 0.0)):
        assert_caught(PLANTED[case], in_first(problem, h0=spoilt))


@pytest.mark.parametrize("case", ["after", "before", "normed"])
def test_ignored_masks_are_caught(case: str) -> None:
    problem, *_ = solved(PLANTED[case])
    direction = problem.directions[0]
    assert problem.input_mask is not None
    assert direction.state_mask is not None
    assert_caught(PLANTED[case], replace(problem, input_mask=None))
    assert_caught(PLANTED[case], replace(problem, input_mask=problem.input_mask.roll(1, 0)))
    assert_caught(PLANTED[case], in_first(problem, state_mask=None))
    assert_caught(PLANTED[case], in_first(problem, state_mask=direction.state_mask.roll(1, 0)))
    assert_caught(PLANTED[case], in_first(problem, zoneout=None))


def test_other_zoneout_is_caught() -> None:
    problem, *_ = solved(AFTER)
    drawn = problem.directions[0].zoneout
    assert isinstance(drawn, DrawnZoneout)
    for spoilt in (replace(drawn, seed=drawn.seed + 1), replace(drawn, rate=drawn.rate + 0.01), drawn.rate):
        assert_caught(AFTER, in_first(problem, zoneout=spoilt))
    problem, *_ = solved(BEFORE)
    mask = problem.directions[0].zoneout
    assert isinstance(mask, Tensor)
    assert_caught(BEFORE, in_first(problem, zoneout=mask.roll(1, 0)))


@pytest.mark.parametrize("case", PLANTED)
def test_other_forms_are_caught(case: str) -> None:
    problem, *_ = solved(PLANTED[case])
    assert_caught(PLANTED[case], replace(problem, reset_after=not problem.reset_after))
    assert_caught(PLANTED[case], replace(problem, directions=problem.directions[::-1]))


BARE = replace(AFTER, input_mask=False)
MUTATIONS = [m for m in planted.MUTATIONS + planted.LAYER_MUTATIONS if "1.0000001" not in m.new]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_mutated_oracle_is_caught(mutation: planted.Mutation) -> None:
    """Errors that one may make in writing a kernel, gradients included, planted in the oracle instead."""
    mutated = planted.compiled(planted.source().replace(mutation.old, mutation.new), "gru_layer")
    for case in (AFTER, BEFORE, BARE):
        problem, oracle, _ = solved(case)
        try:
            results = solve(mutated, converted(problem, torch.float64))
        except RuntimeError:  # its shapes no longer fit
            return
        ratios = [
            (results[name] - expected).abs().max().item() > oracle.allowed(name)
            for name, expected in oracle.results.items()
        ]
        if any(ratios):
            return
    pytest.fail("no case told the mutated oracle from the right one")


def test_a_result_that_is_nan_is_caught() -> None:
    _, oracle, found = solved(BARE)
    spoilt = dict(found, final=found["final"].clone())
    spoilt["final"][0, 0, 0] = torch.nan
    with pytest.raises(DisagreementError, match="final"):
        oracle.assert_agrees(spoilt)


def test_the_oracle_is_the_reference() -> None:
    problem, oracle, _ = solved(BARE)
    output, _ = reference.gru_layer(
        problem.rows, problem.index, problem.batch_sizes, problem.directions, reset_after=True
    )
    assert (output.double() - oracle.results["output"]).abs().max() < 1e-5
