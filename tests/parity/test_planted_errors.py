"""The parity tests bite: errors planted on purpose are caught by the very comparisons the other tests use.

Two kinds: weights or form of our layer changed behind the comparison's back, and the source of the
reference kernel changed as text, one small mutation each. The unchanged layer and source pass, or a caught
error would prove nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grunlock.kernels import GATE_ORDER, reference
from grunlock.kernels.direction import GruDirection
from grunlock.layers import GRU
from tests.parity import test_gru_keras, test_gru_onnxruntime, test_gru_torch
from tests.parity.agreement import DisagreementError, assert_agrees, with_gradients
from tests.parity.test_gru_keras import FORMS, check_against_keras, golden, keras_inputs, keras_results
from tests.parity.test_gru_onnxruntime import check_against_onnx
from tests.parity.test_gru_torch import check_against_torch, unspoilt

Spoil = Callable[[GRU], GRU]

OUTSIDERS: dict[str, Callable[[Spoil], None]] = {
    "torch float32": partial(
        check_against_torch, test_gru_torch.Case(bidirectional=True, dtype=torch.float32)
    ),
    "torch float64": partial(check_against_torch, test_gru_torch.Case(bidirectional=True)),
    "torch padded": partial(check_against_torch, test_gru_torch.Case("padded", bidirectional=True)),
    "keras reset_after": partial(check_against_keras, test_gru_keras.Case("reset_after", dtype="float32")),
    "keras reset_before": partial(check_against_keras, test_gru_keras.Case("reset_before", dtype="float32")),
    "onnxruntime reset_after": partial(check_against_onnx, test_gru_onnxruntime.Case()),
    "onnxruntime reset_before": partial(check_against_onnx, test_gru_onnxruntime.Case(reset_after=False)),
    "onnx reference": partial(check_against_onnx, test_gru_onnxruntime.Case(torch.float64)),
}


# Errors in the weights or in the form -----------------------------------------------------------------


def spoil_weights(change: Callable[[dict[str, Tensor], int], None]) -> Spoil:
    """A layer whose weights were changed in place by change(weights by name, hidden_size)."""

    def spoil(ours: GRU) -> GRU:
        with torch.no_grad():
            change(dict(ours.named_parameters()), ours.hidden_size)
        return ours

    return spoil


def negate_gate(gate: int) -> Spoil:
    """Negate one gate's argument by negating its rows of all weights and biases of the first layer."""

    def change(weights: dict[str, Tensor], hidden_size: int) -> None:
        for name, weight in weights.items():
            if name.endswith("_l0"):
                weight[gate * hidden_size : (gate + 1) * hidden_size] *= -1

    return spoil_weights(change)


def swap_gates(first: int, second: int) -> Spoil:
    """Take the gates in a wrong order."""
    order = [0, 1, 2]
    order[first], order[second] = order[second], order[first]

    def change(weights: dict[str, Tensor], hidden_size: int) -> None:
        for weight in weights.values():
            weight.copy_(torch.cat([weight.chunk(3)[gate] for gate in order]))

    return spoil_weights(change)


def swap(first: str, second: str) -> Spoil:
    def change(weights: dict[str, Tensor], hidden_size: int) -> None:
        old = weights[first].clone()
        weights[first].copy_(weights[second])
        weights[second].copy_(old)

    return spoil_weights(change)


def transpose_recurrent(weights: dict[str, Tensor], hidden_size: int) -> None:
    blocks = [block.T for block in weights["weight_hh_l0"].chunk(3)]
    weights["weight_hh_l0"].copy_(torch.cat(blocks))


def scale_one_weight(weights: dict[str, Tensor], hidden_size: int) -> None:
    weights["weight_hh_l0"][0, 0] += 1e-3


def other_form(ours: GRU) -> GRU:
    """The same weights in a layer with the other place of the reset gate."""
    confused = GRU(
        ours.input_size,
        ours.hidden_size,
        ours.num_layers,
        batch_first=ours.batch_first,
        bidirectional=ours.bidirectional,
        dtype=ours.get_parameter("weight_ih_l0").dtype,
        reset_after=not ours.reset_after,
    )
    confused.load_state_dict(ours.state_dict())
    return confused


