"""Finite differences through layers and networks, every regulariser on, its masks fixed by reseeding."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils.rnn import pack_sequence

from grunlock.layers import GRU, LSTM
from grunlock.models import SequenceClassifier, token_inputs
from grunlock.recipe import derive, read_recipe
from grunlock.shapes import pack_layout
from grunlock.text import DistinctTokens
from tests.conftest import small_facts

LAYERS = [(GRU, {"reset_after": True}), (GRU, {"reset_after": False}), (LSTM, {})]


@pytest.mark.parametrize(("layer", "form"), LAYERS, ids=["after", "before", "lstm"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_layers_with_every_regularizer(layer: type[GRU] | type[LSTM], form: dict, layer_norm: bool) -> None:
    torch.manual_seed(0)
    module = layer(
        3,
        2,
        num_layers=2,
        bidirectional=True,
        dropout=0.2,
        dtype=torch.float64,
        input_dropout=0.3,
        output_dropout=0.3,
        state_dropout=0.3,
        weight_dropout=0.3,
        zoneout=0.3,
        layer_norm=layer_norm,
        **form,
    )
    names = list(dict(module.named_parameters()))
    lengths = [3, 1, 2]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same masks in every evaluation
        packed = pack_sequence(list(x.split(lengths)), enforce_sorted=False)
        output, final = functional_call(module, dict(zip(names, values, strict=True)), (packed,))
        states = torch.cat(final) if isinstance(final, tuple) else final
        return torch.cat([output.data.flatten(), states.flatten()])

    x = torch.randn(sum(lengths), 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *module.parameters()), fast_mode=True)


NORMS_AND_KINDS = list(itertools.product(["batch", "layer"], ["gru", "lstm"]))


class WithDenseGradient(torch.autograd.Function):
    """The tensor as it is. Tables have row-sparse gradients, gradcheck compares dense ones."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.to_dense() if gradient.is_sparse else gradient


@pytest.mark.parametrize(("norm", "kind"), NORMS_AND_KINDS)
def test_networks_with_every_regularizer(norm: str, kind: str) -> None:
    recipe = read_recipe(
        "default",
        [
            f"encoder.kind={kind}",
            f"encoder.norm={norm}",
            "encoder.cell_norm=true",
            "encoder.num_layers=2",
            "encoder.hidden_size=3",
            "embedding.size=3",
            "embedding.ngrams.buckets=6",
            "embedding.word_dropout=0.2",
            "embedding.embedding_dropout=0.2",
            *(f"encoder.{name}_dropout=0.2" for name in ("input", "output", "state", "weight")),
            "encoder.zoneout=0.2",
            "head.dropout=0.2",
            'pooling.parts=["last", "max", "mean", "attention"]',
        ],
    )
    facts = small_facts()
    torch.manual_seed(0)
    model = SequenceClassifier(recipe, derive(recipe, facts)).double()
    layout = pack_layout(np.array([3, 1, 2]))
    ids, inverse = np.unique([1, 2, 3, 4, 2, 1], return_inverse=True)
    ngram_ids, offsets = np.array([0, 3, 5, 1, 2]), np.array([0, 2, 2, 4, 5])
    inputs = token_inputs(DistinctTokens(ids, inverse, ngram_ids, offsets), layout)
    names = list(dict(model.named_parameters()))
    buffers = {name: value.clone() for name, value in model.named_buffers()}

    def run(*values: Tensor) -> Tensor:
        torch.manual_seed(1)
        fresh = {name: value.clone() for name, value in buffers.items()}
        values = tuple(WithDenseGradient.apply(value) for value in values)  # type: ignore[no-untyped-call]
        logits: Tensor = functional_call(model, dict(zip(names, values, strict=True)) | fresh, (inputs,))
        return logits

    assert torch.autograd.gradcheck(run, tuple(model.parameters()), fast_mode=True)
