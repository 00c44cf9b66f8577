"""The compiled LSTM layer: against the oracle in float64, against torch.nn.LSTM, as a part of torch's graphs.

Bounds are the GRU's, from native_tolerance.py: gates are as steep, and a cell forgets as a GRU's state does.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from grunlock.errors import ShapeError
from grunlock.kernels import lstm_autograd, reference
from grunlock.kernels.direction import DrawnZoneout
from grunlock.kernels.dispatch import lstm_kernel
from grunlock.layers import LSTM
from tests.parity import test_planted_errors as planted
from tests.parity.agreement import DisagreementError, assert_agrees, with_gradients
from tests.parity.lstm_cases import RESULTS, draw_lstm_problem, lstm_forward, lstm_solve
from tests.parity.native_cases import (
    FEW_STEPS,
    Case,
    Problem,
    converted,
    draw_case,
    kernel,
    leaves,
    usable_kernels,
    with_half_the_steps,
    with_leaves,
)
from tests.parity.native_tolerance import Oracle
from tests.parity.test_planted_errors import Mutation

KERNELS = usable_kernels()
pytestmark = pytest.mark.skipif(not KERNELS, reason="installed without compiled kernels")


@pytest.fixture(autouse=True, scope="module")
def _oracle_on_one_thread() -> Iterator[None]:
    """Its products are too small to share out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def oracle_of(case: Case, problem: Problem) -> Oracle:
    return Oracle(case, problem, reference.lstm_layer, lstm_solve)


def check(case: Case, precision: str = "float32", threads: tuple[int, ...] = (2,)) -> None:
    """Every kernel must give the oracle's numbers and, on all `threads`, the same bits."""
    problem = draw_lstm_problem(case)
    oracle = oracle_of(case, problem)
    for name in KERNELS:
        with kernel(name, threads=1):
            alone = lstm_solve(lstm_autograd.lstm_layer, problem, precision=precision)
        try:
            oracle.assert_agrees(alone, precision)
        except DisagreementError as error:
            if case.lengths[0] > FEW_STEPS and oracle.is_chaotic:
                check(with_half_the_steps(case), precision, threads)
                return
            raise DisagreementError(f"{name}, {case}: {error}") from None
        for count in threads:
            with kernel(name, count):
                shared = lstm_solve(lstm_autograd.lstm_layer, problem, precision=precision)
            different = [result for result in alone if not torch.equal(alone[result], shared[result])]
            assert different == [], f"{name}, {case}: {count} threads give other bits"


CASES = st.randoms(use_true_random=False)


@settings(max_examples=50, deadline=None)
@given(CASES)
def test_any_case(random: Random) -> None:
    check(draw_case(random, most_work=2e6))


@settings(max_examples=15, deadline=None)
@given(CASES)
def test_any_case_with_products_in_bfloat16(random: Random) -> None:
    case = draw_case(random, most_work=1e6)
    most = FEW_STEPS if case.norm else 500  # a norm moves what rounding moved further at every step
    check(replace(case, lengths=tuple(min(length, most) for length in case.lengths)), "bfloat16")


CHAOTIC = Case(
    (362, 362, 362, 362, 1, 1), 1, 16, norm=True, input_mask=True, state_mask=True, h0=True, seed=1756
)


@pytest.mark.parametrize(
    ("case", "chaotic"),
    [(CHAOTIC, True), (replace(CHAOTIC, lengths=(20, 20)), False), (Case((362,), 1, 16), False)],
)
def test_chaos_is_told_from_errors(case: Case, chaotic: bool) -> None:
    assert oracle_of(case, draw_lstm_problem(case)).is_chaotic == chaotic


