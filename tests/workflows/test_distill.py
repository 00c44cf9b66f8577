"""Distillation as a user runs it: teachers of every kind, transfer texts, going on, and what is refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from grunlock.cli.main import app
from grunlock.data.prepared import open_prepared
from grunlock.data.sources import InMemory
from grunlock.data.store import TokenStore
from grunlock.data.vectors import LENGTH
from grunlock.distillation.answer_files import read_answers
from grunlock.distillation.distill import Lesson, Notices, distill
from grunlock.distillation.static_vectors import write_static_vectors
from grunlock.distillation.teachers import FileTeacher, ModelTeacher
from grunlock.errors import DataError, RunError
from grunlock.recipe import read_recipe
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.workflows.conftest import SMALL

ROWS = list(dict.fromkeys(colour_rows(60)))
LABELS, TEXTS = (list(column) for column in zip(*ROWS, strict=True))
TAUGHT = read_recipe("tiny", [*SMALL, "distillation={}"])
DATA = InMemory(TEXTS, LABELS, "colours")


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(DATA, read_recipe("tiny", SMALL), folder)
    return folder


def test_a_student_of_a_model_has_its_answers_beside_it(teacher_run: Path, tmp_path: Path) -> None:
    run = distill(DATA, TAUGHT, tmp_path, Lesson((ModelTeacher(teacher_run),)))
    data = open_prepared(run.data)
    assert isinstance(data.train, TokenStore)
    assert data.train.teacher is not None
    np.testing.assert_allclose(data.train.teacher.sum(axis=1), 1, rtol=1e-4)
    assert run.metrics.is_file()


def test_several_teachers_teach_their_mean(teacher_run: Path, tmp_path: Path) -> None:
    ours = ModelTeacher(teacher_run)
    sure = np.zeros((len(TEXTS), 3), np.float32)
    sure[:, 0] = 1
    np.savez(tmp_path / "sure.npz", texts=TEXTS, labels=sorted(set(LABELS)), probs=sure)
    other = FileTeacher(read_answers(tmp_path / "sure.npz"))
    distill(DATA, TAUGHT, tmp_path / "out", Lesson((ours, other)))
    kept = read_answers(tmp_path / "out" / "answers.jsonl")
    text = next(iter(kept.rows))
    expected = (ours.probabilities([text])[0] + [1, 0, 0]) / 2
    np.testing.assert_allclose(kept.probs[kept.rows[text]], expected, rtol=1e-4)


def test_transfer_texts_are_learned_where_the_teacher_is_sure(teacher_run: Path, tmp_path: Path) -> None:
    new = [f"{text} again" for text in TEXTS[:20]]
    (tmp_path / "more.txt").write_text("\n".join([*new, "", TEXTS[0], new[0]]) + "\n")
    notes: list[str] = []
    lesson = Lesson((ModelTeacher(teacher_run),), transfer=str(tmp_path / "more.txt"))
    run = distill(DATA, TAUGHT, tmp_path / "all", lesson, notices=Notices(note=notes.append))
    plain = distill(DATA, TAUGHT, tmp_path / "none", Lesson((ModelTeacher(teacher_run),)))
    counts = [open_prepared(each.data).train.num_examples for each in (run, plain)]
    assert counts[0] == counts[1] + 20
    assert notes[0].startswith("20 of 21 distinct texts")
    sure = Lesson(lesson.teachers, transfer=lesson.transfer, min_confidence=0.999999)
    found = distill(DATA, TAUGHT, tmp_path / "sure", sure)
    assert open_prepared(found.data).train.num_examples < counts[0]


def test_an_ensemble_of_its_own_kind_teaches(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    lesson = Lesson(folds=2, models_per_fold=2)
    notices = Notices(training=lambda index, count: told.append((index, count)))
    run = distill(DATA, TAUGHT, tmp_path, lesson, notices=notices)
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    first = run.artifact.read_bytes()
    answers = (tmp_path / "answers.jsonl").read_bytes()
    again = distill(DATA, TAUGHT, tmp_path, lesson, notices=notices)  # goes on, and all is there
    assert len(told) == 4
    assert (again.artifact.read_bytes(), (tmp_path / "answers.jsonl").read_bytes()) == (first, answers)


def test_new_texts_are_made_where_vectors_tell_like_words(teacher_run: Path, tmp_path: Path) -> None:
    words = sorted({word for text in TEXTS for word in text.lower().split()})
    angles = np.linspace(0, 3, len(words))
    np.savez(tmp_path / "v.npz", vectors=np.stack([np.cos(angles), np.sin(angles)], axis=1), vocab=words)
    settings = [f"embedding.vectors={tmp_path / 'v.npz'}", "embedding.size=2", "distillation={}"]
    notes: list[str] = []
    lesson = Lesson((ModelTeacher(teacher_run),), synthetic=2)
    recipe = read_recipe("tiny", [*SMALL, *settings])
    run = distill(DATA, recipe, tmp_path / "out", lesson, notices=Notices(note=notes.append))
    assert "texts were made of" in notes[0]
    assert open_prepared(run.data).train.num_examples > 2 * len(TEXTS)
    with pytest.raises(DataError, match=r"no vectors to tell(.|\n)*embedding.vectors=FILE"):
        distill(DATA, TAUGHT, tmp_path / "none", lesson)


def test_another_lesson_in_the_same_folder_is_refused(teacher_run: Path, tmp_path: Path) -> None:
    distill(DATA, TAUGHT, tmp_path, Lesson((ModelTeacher(teacher_run),)))
    with pytest.raises(RunError, match=r"begun with another lesson(.|\n)*teachers, folds"):
        distill(DATA, TAUGHT, tmp_path, Lesson(folds=2))


def test_no_teacher_and_two_kinds_are_refused(teacher_run: Path, tmp_path: Path) -> None:
    for lesson in (Lesson(), Lesson((ModelTeacher(teacher_run),), folds=2)):
        with pytest.raises(DataError, match=r"learns from teachers or from an ensemble(.|\n)*--folds 5"):
            distill(DATA, TAUGHT, tmp_path / "out", lesson)
    assert not (tmp_path / "out").exists()


# ---- files of answers --------------------------------------------------------------------------


def write_table(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.npz"])
def test_every_kind_of_file_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.jsonl":
        lines = [
            {"text": "x, y", "probs": {"no": 0.25, "yes": 0.75}},
            {"text": "z", "probs": {"yes": 0, "no": 1}},
        ]
        path.write_text("\n".join(map(json.dumps, lines)))
    elif name == "a.npz":
        np.savez(path, texts=["x, y", "z"], labels=["no", "yes"], probs=[[0.25, 0.75], [1, 0]])
    else:
        write_table(path, [["text", "no", "yes"], ["x, y", 0.25, 0.75], ["z", 1, 0]])
    found = read_answers(path)
    assert found.labels == ("no", "yes")
    np.testing.assert_allclose(found.to_texts(["z", "x, y"], ("yes", "no")), [[0, 1], [0.75, 0.25]])


def test_logits_become_probabilities(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", [["text", "no", "yes"], ["x", -1.0, 1.0], ["y", 0.5, 0.5]])
    expected = [[1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))], [0.5, 0.5]]
    np.testing.assert_allclose(read_answers(path).probs, expected, rtol=1e-6)


def test_what_predict_writes_can_teach(teacher_run: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "texts.csv", [["text"], *([text] for text in TEXTS)])
    out = tmp_path / "answers.jsonl"
    done = CliRunner().invoke(app, ["predict", str(teacher_run), str(tmp_path / "texts.csv"), "-o", str(out)])
    assert done.exit_code == 0
    found = read_answers(out)
    expected = ModelTeacher(teacher_run).probabilities(TEXTS[:3])
    np.testing.assert_allclose(found.to_texts(TEXTS[:3], found.labels), expected, rtol=1e-5)


BAD = [
    ("a.csv", "one,two\n1,2\n", "It is not clear which columns hold a teacher's answers"),
    ("a.csv", "text,no,yes\nx,0.5,half\n", r"An answer is no number(.|\n)*row 1, yes(.|\n)*'half'"),
    ("a.csv", "text,no,yes\nx,0.5,nan\n", r"not a finite number(.|\n)*answer 1"),
    ("a.jsonl", '{"text": "x", "label": "yes"}\n', r"A line holds no answer(.|\n)*line 1(.|\n)*text, label"),
    ("a.jsonl", '{"text": "x", "probs": {"a": 1}}\n{"text": "y", "probs": {"b": 1}}\n', "other labels"),
    ("a.npz", "no archive", "cannot be read"),
    ("a.docx", "", r"kind is not supported(.|\n)*\.docx"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_files_that_hold_no_answers_are_refused(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_answers(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", texts=["x"], labels=["no", "yes"], probs=[[1.0]])
    with pytest.raises(DataError, match=r"do not fit each other(.|\n)*\[1, 1\], 1 texts, 2 labels"):
        read_answers(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", texts=["x"], probs=[[1.0]])
    with pytest.raises(DataError, match=r"arrays of a file of answers are missing(.|\n)*texts, probs"):
        read_answers(tmp_path / "b.npz")


# ---- a Hugging Face model on disk --------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained one, with labels of its own order."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = sorted({word for text in TEXTS for word in text.split()})
    vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    names = sorted(set(LABELS), reverse=True)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=32, id2label=dict(enumerate(names)),
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_hugging_face_classifier_teaches(bert: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from grunlock.distillation.hugging_face import HuggingFaceTeacher

    teacher = HuggingFaceTeacher(bert, quick=False)
    assert teacher.labels == tuple(sorted(set(LABELS), reverse=True))
    found = teacher.probabilities(TEXTS)  # ragged: padding must not count
    model = AutoModelForSequenceClassification.from_pretrained(bert).eval()
    tokenizer = AutoTokenizer.from_pretrained(bert)
    for i in (0, 7, 31):
        with torch.no_grad():
            expected = torch.softmax(model(**tokenizer(TEXTS[i], return_tensors="pt")).logits, dim=1)[0]
        np.testing.assert_allclose(found[i], expected.numpy(), rtol=1e-4)
    np.testing.assert_allclose(HuggingFaceTeacher(bert).probabilities(TEXTS), found, atol=0.02)
    run = distill(DATA, TAUGHT, tmp_path, Lesson((teacher,)))
    assert run.artifact.is_file()


def test_the_example_tunes_a_teacher(bert: Path, colours_csv: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "fine_tune_teacher.py"
    command = [
        sys.executable,
        str(script),
        str(colours_csv),
        "--encoder",
        str(bert),
        "-o",
        str(tmp_path / "t"),
    ]
    subprocess.run([*command, "--epochs", "1", "--folds", "2"], check=True, capture_output=True)
    answers = read_answers(tmp_path / "t" / "answers.jsonl")
    np.testing.assert_allclose(answers.probs.sum(axis=1), 1, rtol=1e-4)
    from grunlock.distillation.hugging_face import HuggingFaceTeacher

    assert HuggingFaceTeacher(tmp_path / "t").labels == answers.labels


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    from grunlock.distillation.hugging_face import HuggingFaceTeacher

    with pytest.raises(DataError, match=r"holds no Transformer with its tokenizer(.|\n)*save_pretrained"):
        HuggingFaceTeacher(tmp_path)


# ---- the command -------------------------------------------------------------------------------


def test_the_command(teacher_run: Path, colours_csv: Path, tmp_path: Path) -> None:
    settings = [part for each in SMALL for part in ("--set", each)]
    arguments = ["distill", str(colours_csv), "-r", "tiny", *settings, "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--folds", "2"])
    assert done.exit_code == 0, done.output
    assert "teacher 2 of 2" in done.output
    assert f"model     {tmp_path / 'out' / 'student' / 'model.grunlock'}" in done.output.replace("\n", "")
    done = CliRunner().invoke(app, [*arguments, "--teacher", str(tmp_path / "nowhere")])
    assert "There is no such teacher." in str(done.exception)


# ---- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["run", "embeddings"])
def test_vectors_of_words_out_of_a_transformer(
    how: str, bert: Path, colours_csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "vectors.npz"
    arguments = [
        "vectors",
        str(bert),
        "-o",
        str(out),
        "--words",
        str(colours_csv),
        "--size",
        "4",
        "--how",
        how,
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    with np.load(out) as arrays:
        vectors, vocab = arrays["vectors"].astype(np.float32), arrays["vocab"].tolist()
    assert {"red", "blue"} <= set(vocab)
    assert vectors.shape == (len(vocab), 4)
    np.testing.assert_allclose(np.square(vectors).sum(axis=1).mean(), LENGTH**2, rtol=1e-2)
    variances = np.var(vectors, axis=0)
    assert (np.diff(variances) <= 1e-3).all()  # rotated: the largest direction first
    settings = [
        f"embedding.vectors={out}",
        "embedding.size=4",
        "training.epochs=1",
        "embedding.vector_words=9",
    ]
    train(DATA, read_recipe("tiny", [*SMALL, *settings]), tmp_path / "run")


def test_word_vectors_are_means_over_the_words_own_pieces(bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from grunlock.distillation.hugging_face import word_vectors

    model, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    found = word_vectors(bert, ["red", "blue red"], "run")
    with torch.no_grad():
        states = model(**tokenizer("blue red", return_tensors="pt")).last_hidden_state[0]
    np.testing.assert_allclose(found[1], states.mean(dim=0).numpy(), rtol=1e-4, atol=1e-6)


def test_more_components_than_dimensions_are_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not so many principal components(.|\n)*at most 8"):
        write_static_vectors(bert, [], 9, tmp_path / "v.npz")
    with pytest.raises(DataError, match=r"written to \.npz files"):
        write_static_vectors(bert, [], 2, tmp_path / "v.txt")
