"""Encoders beside GRU and LSTM against independent implementations, sequence by sequence, unpacked."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.kernels.scan import Cell
from grunlock.layers.attention import Positions, TransformerLayer, rotate
from grunlock.layers.packing import IndexedRows
from grunlock.layers.scan import ScanLayer
from grunlock.layers.window import WindowLinear
from grunlock.models.chunked import ChunkedEncoder
from grunlock.models.pooling import Attention
from grunlock.models.recurrent import RecurrentEncoder
from grunlock.recipe.model_options import ChunkOptions, GruOptions
from grunlock.shapes import (
    FloatArray,
    centred_window,
    last_rows,
    pack_layout,
    sequence_major_rows,
    shifted_rows,
)

LENGTHS = np.array([5, 7, 1, 5, 3])
LAYOUT = pack_layout(LENGTHS)
SIZES = torch.from_numpy(LAYOUT.batch_sizes)
D, H = 4, 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def packed_batch(size: int = D) -> tuple[IndexedRows, list[Tensor]]:
    """Packed rows in which several steps read the same vector, and each sequence by itself, longest first."""
    vectors = torch.randn(6, size, dtype=torch.float64, requires_grad=True)
    index = torch.randint(6, (LAYOUT.num_rows,))
    return IndexedRows(vectors, index, SIZES), unpack(vectors[index])


def unpack(rows: Tensor) -> list[Tensor]:
    """Packed rows [N, E] to each sequence's [T, E], longest first."""
    ordered = rows[torch.from_numpy(sequence_major_rows(LAYOUT.batch_sizes))]
    return list(torch.split(ordered, LAYOUT.lengths.tolist()))


def assert_sequences_agree(found: Tensor, expected: list[Tensor]) -> None:
    torch.testing.assert_close(found, torch.cat(expected)[packed_order()], rtol=1e-10, atol=1e-12)


def packed_order() -> Tensor:
    return torch.from_numpy(np.argsort(sequence_major_rows(LAYOUT.batch_sizes)))


def perturb(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)


# ---- layout ------------------------------------------------------------------------------------------


def test_shifted_rows_lead_to_neighbours_of_the_same_sequence() -> None:
    places = [(s, t) for t, size in enumerate(LAYOUT.batch_sizes) for s in range(size)]
    for shift in (-8, -2, -1, 0, 1, 3):
        found = shifted_rows(LAYOUT.batch_sizes, shift)
        expected = [places.index(p) if (p := (s, t + shift)) in places else len(places) for s, t in places]
        assert found.tolist() == expected


def test_last_rows_are_those_of_last_steps() -> None:
    places = [(s, t) for t, size in enumerate(LAYOUT.batch_sizes) for s in range(size)]
    expected = [places.index((s, int(length) - 1)) for s, length in enumerate(LAYOUT.lengths)]
    assert last_rows(LAYOUT.batch_sizes).tolist() == expected


# ---- scans -------------------------------------------------------------------------------------------


def array(linear: WindowLinear, x: FloatArray, sign: float = 1.0) -> FloatArray:
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    result: FloatArray = sign * (x @ weight.T + bias)
    return result


def sigmoid(x: FloatArray) -> FloatArray:
    result: FloatArray = 1.0 / (1.0 + np.exp(-x))
    return result


def min_gru(gates: nn.ModuleDict, x: FloatArray) -> FloatArray:
    """Feng 2024, equations of section 3.1, whose update gate z lets the new value in."""
    h, states = np.zeros(H), []
    for z, candidate in zip(
        sigmoid(array(gates["keep"], x, -1.0)), array(gates["candidate"], x), strict=True
    ):
        h = (1.0 - z) * h + z * candidate
        states.append(h)
    return np.array(states)