# Sizes at which the work is cut up in another way: blocks, groups of threads, chunks, tables of vectors.
@pytest.mark.parametrize(
    "case",
    [
        Case((3,) * 257, 16, 31, 2, state_mask=True),
        Case((500, 499, 1), 1, 15, 2, h0=True),
        Case((12,) * 4, 40, 300, 2, zoneout="drawn"),
        Case((40,), 33, 257, indexing="few"),
        Case((2, 2, 1), 1024, 700),
        Case((60,) * 64, 16, 200),  # more is kept for the backward than caches hold
        Case((9,) * 130, 20, 65, 2, indexing="few", state_mask=True, h0=True),
        Case((9,) * 70, 20, 130, norm=True, indexing="few", h0=True),
        CHAOTIC,
        Case((12,) * 33, 64, 200, 2, norm=True, input_mask=True, zoneout="mask", h0=True),
        Case((1,), 1, 1),
    ],
    ids=str,
)
def test_every_way_to_cut_up_the_work(case: Case) -> None:
    check(case, threads=(2, 3, 5))


# torch.nn.LSTM, which knows nothing of ours ------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(5, 7), (33, 130)])
def test_agrees_with_torch(name: str, bidirectional: bool, bias: bool, sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = nn.LSTM(*sizes, num_layers=2, bias=bias, bidirectional=bidirectional)
    ours = LSTM(*sizes, num_layers=2, bias=bias, bidirectional=bidirectional)
    ours.load_state_dict(theirs.state_dict())
    lengths = torch.tensor([5, 9, 1, 5, 3])
    inputs = torch.randn(9, 5, sizes[0], requires_grad=True)
    states = [torch.randn(4 if bidirectional else 2, 5, sizes[1], requires_grad=True) for _ in range(2)]
    found = []
    with kernel(name):
        for module in (ours, theirs):
            rows, (h, c) = module(pack_padded_sequence(inputs, lengths, enforce_sorted=False), tuple(states))
            given = {"input": inputs, "h0": states[0], "c0": states[1], **dict(module.named_parameters())}
            found.append(with_gradients({"output": rows.data, "h": h, "c": c}, given))
    assert_agrees(*found)


def test_layers_use_the_compiled_kernel() -> None:
    with kernel():
        assert lstm_kernel(torch.zeros(1, 1)) is lstm_autograd
        assert lstm_kernel(torch.zeros(1, 1, dtype=torch.float64)) is reference
        assert lstm_kernel(torch.zeros(1, 1, device="meta")) is reference


def test_bfloat16_is_asked_for_by_the_layer() -> None:
    torch.manual_seed(0)
    exact, rounded = LSTM(8, 20), LSTM(8, 20, precision="bfloat16")
    rounded.load_state_dict(exact.state_dict())
    inputs = torch.randn(6, 3, 8)
    with kernel():
        difference = (exact(inputs)[0] - rounded(inputs)[0]).abs().max()
    assert 0 < difference < 0.02
    assert "precision=bfloat16" in repr(rounded)
    with pytest.raises(ShapeError, match="`precision` is not known") as caught:
        LSTM(8, 20, precision="float16")  # type: ignore[arg-type]
    assert "expected: 'float32' or 'bfloat16'" in str(caught.value)


# In torch's graphs -------------------------------------------------------------------------------------

MANY_PARTS = Case((9, 9, 4, 1), 6, 20, 2, indexing="few", state_mask=True, zoneout="drawn", h0=True, seed=3)
GRAPHS = [
    MANY_PARTS,
    replace(MANY_PARTS, norm=True),
    replace(MANY_PARTS, input_mask=True, zoneout="off"),
    Case((60,) * 70, 20, 64),  # its saved states come from the library's own store
]
graphs = pytest.mark.parametrize("case", GRAPHS, ids=str)


def fresh_leaves(problem: Problem) -> dict[str, Tensor]:
    return {name: value.detach().clone().requires_grad_() for name, value in leaves(problem).items()}


def assert_same_bits(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    assert [torch.equal(a, b) for a, b in zip(found, expected, strict=True)] == [True] * len(expected)


@graphs
def test_a_second_backward_gives_the_same_gradients(case: Case) -> None:
    problem = draw_lstm_problem(case)
    fresh = fresh_leaves(problem)
    results = lstm_forward(lstm_autograd.lstm_layer, with_leaves(problem, fresh))
    inputs = list(fresh.values())
    first = torch.autograd.grad(results, inputs, problem.cotangents, retain_graph=True)
    torch.autograd.grad(results, inputs, [2 * c for c in problem.cotangents], retain_graph=True)
    assert_same_bits(torch.autograd.grad(results, inputs, problem.cotangents), first)


@graphs
def test_a_loss_of_one_result_alone(case: Case) -> None:
    problem = draw_lstm_problem(case)
    for place in range(len(RESULTS)):
        cotangents = [torch.zeros_like(c) if i != place else c for i, c in enumerate(problem.cotangents)]
        fresh = fresh_leaves(problem)
        results = lstm_forward(lstm_autograd.lstm_layer, with_leaves(problem, fresh))
        inputs = list(fresh.values())
        found = torch.autograd.grad(results[place], inputs, cotangents[place], retain_graph=True)
        assert_same_bits(found, torch.autograd.grad(results, inputs, cotangents))


@graphs
def test_without_gradients_the_values_are_the_same_bits(case: Case) -> None:
    problem = draw_lstm_problem(case)
    trained = lstm_solve(lstm_autograd.lstm_layer, problem)
    with torch.no_grad():
        results = lstm_forward(lstm_autograd.lstm_layer, problem)
    assert_same_bits(results, tuple(trained[name] for name in RESULTS))


def test_an_index_outside_is_refused() -> None:
    problem = draw_lstm_problem(MANY_PARTS)
    assert problem.index is not None
    problem.index[3] = len(problem.rows)
    with pytest.raises(ShapeError, match="The index names vectors that are not there"):
        lstm_forward(lstm_autograd.lstm_layer, problem)


# Planted errors: what the comparison with the oracle would notice ---------------------------------------

ALL = Case((30, 30, 17, 1, 1), 12, 33, 2, "few", input_mask=True, state_mask=True, zoneout="drawn", h0=True)
OTHER = replace(ALL, zoneout="mask", seed=1)  # the cell's zoneout: a rate
NORMED = replace(ALL, norm=True, zoneout="rate", seed=2)  # none
PLAIN = Case((200, 150, 1), 64, 128, 2, indexing="distinct", h0=True)  # long and wide: more is allowed
PLANTED = {"all": ALL, "other": OTHER, "normed": NORMED, "plain": PLAIN}


@cache
def solved(case: Case) -> tuple[Problem, Oracle, dict[str, Tensor]]:
    problem = draw_lstm_problem(case)
    with kernel():
        found = lstm_solve(lstm_autograd.lstm_layer, problem)
    oracle = oracle_of(case, problem)
    oracle.assert_agrees(found)
    return problem, oracle, found


def assert_caught(case: Case, **changes: object) -> None:
    """The kernel's right results differ from the oracle's where the first direction is changed like this."""
    problem, _, found = solved(case)
    spoilt = replace(problem.directions[0], **changes)
    with pytest.raises(DisagreementError):
        oracle_of(case, replace(problem, directions=(spoilt, problem.directions[1]))).assert_agrees(found)


@pytest.mark.parametrize("case", ["all", "plain"])
@pytest.mark.parametrize("gate", range(4))
@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_one_gate_off_by_a_thousandth_is_caught(case: str, name: str, gate: int) -> None:
    problem, *_ = solved(PLANTED[case])
    parts = list(getattr(problem.directions[0], name).chunk(4))
    parts[gate] = parts[gate] * 1.001
    assert_caught(PLANTED[case], **{name: torch.cat(parts)})


@pytest.mark.parametrize("case", PLANTED)
@pytest.mark.parametrize("name", ["h0", "c0"])
def test_first_states_of_other_sequences_are_caught(case: str, name: str) -> None:
    problem, *_ = solved(PLANTED[case])
    state = getattr(problem.directions[0], name)
    last = torch.tensor([len(state) - 1])
    for spoilt in (state.roll(1, 0), state.clone().index_fill_(0, last, 0.0)):
        assert_caught(PLANTED[case], **{name: spoilt})


@pytest.mark.parametrize("name", ["zoneout", "cell_zoneout"])
def test_other_zoneout_is_caught(name: str) -> None:
    for case in (ALL, OTHER, replace(ALL, zoneout="mask", seed=2), replace(ALL, zoneout="rate", seed=3)):
        problem, *_ = solved(case)
        zoneout = getattr(problem.directions[0], name)
        others = [0.5 if zoneout is None else None]
        if isinstance(zoneout, DrawnZoneout):
            others += [replace(zoneout, seed=zoneout.seed + 1), zoneout.rate]
        if isinstance(zoneout, Tensor):
            others += [zoneout.roll(1, 0), zoneout.roll(1, 1)]
        for other in others:
            assert_caught(case, **{name: other})


def test_one_seed_for_both_zoneouts_is_caught() -> None:
    problem, *_ = solved(replace(ALL, seed=4))
    direction = problem.directions[0]
    assert isinstance(direction.zoneout, DrawnZoneout)
    assert isinstance(direction.cell_zoneout, DrawnZoneout)
    assert_caught(replace(ALL, seed=4), cell_zoneout=direction.zoneout)


GATES = "torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)"
CELL = "zone_out(f * c_prev + i * g, c_prev, cell_zoneout, rows)"
HIDDEN = "zone_out(o * torch.tanh(c), h_prev, zoneout, rows)"
MUTATIONS = [
    Mutation(GATES, "torch.sigmoid(a_f), torch.sigmoid(a_i), torch.sigmoid(a_o)"),
    Mutation(GATES, "torch.sigmoid(a_i), torch.sigmoid(-a_f), torch.sigmoid(a_o)"),
    Mutation(GATES, "torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o).detach()"),
    Mutation("a_i, a_f, a_g, a_o = a.chunk", "a_i, a_f, a_o, a_g = a.chunk"),
    Mutation("g = torch.tanh(a_g)", "g = torch.tanh(a_g).detach()"),
    Mutation(CELL, "f * c_prev + i * g"),
    Mutation(CELL, "zone_out(f * c_prev + i * g, c_prev.detach(), cell_zoneout, rows)"),
    Mutation(CELL, "zone_out(f * c_prev.detach() + i * g, c_prev, cell_zoneout, rows)"),
    Mutation(CELL, "zone_out(f * c_prev + i.detach() * g, c_prev, cell_zoneout, rows)"),
    Mutation(CELL, "zone_out(f * c_prev + i * g, c_prev, zoneout, rows)"),
    Mutation(HIDDEN, "o * torch.tanh(c)"),
    Mutation(HIDDEN, "zone_out(o * torch.tanh(f * c_prev + i * g), h_prev, zoneout, rows)"),
    Mutation(HIDDEN, "zone_out(o * torch.tanh(c).detach(), h_prev, zoneout, rows)"),
    Mutation(HIDDEN, "zone_out(o * torch.tanh(c), h_prev.detach(), zoneout, rows)"),
    Mutation("a = x + recurrent_product(masked,", "a = x + recurrent_product(masked.detach(),"),
    Mutation("a = x + recurrent_product(masked,", "a = x + recurrent_product(h_prev,"),
    Mutation("initial_state(direction.c0, gates", "initial_state(None, gates"),
    Mutation("torch.stack(hidden), torch.stack(cells)", "torch.stack(cells), torch.stack(hidden)"),
    Mutation("torch.stack(hidden), torch.stack(cells)", "torch.stack(hidden), torch.stack(cells[::-1])"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_mutated_oracle_is_caught(mutation: Mutation) -> None:
    """Errors that one may make in writing a kernel, gradients included, planted in the oracle instead."""
    assert planted.source().count(mutation.old) == 1, "the oracle was rewritten: write this mutation anew"
    mutated = planted.compiled(planted.source().replace(mutation.old, mutation.new), "lstm_layer")
    problem, oracle, _ = solved(ALL if "zone" not in mutation.new else OTHER)
    results = lstm_solve(mutated, converted(problem, torch.float64))
    errors = {name: (results[name] - right).abs().max() for name, right in oracle.results.items()}
    assert any(error > oracle.allowed(name) for name, error in errors.items())
