"""The doctor on broken and on sound models: each planted fault is found, and nothing in sound ones."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from grunlock import load
from grunlock.doctor import Encoding, Examples, Report, Told, examine, examine_module
from grunlock.recipe import read_recipe
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.workflows import doctor_models as models
from tests.workflows.conftest import CommandLine
from tests.workflows.doctor_models import GOLDEN, H, K, TorchNet

Examined = Callable[[Path], Report]


def file(make: Callable[[Path], Path], name: str, told: Told | None = None) -> Examined:
    return lambda folder: examine(make(folder / name), told=told)


def weights(change: Callable[..., None], name: str = "weights.pt") -> Examined:
    return file(lambda path: models.saved_weights(path, change), name)


PACKED = Told(pooling=("last",), lengths="used")
BROKEN: dict[str, tuple[str, Examined]] = {
    "torch module, out[:, -1]": ("state_at_padding", lambda _: examine_module(TorchNet("last_step"))),
    "torch module, packed but out[:, -1]": ("state_at_padding", lambda _: examine_module(TorchNet("zeros"))),
    "torch module, mean of all": ("pooling_over_padding", lambda _: examine_module(TorchNet("mean"))),
    "torch module, attention over pads": (
        "moved_by_padding",
        lambda _: examine_module(TorchNet("attention")),
    ),
    "torch module, two directions at one step": (
        "backward_after_one_step",
        lambda _: examine_module(TorchNet("last_step", bidirectional=True)),
    ),
    "torch module, batch_first left out": (
        "batch_dependence",
        lambda _: examine_module(TorchNet("last_step", batch_first=False)),
    ),
    "torch module, dropout of one layer": (
        "idle_knob",
        lambda _: examine_module(TorchNet(dropout=0.5)),
    ),
    "torch module, dropout behind the head": (
        "dropout_on_answers",
        lambda _: examine_module(TorchNet(head=nn.Sequential(nn.Linear(H, K), nn.Dropout(0.5)))),
    ),
    "torch weights, an LSTM's biases": ("lstm_initialisation", weights(models.lstm_biases)),
    "torch weights, nan": ("non_finite_weights", weights(models.not_a_number)),
    "torch weights, gates that never open": ("frozen_units", weights(models.frozen)),
    "torch weights, a class below all others": ("unreachable_class", weights(models.hopeless_class)),
    "safetensors, exploding": ("exploding_state", weights(models.exploding, "weights.safetensors")),
    "safetensors, words without vectors": ("zero_vectors", weights(models.empty_words, "w.safetensors")),
    "torch weights, told that lengths are ignored": (
        "state_at_padding",
        file(models.saved_weights, "w.pt", Told(pooling=("last",), lengths="ignored")),
    ),
    "Keras, no mask": ("state_at_padding", lambda _: examine(GOLDEN / "doctor_unmasked.keras")),
    "Keras, BatchNormalization without mask": (
        "norm_over_padding",
        file(lambda p: models.changed_keras(p, "doctor_pooled.keras", models.without_mask), "m.keras"),
    ),
    "Keras, maximum in spite of the mask": (
        "pooling_over_padding",
        lambda _: examine(GOLDEN / "doctor_pooled.keras"),
    ),
    "Keras, recurrent_dropout": (
        "recurrent_dropout",
        file(
            lambda p: models.changed_keras(p, "doctor_reset_after.keras", models.recurrent_dropout), "m.keras"
        ),
    ),
    "Keras, softmax twice": (
        "softmax_twice",
        file(lambda p: models.changed_keras(p, "doctor_reset_after.keras", models.softmax_again), "m.keras"),
    ),
    "Keras, dropout in front of the softmax": (
        "dropout_on_answers",
        file(lambda p: models.changed_keras(p, "doctor_reset_after.keras", models.dropped_logits), "m.keras"),
    ),
    "ONNX, the form lost": (
        "reset_form",
        file(lambda p: models.changed_onnx(p, models.lost_form), "m.onnx"),
    ),
    "ONNX of torch, out[:, -1]": ("state_at_padding", lambda _: examine(GOLDEN / "doctor_torch.onnx")),
    "ONNX, no sequence_lens": (
        "state_at_padding",
        file(lambda p: models.sequence_graph(p, lengths=False), "m.onnx"),
    ),
}


@pytest.mark.filterwarnings("ignore:dropout option adds dropout")  # what the doctor says in other words
@pytest.mark.parametrize("name", BROKEN)
def test_the_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    check, examined = BROKEN[name]
    report = examined(tmp_path)
    found = {finding.check: finding for finding in report.findings}
    assert check in found
    assert found[check].severity in ("fault", "warning")
    expected = {check, "state_at_padding"} if check in ("backward_after_one_step", "reset_form") else {check}
    if name == "Keras, BatchNormalization without mask":
        expected = {check, "pooling_over_padding"}  # without a mask both are there
    assert {f.check for f in report.findings if f.severity != "note"} <= expected


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default recipe, its sizes and wide path included, on three colours."""
    folder = tmp_path_factory.mktemp("default")
    data = folder / "colours.csv"
    data.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in colour_rows(200)))
    return train(data, read_recipe("default", ["training.refit=false"]), folder / "run").folder


