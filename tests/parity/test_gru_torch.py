"""Our GRU against torch.nn.GRU: values and gradients, in every form of input."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grunlock.layers import GRU
from tests.parity.agreement import assert_agrees, with_gradients

LENGTHS = torch.tensor([5, 7, 1, 5, 3])
Form = Literal["packed", "sorted", "lengths", "padded", "unbatched"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class Case:
    """form: packed, or sorted (packed without a change of order), lengths (padded, with lengths), padded
    (all of full length), unbatched."""

    form: Form = "packed"
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    batch_first: bool = False
    dtype: torch.dtype = torch.float64
    input_size: int = 5
    hidden_size: int = 7
    lengths: tuple[int, ...] = tuple(LENGTHS.tolist())
    given_h0: bool = True

    def __str__(self) -> str:
        words = [self.form, f"{self.num_layers}l", "bi" if self.bidirectional else "uni"]
        words += ["bias" if self.bias else "nobias", "bf" if self.batch_first else "tf"]
        return "-".join([*words, str(self.dtype).removeprefix("torch.")])


def unspoilt(ours: GRU) -> GRU:
    return ours


def check_against_torch(case: Case, spoil: Callable[[GRU], GRU] = unspoilt) -> None:
    """Raise DisagreementError unless our layer, after `spoil`, gives torch's numbers."""
    torch.manual_seed(0)
    theirs = nn.GRU(
        case.input_size,
        case.hidden_size,
        case.num_layers,
        bias=case.bias,
        batch_first=case.batch_first,
        bidirectional=case.bidirectional,
        dtype=case.dtype,
    )
    ours = GRU(
        case.input_size,
        case.hidden_size,
        case.num_layers,
        bias=case.bias,
        batch_first=case.batch_first,
        bidirectional=case.bidirectional,
        dtype=case.dtype,
    )
    ours.load_state_dict(theirs.state_dict())
    ours = spoil(ours)
    inputs, h0 = draw_inputs(case)
    assert_agrees(results(ours, case, inputs, h0), results(theirs, case, inputs, h0))


def draw_inputs(case: Case) -> tuple[Tensor, Tensor | None]:
    """Padded input with two steps more than needed and NaN past every end that the form can tell, and h0."""
    lengths = sorted(case.lengths, reverse=True) if case.form == "sorted" else case.lengths
    batch, steps = len(lengths), max(lengths) + 2
    padded = torch.randn(steps, batch, case.input_size, dtype=case.dtype)
    if case.form in ("packed", "sorted", "lengths"):
        for sequence, length in enumerate(lengths):
            padded[length:, sequence] = torch.nan
    num_states = case.num_layers * (2 if case.bidirectional else 1)
    h0 = torch.randn(num_states, batch, case.hidden_size, dtype=case.dtype)
    if case.form == "unbatched":
        padded, h0 = padded[:, 0], h0[:, 0]
    elif case.batch_first:
        padded = padded.transpose(0, 1).contiguous()
    return padded.requires_grad_(), h0.requires_grad_() if case.given_h0 else None


def results(module: nn.Module, case: Case, inputs: Tensor, h0: Tensor | None) -> dict[str, Tensor]:
    """Output, final state and all gradients. Only torch's own GRU is helped with `lengths`."""
    lengths, ordered = torch.tensor(case.lengths), case.form == "sorted"
    if ordered:
        lengths = lengths.sort(descending=True).values
    if case.form in ("padded", "unbatched"):
        output, final = module(inputs, h0)
    elif case.form == "lengths" and isinstance(module, GRU):
        output, final = module(inputs, h0, lengths)
    else:
        given = pack_padded_sequence(inputs, lengths, case.batch_first, enforce_sorted=ordered)
        output, final = module(given, h0)
        assert isinstance(output, PackedSequence)
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            torch.testing.assert_close(getattr(output, name), getattr(given, name))
        if case.form == "lengths":
            steps = inputs.shape[1 if case.batch_first else 0]
            output, _ = pad_packed_sequence(output, case.batch_first, total_length=steps)
        else:
            output = output.data
    leaves = {"input": inputs, **({} if h0 is None else {"h0": h0}), **dict(module.named_parameters())}
    return with_gradients({"output": output, "final": final}, leaves)


GRID = [
    Case(form, num_layers, bidirectional, bias, dtype=dtype)
    for form, num_layers, bidirectional, bias, dtype in itertools.product(
        FORMS, (1, 2, 3), (False, True), (True, False), (torch.float32, torch.float64)
    )
]
BATCH_FIRST = [
    Case(form, num_layers=2, bidirectional=True, batch_first=True, dtype=dtype)
    for form, dtype in itertools.product(FORMS, (torch.float32, torch.float64))
]


@pytest.mark.parametrize("case", GRID + BATCH_FIRST, ids=str)
def test_values_and_gradients(case: Case) -> None:
    check_against_torch(case)


@pytest.mark.parametrize("form", FORMS)
def test_without_initial_state(form: Form) -> None:
    check_against_torch(Case(form, num_layers=2, bidirectional=True, given_h0=False))


@pytest.mark.parametrize(
    ("input_size", "hidden_size", "lengths"),
    [
        (1, 1, (1,)),  # everything once
        (3, 1, (4, 2)),
        (1, 16, (1, 1, 1)),  # one step each
        (4, 16, (6, 6, 6)),  # nothing ragged
        (33, 17, (2, 40, 1, 19, 40, 3, 1, 8, 11)),  # more rows than any tile, none a multiple
        (8, 130, (3, 9, 1)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_odd_sizes(input_size: int, hidden_size: int, lengths: tuple[int, ...], dtype: torch.dtype) -> None:
    case = Case(bidirectional=True, num_layers=2, dtype=dtype)
    check_against_torch(replace(case, input_size=input_size, hidden_size=hidden_size, lengths=lengths))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_state_dict_goes_both_ways(bias: bool, bidirectional: bool) -> None:
    ours = GRU(5, 7, 2, bias=bias, bidirectional=bidirectional)
    theirs = nn.GRU(5, 7, 2, bias=bias, bidirectional=bidirectional)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name])


@pytest.mark.parametrize("batch_first", [True, False])
def test_output_is_zero_past_each_end(batch_first: bool) -> None:
    case = Case("lengths", num_layers=2, bidirectional=True, batch_first=batch_first)
    inputs, h0 = draw_inputs(case)
    ours = GRU(5, 7, 2, batch_first=batch_first, bidirectional=True, dtype=torch.float64)
    output, _ = ours(inputs, h0, LENGTHS)
    by_sequence = output if batch_first else output.transpose(0, 1)  # [B, T, 2H]
    assert by_sequence.shape[1] == LENGTHS.max() + 2
    for sequence, length in zip(by_sequence, LENGTHS.tolist(), strict=True):
        assert not sequence[length:].any()
        assert sequence[:length].all()
