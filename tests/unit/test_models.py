"""Parts of networks beyond what the parity tests hold: dropping tokens, norms on distinct rows, pooling."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from grunlock.errors import RecipeError
from grunlock.layers.packing import IndexedRows
from grunlock.models import TokenInputs, token_inputs
from grunlock.models.embedding import TokenEmbedding
from grunlock.models.encoded import EncodedSequences, beside
from grunlock.models.pooling import Pooling
from grunlock.models.recurrent import RecurrentEncoder
from grunlock.recipe import Recipe, read_recipe
from grunlock.recipe.model_options import PoolingOptions
from grunlock.shapes import pack_layout
from grunlock.text import UNKNOWN_ID, DistinctTokens

VOCAB_SIZE, SIZE, WORDS = 7, 4, 400


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tiny(*overrides: str) -> Recipe:
    return read_recipe("default", ["wide=off", f"embedding.size={SIZE}", "encoder.hidden_size=3", *overrides])


def inputs(with_ngrams: bool = False) -> TokenInputs:
    """One text of WORDS tokens, all of the vocabulary, in which three are distinct."""
    inverse = np.arange(WORDS) % 3
    ngrams = (np.array([0, 3, 5, 1]), np.array([0, 2, 2, 4])) if with_ngrams else ()
    tokens = DistinctTokens(np.array([3, 4, 6]), inverse, *ngrams)
    return token_inputs(tokens, pack_layout(np.array([WORDS])))


def embedding(*overrides: str) -> TokenEmbedding:
    return TokenEmbedding(VOCAB_SIZE, tiny(*overrides).embedding, tokens="words")


def spread(rows: IndexedRows) -> Tensor:
    return rows.vectors[rows.index]


@pytest.mark.parametrize("with_ngrams", [True, False])
def test_word_dropout_turns_single_tokens_into_the_unknown_token(with_ngrams: bool) -> None:
    table = embedding("embedding.word_dropout=0.3", *(["embedding.ngrams.buckets=6"] * with_ngrams))
    given = inputs(with_ngrams)
    kept, found = spread(table.eval()(given)), table.train()(given)
    dropped = (spread(found) == table.tokens.weight[UNKNOWN_ID]).all(dim=1)
    assert 0.2 < dropped.double().mean() < 0.4
    assert torch.equal(spread(found)[~dropped], kept[~dropped])
    assert len(found.vectors) == 4
    assert found.counts().sum() == WORDS
    assert found.counts()[-1] == dropped.sum()


def test_embedding_dropout_drops_tokens_everywhere_but_not_the_unknown_one() -> None:
    table = embedding("embedding.word_dropout=0.3", "embedding.embedding_dropout=0.5")
    given = inputs()
    plain = table.eval()(given).vectors
    for _ in range(20):
        vectors = table.train()(given).vectors
        factors = vectors[:3] / plain
        assert torch.equal(factors, factors[:, :1].expand_as(factors))
        assert set(factors.flatten().tolist()) <= {0.0, 2.0}
        assert torch.equal(vectors[3], table.tokens.weight[UNKNOWN_ID])


def test_nothing_is_dropped_at_inference() -> None:
    table = embedding("embedding.word_dropout=0.3", "embedding.embedding_dropout=0.5").eval()
    found = table(inputs())
    assert torch.equal(found.vectors, table.tokens.weight[[3, 4, 6]])
    assert torch.equal(found.index, inputs().inverse)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_encoder_on_distinct_rows_is_the_encoder_on_all(norm: str, kind: str) -> None:
    """Values, running statistics and gradients."""
    options = tiny(f"encoder.norm={norm}", f"encoder.kind={kind}", "encoder.num_layers=2").encoder
    vectors = torch.randn(3, SIZE, dtype=torch.float64, requires_grad=True)
    rows = IndexedRows(vectors, torch.tensor([0, 1, 0, 1, 0]), torch.tensor([3, 2]))
    each = replace(rows, vectors=vectors[rows.index], index=torch.arange(5))
    results = []
    for given in (rows, each):
        torch.manual_seed(0)
        encoder = RecurrentEncoder(SIZE, options, chrono_steps=4).double()
        encoded = encoder(given)
        total = encoded.rows.square().sum() + encoded.final.square().sum()
        gradients = torch.autograd.grad(total, (vectors, *encoder.parameters()))
        results.append([encoded.rows, encoded.final, *encoder.buffers(), *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


def test_packed_rows_are_an_input_as_well() -> None:
    encoder = RecurrentEncoder(SIZE, tiny("encoder.norm=batch").encoder, chrono_steps=4).eval()
    rows, sizes = torch.randn(5, SIZE), torch.tensor([3, 2])
    found = encoder(PackedSequence(rows, sizes))
    expected = encoder(IndexedRows(rows, torch.arange(5), sizes))
    torch.testing.assert_close(found.rows, expected.rows)


def test_pooling_may_read_what_the_encoder_reads_beside_its_states() -> None:
    """Two sequences, of 2 and 1 steps: rows in packed order are the first's, the second's, the first's."""
    states = EncodedSequences(
        torch.tensor([[10.0], [20], [11]]), torch.tensor([[-1.0], [-2]]), torch.tensor([2, 1])
    )
    found = beside(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), states)
    assert found.rows.tolist() == [[1, 2, 10], [3, 4, 20], [5, 6, 11]]
    assert found.final.tolist() == [[5, 6, -1], [3, 4, -2]]
    pooled = Pooling(3, PoolingOptions(parts=("max", "last", "mean")))(found)
    assert pooled.tolist() == [[5, 6, 11, 5, 6, -1, 3, 4, 10.5], [3, 4, 20, 3, 4, -2, 3, 4, 20]]


def test_pooling_over_chunks_has_no_steps_to_read_beside() -> None:
    with pytest.raises(RecipeError, match=r"with chunks: pooling.inputs = false"):
        tiny("chunks={}", "pooling.inputs=true")
