"""A teacher's answers: how they reach training batches, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest

from grunlock.data import InMemory, open_prepared, prepare
from grunlock.data.store import TokenStore
from grunlock.data.teacher import TeacherAnswers
from grunlock.distillation.cross_fit import cross_fit, text_folds
from grunlock.distillation.teachers import ModelTeacher, mean_answers
from grunlock.errors import DataError, RunError
from grunlock.recipe import read_recipe
from grunlock.text import TextFrontEnd
from grunlock.training.run import train
from tests.conftest import colour_rows

LABELS, TEXTS = (list(column) for column in zip(*colour_rows(41), strict=True))
RECIPE = read_recipe("tiny", ["embedding.size=4", "encoder.hidden_size=3", "training.epochs=1"])


def teacher(labels: tuple[str, ...] = ("blue", "green", "red")) -> TeacherAnswers:
    """An answer to each text that tells texts apart."""
    distinct = list(dict.fromkeys(TEXTS))
    share = np.linspace(0.1, 0.5, len(distinct), dtype=np.float32)
    probs = np.stack([share, (1 - share) / 2, (1 - share) / 2], axis=1)[:, : len(labels)]
    return TeacherAnswers(labels, {text: i for i, text in enumerate(distinct)}, probs, "the teacher")


def test_answers_stand_beside_their_texts(tmp_path: Path) -> None:
    """Whatever the split and the order; in the order of the data's labels."""
    given = teacher(("red", "blue", "green"))
    prepare(InMemory(TEXTS, LABELS), RECIPE, tmp_path, teacher=given)
    data = open_prepared(tmp_path)
    assert isinstance(data.train, TokenStore)
    assert isinstance(data.valid, TokenStore)
    assert data.valid.teacher is None
    batch = data.train.batch(np.arange(data.train.num_examples)[::-1])
    assert batch.teacher is not None
    front_end = data.front_end
    assert isinstance(front_end, TextFrontEnd)
    text_of = {tuple(front_end.encode([text], front_end.new_types()).tokens.tolist()): text for text in TEXTS}
    order = [given.labels.index(label) for label in data.labels]
    for example, probs in zip(batch.examples, batch.teacher, strict=True):
        tokens, _ = data.train.tokens_of(np.array([example]))
        text = text_of[tuple(tokens.tolist())]
        np.testing.assert_array_equal(probs, given.probs[given.rows[text]][order])


def test_a_label_unknown_to_the_teacher_has_no_probability() -> None:
    answers = teacher(("blue", "green"))
    found = answers.to_texts(TEXTS[:2], ("blue", "green", "red"))
    assert (found[:, 2] == 0).all()


def test_a_missing_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no answer for a training text(.|\n)*the teacher(.|\n)*'another'"):
        prepare(
            InMemory([*TEXTS, "another"], [*LABELS, "red"], "mine"),
            RECIPE,
            tmp_path,
            valid=InMemory(TEXTS, LABELS),
            test=InMemory(TEXTS, LABELS),
            teacher=teacher(),
        )
    assert not list(tmp_path.iterdir())


def test_a_label_of_the_teacher_alone_is_refused() -> None:
    with pytest.raises(DataError, match=r"knows a label that the data has not(.|\n)*'Red'(.|\n)*'red'"):
        teacher(("blue", "green", "Red")).to_texts(TEXTS[:1], ("blue", "green", "red"))


def test_a_recipe_with_distillation_needs_a_teacher(tmp_path: Path) -> None:
    taught = RECIPE.model_copy(update={"distillation": read_recipe("tiny", ["distillation={}"]).distillation})
    with pytest.raises(RunError, match=r"learns from a teacher, and there is none(.|\n)*grunlock distill"):
        train(InMemory(TEXTS, LABELS), taught, tmp_path / "run")


def test_folds_keep_copies_together_and_classes_even() -> None:
    texts = [f"text {i}" for i in range(90)] + ["text 0"] * 3
    labels = ["a"] * 60 + ["b"] * 30 + ["a"] * 3
    folds = text_folds(texts, labels, 3, seed=0)
    assert len(set(folds[[0, 90, 91, 92]])) == 1
    for fold in range(3):
        assert sum(folds[:60] == fold) in (19, 20, 21)
        assert sum(folds[60:90] == fold) in (9, 10, 11)


def test_cross_fit_answers_each_text_by_models_that_have_not_seen_it(tmp_path: Path) -> None:
    texts = list(dict.fromkeys(TEXTS))
    labels = [LABELS[TEXTS.index(text)] for text in texts]
    valid = InMemory(texts[:6], labels[:6])
    found = cross_fit(texts, labels, RECIPE, tmp_path, valid=valid, num_folds=2, models_per_fold=2)
    assert len(found.models) == 4
    assert set(found.answers.rows) == set(texts)
    np.testing.assert_allclose(found.answers.probs.sum(axis=1), 1, rtol=1e-5)
    folds = text_folds(texts, labels, 2, RECIPE.data.split_seed)
    unseen = [text for text, fold in zip(texts, folds, strict=True) if fold == 1]
    again = mean_answers([ModelTeacher(path) for path in found.models[2:]], unseen)
    np.testing.assert_array_equal(again.probs[0], found.answers.probs[found.answers.rows[unseen[0]]])


@pytest.mark.parametrize("num_folds", [1, 100])
def test_too_few_or_too_many_folds_are_refused(num_folds: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be cut into so many folds"):
        cross_fit(TEXTS, LABELS, RECIPE, tmp_path, valid=InMemory(TEXTS, LABELS), num_folds=num_folds)