SPOILT = {
    **{f"{name} negated": negate_gate(gate) for gate, name in enumerate(GATE_ORDER)},
    "reset and update swapped": swap_gates(0, 1),
    "update and candidate swapped": swap_gates(1, 2),
    "directions swapped": swap("weight_hh_l0", "weight_hh_l0_reverse"),
    "recurrent blocks transposed": spoil_weights(transpose_recurrent),
    "one weight off by a thousandth": spoil_weights(scale_one_weight),
    "other form": other_form,
}


@pytest.mark.parametrize("outsider", OUTSIDERS)
def test_unspoilt_layer_passes(outsider: str) -> None:
    OUTSIDERS[outsider](unspoilt)


@pytest.mark.parametrize("error", SPOILT)
@pytest.mark.parametrize("outsider", OUTSIDERS)
def test_spoilt_layer_is_caught(outsider: str, error: str) -> None:
    with pytest.raises(DisagreementError):
        OUTSIDERS[outsider](SPOILT[error])


@pytest.mark.parametrize("outsider", [name for name in OUTSIDERS if "before" not in name])
def test_swapped_biases_are_caught(outsider: str) -> None:
    """Only reset_after tells bias_ih from bias_hh, and only in the candidate."""
    with pytest.raises(DisagreementError):
        OUTSIDERS[outsider](swap("bias_ih_l0", "bias_hh_l0"))


# Errors in the kernel's source ------------------------------------------------------------------------

Scan = Callable[..., tuple[Tensor, Tensor]]


def scan_both_ways(
    gru_scan: Scan, given: PackedSequence, h0: Tensor, weights: Mapping[str, Tensor], reset_after: bool
) -> tuple[PackedSequence, Tensor]:
    """One bidirectional layer made of two scans; h0 and the final states [2, B, H] in the caller's order."""
    rows, finals = [], []
    for direction, suffix in enumerate(("_l0", "_l0_reverse")):
        w = {name.removesuffix(suffix): v for name, v in weights.items() if name.endswith(suffix)}
        output, final = gru_scan(
            functional.linear(given.data, w["weight_ih"], w["bias_ih"]),
            given.batch_sizes.tolist(),
            w["weight_hh"],
            w["bias_hh"],
            h0[direction][given.sorted_indices],
            reverse=bool(direction),
            reset_after=reset_after,
        )
        rows.append(output)
        finals.append(final[given.unsorted_indices])
    return given._replace(data=torch.cat(rows, dim=1)), torch.stack(finals)


def compare_scan_with_torch(gru_scan: Scan) -> None:
    case = test_gru_torch.Case(bidirectional=True)
    torch.manual_seed(0)
    theirs = nn.GRU(case.input_size, case.hidden_size, bidirectional=True, dtype=case.dtype)
    inputs, h0 = test_gru_torch.draw_inputs(case)
    assert h0 is not None
    given = pack_padded_sequence(inputs, torch.tensor(case.lengths), enforce_sorted=False)
    weights = dict(theirs.named_parameters())
    leaves = {"input": inputs, "h0": h0, **weights}
    rows, final = scan_both_ways(gru_scan, given, h0, weights, reset_after=True)
    found = with_gradients({"output": rows.data, "final": final}, leaves)
    assert_agrees(found, test_gru_torch.results(theirs, case, inputs, h0))


def compare_scan_with_keras(gru_scan: Scan, form: str) -> None:
    case = test_gru_keras.Case(form)
    inputs, h0, cotangents = keras_inputs(case)
    weights = {name: w.requires_grad_() for name, w in test_gru_keras.keras_weights(case).items()}
    given = pack_padded_sequence(
        inputs, torch.from_numpy(golden()["lengths"]), batch_first=True, enforce_sorted=False
    )
    rows, final = scan_both_ways(gru_scan, given, h0, weights, FORMS[form])
    output, _ = pad_packed_sequence(rows, batch_first=True)
    leaves = {"input": inputs, "h0": h0, **weights}
    found = with_gradients({"output": output, "final": final}, leaves, cotangents)
    assert_agrees(found, keras_results(case))


BEFORE = "keras reset_before"
SCAN_COMPARISONS: dict[str, Callable[[Scan], None]] = {
    "torch": compare_scan_with_torch,
    "keras reset_after": partial(compare_scan_with_keras, form="reset_after"),
    BEFORE: partial(compare_scan_with_keras, form="reset_before"),
}
AFTER_ONLY = ("torch", "keras reset_after")


