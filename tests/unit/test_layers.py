"""Layers beyond what the parity tests hold: regularisers, forms of input, initialisation, norms."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from grunlock.errors import ShapeError
from grunlock.layers import GRU, LSTM
from grunlock.layers.dropout import drop_variational, sequence_of_row
from grunlock.layers.initialization import Initialization, initialize_recurrent
from grunlock.layers.norm import PackedBatchNorm

REGULARIZERS = ["input_dropout", "output_dropout", "state_dropout", "weight_dropout", "zoneout"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def ragged(size: int = 5) -> nn.utils.rnn.PackedSequence:
    return pack_sequence([torch.randn(n, size) for n in (4, 7, 1)], enforce_sorted=False)


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


def test_variational_mask_is_one_per_sequence() -> None:
    data = pack_sequence([torch.ones(6, 50), torch.ones(3, 50)])
    dropped = drop_variational(data.data, data.batch_sizes, 0.5, training=True)
    owner = sequence_of_row(data.batch_sizes)
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


def test_batch_norm_of_one_step_uses_running_statistics() -> None:
    norm = PackedBatchNorm(3)
    row = torch.randn(1, 3)
    torch.testing.assert_close(norm(row), row / math.sqrt(1 + 1e-5))
    assert torch.equal(norm.running_mean, torch.zeros(3))


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
        (lambda: GRU(5, 6)(ragged(), lengths=torch.tensor([1, 1, 1])), "knows its lengths"),
    ],
)
def test_wrong_sizes_are_refused_in_words(make: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make()  # type: ignore[operator]


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
