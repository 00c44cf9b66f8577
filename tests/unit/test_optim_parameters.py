"""Which parameter goes where, and that gate views are the parameter."""

import pytest
import torch
from torch import nn

from grunlock.errors import ShapeError
from grunlock.optim.gate_views import gate_views
from grunlock.optim.parameters import NamedParameter, ParameterGroups, group_parameters


class Classifier(nn.Module):
    """One of everything that the package's networks hold."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(7, 5)
        self.ngrams = nn.EmbeddingBag(9, 5)
        self.norm = nn.LayerNorm(5)
        self.gru = nn.GRU(5, 4, bidirectional=True)
        self.gru.norm_weight_ih_l0 = nn.Parameter(torch.ones(12))
        self.lstm = nn.LSTM(8, 3)
        self.projection = nn.Linear(3, 3)
        self.query = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(3, 2)


def names(group: tuple[NamedParameter, ...]) -> set[str]:
    return {named.name for named in group}


def groups_of_classifier() -> ParameterGroups:
    return group_parameters(Classifier())


def test_only_matrices_that_are_no_tables_are_decayed() -> None:
    recurrent = {
        f"{name}{suffix}" for name in ("gru.weight_ih", "gru.weight_hh") for suffix in ("_l0", "_l0_reverse")
    } | {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    groups = groups_of_classifier()
    assert names(groups.hidden_matrices) == recurrent | {"projection.weight"}
    assert names(groups.decayed) == recurrent | {"projection.weight", "head.weight"}
    assert names(groups.decayed_rest) == {"head.weight"}
    assert {"tokens.weight", "ngrams.weight", "norm.weight", "query"} <= names(groups.not_decayed)
    assert "gru.norm_weight_ih_l0" in names(groups.not_decayed)


def test_every_trainable_parameter_once() -> None:
    model = Classifier()
    groups = group_parameters(model)
    assert sorted(named.name for named in groups.all) == sorted(dict(model.named_parameters()))


def test_gates_are_told_from_the_recurrent_weight() -> None:
    gates = {named.name: named.num_matrices for named in groups_of_classifier().hidden_matrices}
    assert gates["gru.weight_ih_l0"] == gates["gru.weight_hh_l0_reverse"] == 3
    assert gates["lstm.weight_ih_l0"] == gates["lstm.weight_hh_l0"] == 4
    assert gates["projection.weight"] == 1


def test_frozen_parameters_are_in_no_group() -> None:
    model = Classifier()
    model.tokens.requires_grad_(False)
    assert "tokens.weight" not in names(group_parameters(model).all)


def test_shared_parameter_counts_once() -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
    model[1].weight = model[0].weight
    groups = group_parameters(model)
    assert names(groups.all) == {"0.weight"}
    assert not groups.decayed


def test_convolutions_are_decayed_but_are_no_matrices() -> None:
    groups = group_parameters(nn.Conv1d(2, 3, 4))
    assert names(groups.decayed) == {"weight"}
    assert not groups.hidden_matrices


def test_broken_gates_are_refused() -> None:
    model = nn.Module()
    model.weight_hh_l0 = nn.Parameter(torch.zeros(7, 3))
    with pytest.raises(ShapeError, match="whole gates"):
        group_parameters(model)


def test_views_cover_the_parameter_and_change_it() -> None:
    parameter = nn.Parameter(torch.zeros(6, 4))
    views = gate_views((NamedParameter("w", parameter, 3),))
    parameter.grad = torch.arange(24.0).reshape(6, 4)
    for value, view in enumerate(views, start=1):
        view.bind()
        assert view.matrix.shape == (2, 4)
        assert view.matrix.grad is not None
        assert torch.equal(view.matrix.grad, parameter.grad[view.rows])
        view.matrix.fill_(value)
    assert parameter[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_views_follow_moved_storage_and_missing_gradients() -> None:
    parameter = nn.Parameter(torch.zeros(6, 4))
    view = gate_views((NamedParameter("w", parameter, 3),))[2]
    parameter.data = torch.zeros(6, 4)
    view.bind()
    assert view.matrix.grad is None
    view.matrix.fill_(1.0)
    assert parameter.sum() == 8.0