@dataclass(frozen=True)
class Mutation:
    """`old`, which the source holds exactly once, becomes `new`; `caught_by` must all notice."""

    old: str
    new: str
    caught_by: tuple[str, ...] = tuple(SCAN_COMPARISONS)

    def __str__(self) -> str:
        return f"{self.old} -> {self.new}"


RESET, UPDATE = "torch.sigmoid(x_r + a_r)", "torch.sigmoid(x_z + a_z)"
CANDIDATE, AFTER, REUSED = "torch.tanh(x_n + (r * a_n[0]", "r * a_n[0]", "product(r * masked, 2, 3)"
STATE = "h = n + z * (h_prev - n)  # (5)"
MUTATIONS = [
    # signs
    Mutation(RESET, "torch.sigmoid(a_r - x_r)"),
    Mutation(RESET, "torch.sigmoid(x_r - a_r)"),
    Mutation(RESET, "torch.sigmoid(-x_r - a_r)"),
    Mutation(UPDATE, "torch.sigmoid(a_z - x_z)"),
    Mutation(UPDATE, "torch.sigmoid(x_z - a_z)"),
    Mutation(UPDATE, "torch.sigmoid(-x_z - a_z)"),
    Mutation(CANDIDATE, "torch.tanh(-x_n + (r * a_n[0]"),
    Mutation(CANDIDATE, "torch.tanh(x_n - (r * a_n[0]"),
    Mutation(CANDIDATE, "-torch.tanh(x_n + (r * a_n[0]"),
    Mutation(STATE, "h = n - z * (h_prev - n)"),
    Mutation(STATE, "h = h_prev + z * (n - h_prev)"),
    Mutation(STATE, "h = n + z * (h_prev + n)"),
    # terms dropped or confused
    Mutation(RESET, "torch.sigmoid(x_r)"),
    Mutation(UPDATE, "torch.sigmoid(x_z)"),
    Mutation(AFTER, "a_n[0]", AFTER_ONLY),
    Mutation(REUSED, "product(masked, 2, 3)", (BEFORE,)),
    Mutation(REUSED, "r * product(masked, 2, 3)", (BEFORE,)),
    Mutation(REUSED, "product(r * masked, 1, 2)", (BEFORE,)),
    Mutation(AFTER, "z * a_n[0]", AFTER_ONLY),
    Mutation(STATE, "h = n + r * (h_prev - n)"),
    Mutation(STATE, "h = n + z * h_prev"),
    Mutation("x_r, x_z, x_n = x.chunk", "x_z, x_r, x_n = x.chunk"),
    Mutation("a_r, a_z, *a_n = ", "a_z, a_r, *a_n = "),
    Mutation("None if bias_hh is None else bias_hh[rows]", "None", AFTER_ONLY),
    # small errors
    Mutation(RESET, "torch.sigmoid(x_r + 1.0000001 * a_r)"),
    Mutation(UPDATE, "torch.sigmoid(x_z + 1.0000001 * a_z)"),
    Mutation(STATE, "h = n + z * (h_prev - 1.0000001 * n)"),
    # right values, wrong gradients
    Mutation(RESET, "torch.sigmoid(x_r + a_r).detach()"),
    Mutation(RESET, "torch.sigmoid(x_r + a_r.detach())"),
    Mutation(UPDATE, "torch.sigmoid(x_z + a_z.detach())"),
    Mutation(CANDIDATE, "torch.tanh(x_n.detach() + (r * a_n[0]"),
    Mutation(AFTER, "r * a_n[0].detach()", AFTER_ONLY),
    Mutation(REUSED, "product(r * masked.detach(), 2, 3)", (BEFORE,)),
    Mutation(STATE, "h = n + z * (h_prev.detach() - n)"),
    # time and raggedness
    Mutation("reversed(range(len(batch_sizes))) if reverse else", ""),
    Mutation("first[running:active]", "first[: active - running]"),
    Mutation("state[active:] for state in states", "state[:-active] for state in states"),
    Mutation("torch.cat(parts[::-1])", "torch.cat(parts)"),
    Mutation("outputs[::-1] if reverse else outputs", "outputs"),
]