def min_lstm(gates: nn.ModuleDict, x: FloatArray) -> FloatArray:
    """Feng 2024, section 3.2, with its length-independent scaling."""
    h, states = np.zeros(H), []
    forget, let_in = sigmoid(array(gates["keep"], x)), sigmoid(array(gates["input"], x))
    for f, i, candidate in zip(forget, let_in, array(gates["candidate"], x), strict=True):
        h = f / (f + i) * h + i / (f + i) * candidate
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("cell", "by_hand"), [("mingru", min_gru), ("minlstm", min_lstm)])
def test_scan_cells_follow_the_paper(
    cell: Cell, by_hand: Callable[[nn.ModuleDict, FloatArray], FloatArray], reverse: bool
) -> None:
    rows, sequences = packed_batch()
    layer = ScanLayer(D, H, cell, bidirectional=True).double()
    perturb(layer)
    output, final, _ = layer(rows)
    step = -1 if reverse else 1
    states = [
        by_hand(layer.directions[reverse], x.detach().numpy()[::step])[::step].copy() for x in sequences
    ]
    half = slice(H, 2 * H) if reverse else slice(0, H)
    assert_sequences_agree(output[:, half].detach(), [torch.from_numpy(s) for s in states])
    last = [s[0] if reverse else s[-1] for s in states]
    np.testing.assert_allclose(final[:, half].detach(), np.array(last), rtol=1e-10)


def qrnn_by_convolution(gates: nn.ModuleDict, x: Tensor) -> Tensor:
    """Bradbury 2016: masked convolution, then fo-pooling with h = o * c. Reads forward in time."""
    width = len(gates["keep"].offsets)

    def convolve(name: str) -> Tensor:
        linear = gates[name]
        kernel = linear.weight.view(width, H, -1).flip(0).permute(1, 2, 0)  # [H, D, width], oldest first
        return functional.conv1d(functional.pad(x.T, (width - 1, 0)), kernel, linear.bias).T

    f, z, o = convolve("keep").sigmoid(), convolve("candidate").tanh(), convolve("output").sigmoid()
    c, states = torch.zeros(H, dtype=x.dtype), []
    for t in range(len(x)):
        c = f[t] * c + (1.0 - f[t]) * z[t]
        states.append(o[t] * c)
    return torch.stack(states)


def test_qrnn_is_a_masked_convolution_with_pooling() -> None:
    rows, sequences = packed_batch()
    layer = ScanLayer(D, H, "qrnn", bidirectional=True, window_steps=3).double()
    perturb(layer)
    output, final, _ = layer(rows)
    expected = [qrnn_by_convolution(layer.directions[0], x) for x in sequences]
    assert_sequences_agree(output[:, :H], expected)
    mirrored = [qrnn_by_convolution(layer.directions[1], x.flip(0)).flip(0) for x in sequences]
    assert_sequences_agree(output[:, H:], mirrored)
    last = [torch.cat([s[-1], m[0]]) for s, m in zip(expected, mirrored, strict=True)]
    torch.testing.assert_close(final, torch.stack(last))


@pytest.mark.parametrize("cell", ["mingru", "minlstm", "qrnn"])
def test_scan_layer_passes_gradcheck(cell: Cell) -> None:
    layer = ScanLayer(D, H, cell, bidirectional=True, window_steps=2).double()
    index = torch.randint(6, (LAYOUT.num_rows,))
    vectors = torch.randn(6, D, dtype=torch.float64, requires_grad=True)
    weights = dict(layer.named_parameters())

    def run(v: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(weights, values, strict=True))
        found: tuple[Tensor, ...] = torch.func.functional_call(layer, given, (IndexedRows(v, index, SIZES),))
        return found

    assert torch.autograd.gradcheck(run, (vectors, *weights.values()), fast_mode=True)


# ---- convolutions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_window_is_a_convolution(width: int) -> None:
    rows, sequences = packed_batch()
    window = WindowLinear(D, H, centred_window(width)).double()
    perturb(window)
    kernel = window.weight.view(width, H, D).permute(1, 2, 0)
    before, after = width // 2, (width - 1) // 2
    expected = [
        functional.conv1d(functional.pad(x.T, (before, after)), kernel, window.bias).T for x in sequences
    ]
    assert_sequences_agree(window(rows), expected)
    (found,) = torch.autograd.grad(window(rows).square().sum(), rows.vectors)
    (wanted,) = torch.autograd.grad(torch.cat(expected).square().sum(), rows.vectors)
    torch.testing.assert_close(found, wanted)


# ---- attention ---------------------------------------------------------------------------------------


