"""Cross-entropy against its formula; class weights against scikit-learn; messages."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from grunlock.errors import DataError, RecipeError, ShapeError
from grunlock.objectives.losses import class_weights, cross_entropy

LABELS = ("bad", "good", "neutral")


def test_formula() -> None:
    logits, targets = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]), torch.tensor([1, 0])
    probs = torch.softmax(logits, dim=1)
    per_sequence = -torch.log(probs[[0, 1], targets])
    assert cross_entropy(logits, targets) == pytest.approx(float(per_sequence.mean()))
    weights = torch.tensor([3.0, 1.0, 1.0])
    weighted = (weights[targets] * per_sequence).sum() / weights[targets].sum()
    assert cross_entropy(logits, targets, 0.0, weights) == pytest.approx(float(weighted))


def test_label_smoothing() -> None:
    logits, targets, s = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([1]), 0.3
    wanted = torch.tensor([s / 3, 1 - s + s / 3, s / 3])
    expected = -(wanted * torch.log_softmax(logits[0], dim=0)).sum()
    assert cross_entropy(logits, targets, s) == pytest.approx(float(expected))


def test_uniform_logits_cost_log_k() -> None:
    assert cross_entropy(torch.zeros(4, 5), torch.arange(4)) == pytest.approx(np.log(5))


def test_sizes_must_agree() -> None:
    with pytest.raises(ShapeError, match=r"`targets`.*\n.*\[3\]"):
        cross_entropy(torch.zeros(4, 5), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ShapeError, match="`class_weights`"):
        cross_entropy(torch.zeros(4, 5), torch.zeros(4, dtype=torch.long), 0.0, torch.ones(2))


def test_off() -> None:
    assert class_weights(None, (1, 2, 3), LABELS) is None


def test_balanced_agrees_with_scikit_learn() -> None:
    counts = (1, 5, 14)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(np.arange(3), counts))
    ours = class_weights("balanced", counts, LABELS)
    assert ours is not None
    assert ours.tolist() == pytest.approx(list(expected))
    assert float((ours * torch.tensor(counts)).sum()) == pytest.approx(sum(counts))


def test_table_leaves_the_others_at_one() -> None:
    ours = class_weights({"good": 2.5}, (1, 1, 1), LABELS)
    assert ours is not None
    assert ours.tolist() == [1.0, 2.5, 1.0]


def test_unknown_labels_are_all_named_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        class_weights({"god": 2.0, "good": 1.0, "Neutral": 2.0}, (1, 1, 1), LABELS)
    assert [problem.where for problem in caught.value.problems] == [
        "loss.class_weights.god",
        "loss.class_weights.Neutral",
    ]
    assert 'did you mean "good"?' in str(caught.value).replace("'", '"')
    assert 'did you mean "neutral"?' in str(caught.value).replace("'", '"')


def test_balanced_without_examples_says_which_label() -> None:
    with pytest.raises(DataError, match="'good'"):
        class_weights("balanced", (3, 0, 2), LABELS)