@cache
def source() -> str:
    return Path(reference.__file__).read_text(encoding="utf-8")


def compiled(text: str, name: str = "gru_scan") -> Scan:
    """That function of a module with this source."""
    namespace: dict[str, object] = {"__name__": "mutated_reference"}
    exec(compile(text, "mutated_reference.py", "exec"), namespace)
    function = namespace[name]
    assert callable(function)
    return function


@pytest.mark.parametrize("comparison", SCAN_COMPARISONS)
def test_unchanged_source_passes(comparison: str) -> None:
    SCAN_COMPARISONS[comparison](compiled(source()))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_mutated_source_is_caught(mutation: Mutation) -> None:
    assert source().count(mutation.old) == 1, "the kernel was rewritten: write this mutation anew"
    assert mutation.new != mutation.old
    mutated = compiled(source().replace(mutation.old, mutation.new))
    for comparison in mutation.caught_by:
        with pytest.raises(DisagreementError):
            SCAN_COMPARISONS[comparison](mutated)


# Errors around the scans: projection, index, mask, directions ------------------------------------------


def compare_layer_with_torch(gru_layer: Scan) -> None:
    """One bidirectional layer on vectors that several rows read, against nn.GRU on the rows spread."""
    torch.manual_seed(0)
    batch_sizes, size, hidden_size = torch.tensor([3, 3, 2, 1]), 4, 5
    index = torch.tensor([0, 1, 2, 2, 1, 1, 0, 3, 2])
    sequence = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0])
    vectors = torch.randn(4, size, dtype=torch.float64, requires_grad=True)
    h0 = torch.randn(2, 3, hidden_size, dtype=torch.float64, requires_grad=True)
    input_mask = torch.tensor([[2, 0, 2, 2], [0, 2, 2, 0], [2, 2, 0, 2]], dtype=torch.float64)
    theirs = nn.GRU(size, hidden_size, bidirectional=True, dtype=torch.float64)
    weights = dict(theirs.named_parameters())
    leaves = {"vectors": vectors, "h0": h0, **weights}
    directions = [
        GruDirection(*(weights[name + suffix] for name in PARAMETERS), h0=h0[place])
        for place, suffix in enumerate(("_l0", "_l0_reverse"))
    ]
    for mask in (None, input_mask):
        rows = vectors[index] if mask is None else vectors[index] * mask[sequence]
        output, final = theirs(PackedSequence(rows, batch_sizes), h0)
        expected = with_gradients({"output": output.data, "final": final}, leaves)
        output, final = gru_layer(vectors, index, batch_sizes.tolist(), directions, input_mask=mask)
        assert_agrees(with_gradients({"output": output, "final": final}, leaves), expected)


PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
LAYER_MUTATIONS = [
    Mutation("gates.index_select(0, index)", "gates.index_select(0, index.flip(0))"),
    Mutation("rows.index_select(0, index)", "rows.index_select(0, index.flip(0))"),
    Mutation("torch.cat([mask[:active] for", "torch.cat([mask[-active:] for"),
    Mutation("return spread * torch", "return spread.detach() * torch"),
    Mutation("functional.linear(rows, weight, bias)", "functional.linear(rows, weight)"),
    Mutation(
        "torch.cat(outputs, dim=1), torch.stack(finals)",
        "torch.cat(outputs[::-1], dim=1), torch.stack(finals)",
    ),
    Mutation(
        "torch.cat(outputs, dim=1), torch.stack(finals)",
        "torch.cat(outputs, dim=1), torch.stack(finals[::-1])",
    ),
    Mutation("size) if given is None else given", "size)"),
]


def test_unchanged_layer_passes() -> None:
    compare_layer_with_torch(compiled(source(), "gru_layer"))


@pytest.mark.parametrize("mutation", LAYER_MUTATIONS, ids=str)
def test_mutated_layer_is_caught(mutation: Mutation) -> None:
    assert source().count(mutation.old) == 1, "the kernel was rewritten: write this mutation anew"
    mutated = compiled(source().replace(mutation.old, mutation.new), "gru_layer")
    with pytest.raises(DisagreementError):
        compare_layer_with_torch(mutated)