SOUND: dict[str, Examined] = {
    "torch module, packed": lambda _: examine_module(TorchNet()),
    "torch module, packed, two layers with dropout, two directions": lambda _: examine_module(
        TorchNet(num_layers=2, dropout=0.3, bidirectional=True)
    ),
    "torch weights": file(models.saved_weights, "w.pt", PACKED),
    "Keras": lambda _: examine(GOLDEN / "doctor_reset_after.keras"),
    "Keras, reset before the product": lambda _: examine(GOLDEN / "doctor_reset_before.keras"),
    "ONNX with sequence_lens": file(models.sequence_graph, "m.onnx"),
    "ONNX with sequence_lens, two directions": file(lambda p: models.sequence_graph(p, two=True), "m.onnx"),
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_model(name: str, tmp_path: Path) -> None:
    report = SOUND[name](tmp_path)
    assert [f.check for f in report.findings if f.severity != "note"] == []
    assert report.unknown == ()
    assert report.verdict().startswith("Sound.")


def test_nothing_is_found_in_a_default_run(default_run: Path) -> None:
    report = examine(default_run)
    assert [f.check for f in report.findings if f.severity != "note"] == []
    assert report.measures["accuracy"] > 0.9


def test_what_weights_alone_do_not_say_is_said(tmp_path: Path) -> None:
    report = examine(models.saved_weights(tmp_path / "w.pt"))
    assert [each.tell.split()[0] for each in report.unknown] == ["--pooling", "--lengths"]
    assert "2 questions are open" in report.verdict()


WORDS = ["", "<unk>", *sorted({word for _, text in colour_rows(300) for word in text.split()[:-1]})]


def ids_of(text: str) -> list[int]:
    return [WORDS.index(word) if word in WORDS else 1 for word in text.split()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights.pt of a packed GRU that has learned three colours, vocab.txt and test.csv."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    net = TorchNet()
    net.embedding = nn.Embedding(len(WORDS), 8)
    rows = colour_rows(300)
    names = sorted({label for label, _ in rows})
    ids = nn.utils.rnn.pad_sequence([torch.tensor(ids_of(text)) for _, text in rows], batch_first=True)
    targets = torch.tensor([names.index(label) for label, _ in rows])
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(ids), targets).backward()
        optimizer.step()
    torch.save(net.state_dict(), folder / "weights.pt")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    lines = [f"{label},{text}\n" for label, text in colour_rows(150, 300)]
    (folder / "test.csv").write_text("label,text\n" + "".join(lines))
    return folder


def test_the_cost_of_reading_at_the_padding_is_measured(trained: Path) -> None:
    encoding = Encoding(trained / "vocab.txt", "whitespace", max_length=60)
    report = examine(
        trained / "weights.pt",
        told=Told(pooling=("last",), lengths="ignored"),
        data=Examples(trained / "test.csv", encoding),
    )
    cost = next(f for f in report.findings if f.check == "state_at_padding").cost
    assert cost is not None
    assert cost.mended > 0.95
    assert cost.low > 0.1
    assert cost.low <= cost.difference <= cost.high
    assert "points (95 %" in cost.sentence()


def test_ids_say_the_same_as_texts(trained: Path, tmp_path: Path) -> None:
    rows = colour_rows(150, 300)
    ids = [ids_of(text) for _, text in rows]
    table = np.zeros((len(ids), 60), np.int64)
    for row, each in zip(table, ids, strict=True):
        row[: len(each)] = each
    names = sorted({label for label, _ in rows})
    labels = np.array([names.index(label) for label, _ in rows])
    np.savez(tmp_path / "ids.npz", ids=table, lengths=np.array([len(each) for each in ids]), labels=labels)
    told = Told(pooling=("last",), lengths="ignored")
    encoding = Encoding(trained / "vocab.txt", "whitespace", max_length=60)
    first = examine(trained / "weights.pt", told=told, data=Examples(trained / "test.csv", encoding))
    second = examine(trained / "weights.pt", told=told, data=Examples(tmp_path / "ids.npz"))
    assert first.measures["accuracy"] == second.measures["accuracy"]


def test_a_converted_model_is_ours(trained: Path, tmp_path: Path, grunlock: CommandLine) -> None:
    out = tmp_path / "converted"
    outcome = grunlock(
        "doctor",
        trained / "weights.pt",
        "--pooling=last",
        "--lengths=used",
        f"--vocab={trained / 'vocab.txt'}",
        f"--data={trained / 'test.csv'}",
        "--split=words",
        f"--convert={out}",
        "--json",
    )
    assert outcome.code == 0
    found = json.loads(outcome.out)["conversion"]
    assert found == json.loads((out / "certificate.json").read_text())
    assert found["largest_difference"] < 1e-5
    assert found["agreement"] == 1.0
    assert found["split_alike"] == 1.0
    rows = colour_rows(60, 500)
    answers = load(out).predict([text for _, text in rows])
    assert np.mean([answer == label for answer, (label, _) in zip(answers, rows, strict=True)]) > 0.95


@pytest.mark.parametrize("name", ["doctor_reset_after.keras", "doctor_reset_before.keras"])
def test_a_keras_model_is_converted(name: str, tmp_path: Path, grunlock: CommandLine) -> None:
    vocab = {f"w{i}": i for i in range(1, 14)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    arguments = [f"--vocab={tmp_path / 'vocab.json'}", "--labels=a,b,c", f"--convert={tmp_path / 'out'}"]
    outcome = grunlock("doctor", GOLDEN / name, *arguments)
    assert outcome.code == 0
    assert "certified" in outcome.out
    with np.load(GOLDEN / "doctor_outputs.npz") as recorded:
        texts = [" ".join(f"w{i}" for i in row if i) for row in recorded["post"]]
        expected = recorded[f"{name[7:-6]}/post"]
    assert np.abs(load(tmp_path / "out").predict_proba(texts) - expected).max() < 1e-5


def test_an_onnx_model_is_converted(tmp_path: Path, grunlock: CommandLine) -> None:
    model = models.sequence_graph(tmp_path / "m.onnx", two=True)
    (tmp_path / "vocab.txt").write_text("\n".join(["", *(f"w{i}" for i in range(1, models.V))]))
    arguments = [f"--vocab={tmp_path / 'vocab.txt'}", "--labels=a,b,c", f"--convert={tmp_path / 'out'}"]
    assert grunlock("doctor", model, *arguments).code == 0
    assert json.loads((tmp_path / "out/certificate.json").read_text())["run_by"] == "onnxruntime"


@pytest.mark.parametrize(
    ("change", "words"),
    [(models.lost_form, "reset after the product"), (models.swapped_gates, "gates swapped")],
)
def test_an_export_is_compared_with_its_original(
    change: Callable[..., None], words: str, tmp_path: Path
) -> None:
    good = GOLDEN / "doctor_torch.onnx"
    assert "export_differs" not in [f.check for f in examine(good, export=good).findings]
    report = examine(good, export=models.changed_onnx(tmp_path / "m.onnx", change))
    finding = next(f for f in report.findings if f.check == "export_differs")
    assert words in finding.what


def test_exit_codes(tmp_path: Path, grunlock: CommandLine) -> None:
    assert grunlock("doctor", GOLDEN / "doctor_reset_after.keras").code == 0
    outcome = grunlock("doctor", GOLDEN / "doctor_unmasked.keras")
    assert outcome.code == 3
    assert "read at the padding" in outcome.out
    warned = GOLDEN / "doctor_pooled.keras"
    assert grunlock("doctor", warned).code == 0
    assert grunlock("doctor", warned, "--fail-on=warning").code == 3
    assert grunlock("doctor", tmp_path / "nothing.onnx").code == 1
    assert "grunlock doctor --data FILE" in grunlock("doctor").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vocab=x.txt"], "--vocab does nothing here"),
        (["--labels=a,b"], "--labels does nothing here"),
        (["--max-length=4"], "--max-length does nothing here"),
    ],
)
def test_options_that_do_nothing_are_refused(
    arguments: list[str], message: str, grunlock: CommandLine
) -> None:
    outcome = grunlock("doctor", GOLDEN / "doctor_reset_after.keras", *arguments)
    assert outcome.code == 1
    assert message in outcome.err