def torch_twin(layer: TransformerLayer, size: int, heads: int, inner: int) -> nn.TransformerEncoderLayer:
    twin = nn.TransformerEncoderLayer(
        size,
        heads,
        inner,
        dropout=0.0,
        activation=lambda x: functional.gelu(x, approximate="tanh"),
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
    )
    attention = layer.attention
    qkv = (attention.query, attention.key, attention.value)
    pairs = {
        "self_attn.in_proj_weight": torch.cat([part.weight for part in qkv]),
        "self_attn.in_proj_bias": torch.cat([part.bias for part in qkv]),
    }
    modules = {"self_attn.out_proj": attention.output, "linear1": layer.widen, "linear2": layer.narrow}
    modules |= {"norm1": layer.attention_norm, "norm2": layer.feedforward_norm}
    for name, module in modules.items():
        pairs |= {f"{name}.{kind}": value for kind, value in module.named_parameters()}
    twin.load_state_dict(pairs)
    return twin


def test_transformer_layer_agrees_with_torch() -> None:
    size, heads, inner = 8, 2, 10
    layer = TransformerLayer(size, heads, inner, rotary=False, dropout=0.0, attention_dropout=0.0).double()
    perturb(layer)
    rows, sequences = packed_batch(size)
    found = layer(rows.spread(), Positions(SIZES))
    twin = torch_twin(layer, size, heads, inner)
    assert_sequences_agree(found, [twin(x.unsqueeze(0))[0] for x in sequences])
    # The same by torch's own padding mask, gradients included.
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    mask = torch.arange(padded.shape[1]) >= torch.from_numpy(LAYOUT.lengths)[:, None]
    (wanted,) = torch.autograd.grad(
        twin(padded, src_key_padding_mask=mask)[~mask].square().sum(), rows.vectors
    )
    (gradient,) = torch.autograd.grad(found.square().sum(), rows.vectors)
    torch.testing.assert_close(gradient, wanted)


def test_rotary_scores_depend_on_distances_only() -> None:
    query, key = torch.randn(2, 1, 1, 6, dtype=torch.float64)

    def score(at: int, of: int) -> float:
        return float((rotate(query, torch.tensor([at])) * rotate(key, torch.tensor([of]))).sum())

    assert math.isclose(score(3, 1), score(103, 101), rel_tol=1e-9)
    assert not math.isclose(score(3, 1), score(3, 2), rel_tol=1e-3)
    torch.testing.assert_close(rotate(query, torch.tensor([0])), query)


def test_several_queries_are_lin_2017() -> None:
    pooling = Attention(D, 3).double()
    perturb(pooling)
    _, sequences = packed_batch()
    found = pooling(torch.cat(sequences), torch.from_numpy(LAYOUT.lengths))
    expected = []
    for states in sequences:  # A = softmax(W2 tanh(W1 H^T)), M = A H
        inner = torch.tanh(states @ pooling.projection.weight.T + pooling.projection.bias)
        expected.append((torch.softmax(pooling.query @ inner.T, dim=1) @ states).flatten())
    torch.testing.assert_close(found, torch.stack(expected))


# ---- two levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["gru", "transformer"])
@pytest.mark.parametrize("chunk_steps", [1, 2, 3, 7, 20])
def test_chunks_are_read_by_themselves_and_then_in_order(over: str, chunk_steps: int) -> None:
    rows, sequences = packed_batch()
    inner = RecurrentEncoder(D, GruOptions(hidden_size=H), chrono_steps=2)
    options = ChunkOptions(chunk_steps=chunk_steps, over=over, hidden_size=8)  # type: ignore[arg-type]
    encoder = ChunkedEncoder(inner, options).double()
    perturb(encoder)
    found = encoder(rows)
    pooled = encoder.pooling
    finals, chunks_of = [], []
    for x in sequences:
        vectors = torch.cat([pooled(inner(single(part))) for part in torch.split(x, chunk_steps)])
        alone = encoder.outer(single(vectors))
        finals.append(alone.final[0])
        chunks_of.append(alone.rows)
    torch.testing.assert_close(found.final, torch.stack(finals))
    ordered = found.rows[torch.from_numpy(sequence_major_rows(found.batch_sizes.numpy()))]
    torch.testing.assert_close(ordered, torch.cat(chunks_of))


def single(x: Tensor) -> IndexedRows:
    """One sequence [T, D] as a batch."""
    return IndexedRows.of_rows(x, torch.ones(len(x), dtype=torch.int64))
