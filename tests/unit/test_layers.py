"""Layers beyond what the parity tests hold: regularisers, forms of input, initialisation, norms."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from grunlock.errors import ShapeError
from grunlock.layers import GRU, LSTM
from grunlock.layers.dropout import drop_elements, drop_variational, sequence_of_row
from grunlock.layers.initialization import Initialization, initialize_recurrent
from grunlock.layers.norm import PackedBatchNorm, frozen_statistics
from grunlock.layers.packing import IndexedRows

REGULARIZERS = ["input_dropout", "output_dropout", "state_dropout", "weight_dropout", "zoneout"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def ragged(size: int = 5) -> nn.utils.rnn.PackedSequence:
    return pack_sequence([torch.randn(n, size) for n in (4, 7, 1)], enforce_sorted=False)


def indexed(size: int) -> IndexedRows:
    return IndexedRows(torch.randn(2, size), torch.tensor([1]), torch.tensor([1]))


@pytest.mark.parametrize("layer", [GRU, LSTM])
@pytest.mark.parametrize("name", REGULARIZERS)
def test_regularizer_acts_in_training_and_draws_anew(layer: type[GRU] | type[LSTM], name: str) -> None:
    module, data = layer(5, 6, **{name: 0.5}), ragged()
    plain = layer(5, 6)
    plain.load_state_dict(module.state_dict())
    first, second = module(data)[0].data, module(data)[0].data
    assert not torch.equal(first, plain(data)[0].data)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", [name for name in REGULARIZERS if name != "zoneout"])
def test_dropout_does_nothing_at_inference(name: str) -> None:
    module, data = GRU(5, 6, **{name: 0.5}).eval(), ragged()
    plain = GRU(5, 6)
    plain.load_state_dict(module.state_dict())
    assert torch.equal(module(data)[0].data, plain(data)[0].data)


def test_zoneout_at_inference_is_its_expectation() -> None:
    module = GRU(5, 6, zoneout=0.3)
    step = torch.randn(1, 1, 5)
    h0 = torch.randn(1, 1, 6)
    expected = module.eval()(step, h0)[0]
    drawn = torch.stack([module.train()(step, h0)[0] for _ in range(4000)]).mean(0)
    torch.testing.assert_close(drawn, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("lengths", [(6, 3), (6, 6)], ids=["ragged", "equal"])
def test_variational_mask_is_one_per_sequence(lengths: tuple[int, int]) -> None:
    data = pack_sequence([torch.ones(n, 50) for n in lengths])
    sizes = data.batch_sizes.tolist()
    dropped = drop_variational(data.data, sizes, 0.5, training=True)
    owner = sequence_of_row(sizes)
    assert owner.tolist() == [sequence for active in sizes for sequence in range(active)]
    for sequence in (0, 1):
        rows = dropped[owner == sequence]
        assert torch.equal(rows, rows[:1].expand_as(rows))
        assert set(rows.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(dropped[0], dropped[1])


def test_batch_norm_reads_real_steps_only() -> None:
    """Same statistics whether sequences are padded or not, because no pad ever comes in."""
    data = ragged()
    norm = PackedBatchNorm(5)
    result = norm(data.data)
    expected = (data.data - data.data.mean(0)) / torch.sqrt(data.data.var(0, unbiased=False) + 1e-5)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(norm.running_mean, 0.1 * data.data.mean(0))


@pytest.mark.parametrize("counts", [None, [1], [0, 1, 0]])
def test_batch_norm_of_one_step_uses_running_statistics(counts: list[int] | None) -> None:
    norm = PackedBatchNorm(3)
    rows = torch.randn(len(counts or [1]), 3)
    found = norm(rows, None if counts is None else torch.tensor(counts))
    torch.testing.assert_close(found, rows / math.sqrt(1 + 1e-5))
    assert torch.equal(norm.running_mean, torch.zeros(3))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_counted_rows_is_that_of_the_rows_spread(training: bool) -> None:
    """Values, running statistics and gradients; one row is read by nobody."""
    index = torch.tensor([0, 1, 1, 3, 0, 1, 4, 4])
    vectors = (torch.randn(5, 3, dtype=torch.float64) * 2 + 5).requires_grad_()
    counts = IndexedRows(vectors, index, torch.tensor([8])).counts()
    cotangent = torch.randn(8, 3, dtype=torch.float64)
    results = []
    for counted in (True, False):
        torch.manual_seed(1)
        norm = PackedBatchNorm(3).double().train(training)
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            torch.nn.init.uniform_(tensor, 0.5, 2.0)
        if counted:
            spread = norm(vectors, counts)[index]
        else:
            spread = functional.batch_norm(
                vectors[index],
                norm.running_mean,
                norm.running_var,
                norm.weight,
                norm.bias,
                training,
                eps=1e-5,
            )
        gradients = torch.autograd.grad(spread, (vectors, norm.weight, norm.bias), cotangent)
        results.append([spread, norm.running_mean, norm.running_var, *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_frozen_statistics_stay_to_the_bit() -> None:
    norm = PackedBatchNorm(3)
    rows, counts = torch.randn(4, 3), torch.tensor([1, 2, 0, 3])
    norm(rows, counts)
    before = [buffer.clone() for buffer in norm.buffers()]
    with frozen_statistics(norm):
        norm(rows + 7, counts)
    assert all(map(torch.equal, before, norm.buffers()))


@pytest.mark.parametrize("layer", [GRU, LSTM])
@pytest.mark.parametrize("rates", [{}, dict.fromkeys(REGULARIZERS, 0.4)], ids=["plain", "regularized"])
def test_indexed_rows_are_the_rows_spread(layer: type[GRU] | type[LSTM], rates: dict[str, float]) -> None:
    module = layer(5, 6, 2, bidirectional=True, layer_norm=True, dtype=torch.float64, **rates)
    vectors = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    index, batch_sizes = torch.tensor([3, 0, 0, 1, 3, 3]), torch.tensor([3, 2, 1])
    results = []
    for given in (IndexedRows(vectors, index, batch_sizes), PackedSequence(vectors[index], batch_sizes)):
        torch.manual_seed(1)
        output, final = module(given)
        assert isinstance(output, PackedSequence)
        assert torch.equal(output.batch_sizes, batch_sizes)
        states = final if isinstance(final, tuple) else (final,)
        total = output.data.square().sum() + sum(state.square().sum() for state in states)
        gradients = torch.autograd.grad(total, (vectors, *module.parameters()))
        results.append([output.data, *states, *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("layer", [GRU, LSTM])
def test_replaced_and_parametrised_weights_are_used(layer: type[GRU] | type[LSTM]) -> None:
    module, data = layer(5, 6), ragged()
    before = module(data)[0].data
    module.weight_hh_l0 = nn.Parameter(module.weight_hh_l0.detach() * 2)
    doubled = module(data)[0].data
    assert not torch.equal(before, doubled)
    nn.utils.parametrize.register_parametrization(module, "weight_hh_l0", Halved())
    torch.testing.assert_close(module(data)[0].data, before)


class Halved(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


def test_orthogonal_per_gate_and_update_bias() -> None:
    module = GRU(5, 8)
    initialize_recurrent(module, 3, Initialization("orthogonal", "xavier", 1.5, 10))
    for gate in module.weight_hh_l0.chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
    reset, update, candidate = module.bias_ih_l0.chunk(3)
    assert torch.equal(update, torch.full((8,), 1.5))
    assert not reset.any()
    assert not candidate.any()
    assert not module.bias_hh_l0.any()


def test_chrono_bias_spreads_memory_up_to_the_longest_time() -> None:
    gru, lstm = GRU(2, 512), LSTM(2, 512)
    for module, gates in ((gru, 3), (lstm, 4)):
        initialize_recurrent(module, gates, Initialization("orthogonal", "xavier", "chrono", 100))
        memory = module.bias_ih_l0.chunk(gates)[1].exp()
        assert 1 <= memory.min() < 10
        assert 90 < memory.max() <= 99
    assert torch.equal(lstm.bias_ih_l0.chunk(4)[0], -lstm.bias_ih_l0.chunk(4)[1])


def test_layer_norm_adds_gains_and_bounds_gate_scale() -> None:
    module = GRU(5, 6, layer_norm=True)
    assert {"norm_weight_ih_l0", "norm_weight_hh_l0"} <= set(module.state_dict())
    data = torch.randn(3, 2, 5)
    torch.testing.assert_close(module(data)[0], module(data * 50)[0], atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GRU(5, 6, zoneout=1.0), "`zoneout` is not a rate"),
        (lambda: GRU(5, 6)(torch.randn(3, 2, 4)), "D = 5"),
        (lambda: GRU(5, 6)(torch.randn(3, 2, 5), lengths=torch.tensor([4, 1])), "from 1 to 3"),
        (lambda: GRU(5, 6)(torch.randn(3, 2, 5), lengths=torch.tensor([0, 1])), "from 0 to 1"),
        (lambda: GRU(5, 6)(torch.randn(3, 2, 5), lengths=torch.tensor([1])), r"\[B\] = \[2\]"),
        (lambda: GRU(5, 6)(torch.randn(3, 2, 5), torch.zeros(1, 3, 6)), r"\[1, 2, 6\]"),
        (lambda: GRU(5, 6)(torch.randn(3)), "2 or 3 dimensions"),
        (lambda: GRU(5, 6)(torch.randn(3, 2, 5), (torch.zeros(1, 6))), r"\[1, 2, 6\]"),
        (lambda: GRU(5, 6)(torch.randn(3, 5), torch.zeros(1, 1, 6)), r"H\] = \[1, 6\]"),
        (lambda: GRU(5, 6)(torch.randn(0, 2, 5)), "one sequence of one step or more"),
        (lambda: GRU(5, 6)(torch.randn(3, 0, 5)), "one sequence of one step or more"),
        (lambda: GRU(5, 6)(ragged(), lengths=torch.tensor([1, 1, 1])), "PackedSequence knows its lengths"),
        (lambda: GRU(5, 6)(indexed(5), lengths=torch.tensor([1])), "IndexedRows knows its lengths"),
        (lambda: GRU(5, 6)(indexed(4)), "D = 5"),
        (lambda: GRU(5, 6)(ragged(4)), "D = 5"),
        (lambda: GRU(5, 6, precision="half"), "'float32' or 'bfloat16'"),
    ],
)
def test_wrong_sizes_are_refused_in_words(make: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.93, 0.9999999])
def test_elements_are_dropped_at_their_rate_each_for_itself(rate: float) -> None:
    dropped = drop_elements(torch.ones(1001, 333), rate, True)

    kept = dropped != 0
    spread = math.sqrt(rate * (1 - rate) / kept.numel()) + 2**-16
    assert abs((~kept).double().mean() - rate) < 5 * spread
    assert dropped[kept].unique().numel() <= 1  # all scaled alike
    if rate < 0.99:
        assert dropped.mean() == pytest.approx(1.0, abs=5 * spread / (1 - rate))
        columns = kept.double().mean(0)
        assert columns.std() < 1.3 * math.sqrt(rate * (1 - rate) / 1001)  # as of independent draws


def test_elements_are_dropped_by_torchs_generator_and_only_in_training() -> None:
    rows = torch.randn(3, 7, requires_grad=True)
    assert drop_elements(rows, 0.5, False) is rows
    assert drop_elements(rows, 0.0, True) is rows
    torch.manual_seed(1)
    first = drop_elements(rows, 0.5, True)
    torch.manual_seed(1)
    assert torch.equal(first, drop_elements(rows, 0.5, True))
    first.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(rows.grad, (first != 0) * 2.0)


def test_a_dropout_that_cannot_act_warns() -> None:
    with pytest.warns(UserWarning, match="there is one layer: it does nothing"):
        GRU(5, 6, dropout=0.5)


@pytest.mark.parametrize(("ours", "theirs"), [(GRU, nn.GRU), (LSTM, nn.LSTM)])
def test_stands_in_for_torch(ours: type[GRU] | type[LSTM], theirs: type[nn.GRU] | type[nn.LSTM]) -> None:
    torch.manual_seed(0)
    expected = theirs(5, 6, 2, bidirectional=True, batch_first=True)
    torch.manual_seed(0)
    found = ours(5, 6, 2, bidirectional=True, batch_first=True)
    assert list(found.state_dict()) == list(expected.state_dict())
    for name, value in expected.state_dict().items():  # even the first draw is the same
        assert torch.equal(found.state_dict()[name], value)
    for name in (
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
    ):
        assert getattr(found, name) == getattr(expected, name)
    found.flatten_parameters()
    assert "bidirectional=True" in repr(found)
    assert "reset_after=False" in repr(GRU(5, 6, reset_after=False))
    assert "precision=bfloat16" in repr(GRU(5, 6, precision="bfloat16"))