def test_a_model_is_needed_to_convert_or_compare(colours_csv: Path, grunlock: CommandLine) -> None:
    for option in ("--convert=out", "--compare=m.onnx", "--pooling=last"):
        outcome = grunlock("doctor", f"--data={colours_csv}", option)
        assert f"{option.split('=')[0]} does nothing here" in outcome.err


def test_json_holds_what_is_printed(grunlock: CommandLine) -> None:
    found = json.loads(grunlock("doctor", GOLDEN / "doctor_unmasked.keras", "--json").out)
    assert found["findings"][0]["check"] == "state_at_padding"
    assert set(found) == {"subject", "verdict", "read", "findings", "unknown", "measures"}


def test_texts_alone_are_audited(colours_csv: Path, grunlock: CommandLine) -> None:
    header, rows = colours_csv.read_text().split("\n", 1)
    colours_csv.write_text(f"{header}\n{rows * 2}")
    outcome = grunlock("doctor", f"--data={colours_csv}", "--json")
    found = json.loads(outcome.out)
    assert any("duplicate" in finding["check"] for finding in found["findings"])


def test_the_module_of_weights_is_made_by_a_factory(
    tmp_path: Path, grunlock: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "their_nets.py").write_text(
        "from tests.workflows.doctor_models import TorchNet\ndef make():\n    return TorchNet('last_step')\n"
    )
    path = models.saved_weights(tmp_path / "w.pt")
    outcome = grunlock("doctor", path, "--from=their_nets:make")
    assert outcome.code == 3
    assert "read at the padding" in outcome.out
