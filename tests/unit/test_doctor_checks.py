"""Checks of the doctor one by one: what they see, how sure they are, and what they leave alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from grunlock.artifact import Artifact, save
from grunlock.doctor import Encoding, Examples, Told, convert, examine, read_patient
from grunlock.doctor.data_checks import accuracy_cost, calibration
from grunlock.doctor.encoded import LabelledIds, encode_words, padded
from grunlock.doctor.examine import half_life
from grunlock.doctor.findings import Cost, Finding, Report
from grunlock.doctor.foreign import Dense, Embedding, ForeignModel, GruLayer, Padding, WordList
from grunlock.doctor.gates import measure
from grunlock.doctor.run_checks import history_findings
from grunlock.doctor.weight_checks import growth, lstm_initialisation, rounding, unreachable_classes
from grunlock.errors import DoctorError
from grunlock.kernels.stack import DirectionWeights
from grunlock.training.run_folder import RunFolder
from tests.parity.exported_models import series_artifact, text_artifact
from tests.workflows.doctor_models import GOLDEN, changed_onnx, hopeless_class, saved_weights

D, H = 6, 24


def model(scale: float = 1.0, seed: int = 0, **changes: Any) -> ForeignModel:
    """A GRU as torch draws one, its recurrent weights scaled."""
    random = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return random.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(H))

    direction = DirectionWeights(drawn(3 * H, D), drawn(3 * H, H) * scale, drawn(3 * H), drawn(3 * H))
    described = ForeignModel(
        kind="torch weights",
        where="here",
        embedding=Embedding("embedding", random.normal(size=(30, D)).astype(np.float32)),
        layers=(GruLayer("gru", (direction,), True),),
        pooling=("last",),
        padding=Padding(gru=False, pooling=False),
        head=(Dense("head", drawn(3, H), drawn(3)),),
    )
    return replace(described, **changes)


def with_biases(bias: np.ndarray) -> ForeignModel:
    described = model()
    direction = replace(described.layers[0].directions[0], bias_ih=bias.astype(np.float32))
    return replace(described, layers=(replace(described.layers[0], directions=(direction,)),))


@pytest.mark.parametrize("seed", range(50))
def test_drawn_weights_have_no_faults(seed: int) -> None:
    described = model(seed=seed)
    assert lstm_initialisation(described) == []
    assert growth(described, measure(described)) == []
    assert unreachable_classes(described) == []
    assert rounding(described) == []


def test_an_open_update_gate_is_no_fault_and_an_lstms_block_is_even_after_training() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * H)
    ours, lstms = noise.copy(), noise.copy()
    ours[H : 2 * H] += 1
    lstms[3 * H // 4 : 3 * H // 2] += 1
    assert lstm_initialisation(with_biases(ours)) == []
    found = lstm_initialisation(with_biases(lstms))
    assert found[0].where == f"gru, biases {3 * H // 4} to {3 * H // 2 - 1} of {3 * H}"


def test_growth_is_that_of_a_gru_whose_candidate_multiplies() -> None:
    """With z = 0, r = 1 and small states the step is h -> W h: a nudge grows by W's factor."""
    factor = 1.07
    weight_hh = np.zeros((3 * H, H), np.float32)
    weight_hh[2 * H :] = factor * np.eye(H)
    bias = np.zeros(3 * H, np.float32)
    bias[:H], bias[H : 2 * H] = 30, -30
    direction = DirectionWeights(np.zeros((3 * H, D), np.float32), weight_hh, bias, 0 * bias)
    described = model(layers=(GruLayer("gru", (direction,), True),))
    activity = measure(described)
    assert activity[0].growth == pytest.approx(factor, rel=1e-6)
    assert growth(described, activity)[0].severity == "warning"


def test_a_class_is_unreachable_only_if_no_state_reaches_it() -> None:
    weight = np.eye(3, H, dtype=np.float32)
    edge = (Dense("head", weight, np.array([0, 0, -1.9], np.float32)),)  # |w_2 - w_0| in the 1-norm is 2
    beyond = (Dense("head", weight, np.array([0, 0, -2.1], np.float32)),)
    assert unreachable_classes(model(head=edge)) == []
    assert "class 2 stays at least 0.10 below" in unreachable_classes(model(head=beyond))[0].evidence


def test_half_precision_is_seen_in_the_numbers() -> None:
    described = model()
    table = np.random.default_rng(0).normal(size=(300, D)).astype(np.float16).astype(np.float32)
    halves = [
        DirectionWeights(*(a.astype(np.float16).astype(np.float32) for a in list(vars(d).values())[:4]))
        for d in described.layers[0].directions
    ]
    layers = (replace(described.layers[0], directions=tuple(halves)),)
    head = tuple(replace(d, weight=d.weight.round(1), bias=d.bias.round(1)) for d in described.head)
    assert rounding(replace(described, embedding=Embedding("e", table), layers=layers, head=())) != []
    assert rounding(replace(described, embedding=Embedding("e", table), head=head)) == []


def test_half_life_is_the_time_to_half() -> None:
    assert half_life(np.array([0.5, 2**-0.1])) == pytest.approx([1, 10])


def test_a_cost_is_the_paired_difference() -> None:
    targets = np.zeros(200, np.int64)
    right, wrong = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    before = np.stack([right] * 120 + [wrong] * 80)
    after = np.stack([wrong] * 10 + [right] * 190)
    cost = accuracy_cost(before, after, targets)
    assert cost.difference == pytest.approx((80 - 10) / 200)
    # of 200 differences 80 are 1 and 10 are -1: variance 0.45 - 0.35^2
    error = np.sqrt((0.45 - 0.35**2) / 200)
    assert cost.low == pytest.approx(0.35 - 1.96 * error, abs=0.01)
    assert cost.high == pytest.approx(0.35 + 1.96 * error, abs=0.01)
    worse = accuracy_cost(after, before, targets)
    assert "train again" in worse.sentence()
    assert "train again" not in cost.sentence()


@pytest.mark.parametrize(("scale", "found"), [(1.0, False), (4.0, True), (0.2, True)])
def test_miscalibration_is_found_where_it_is(scale: float, found: bool) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(2000, 3)) * 1.5
    targets = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # softmax(logits) is the truth
    data = LabelledIds(padded([[1]] * 2000, Encoding(), 0), targets, ("a", "b", "c"), None, 0.0)
    findings = calibration(model(), (scale * logits).astype(np.float32), data)
    assert bool(findings) is found
    if found:
        assert findings[0].cost is not None
        assert findings[0].cost.high < 0
        assert float(findings[0].cure.split()[3]) == pytest.approx(scale, rel=0.1)


def test_padding_is_on_the_side_that_is_asked_for() -> None:
    texts = padded([[5, 6], [7], []], Encoding(max_length=3, padding="pre"), 0)
    assert texts.ids.tolist() == [[0, 5, 6], [0, 0, 7], [0, 0, 0]]
    assert texts.real().tolist() == [[False, True, True], [False, False, True], [False, False, True]]
    assert padded([[5, 6, 8, 9]], Encoding(max_length=3), 0).ids.tolist() == [[5, 6, 8]]


def test_words_are_split_as_keras_does() -> None:
    words = WordList({"dont": 2, "stop": 3}, 1, "whitespace", lowercase=True, strip_punctuation=True)
    assert encode_words(words, "Don't STOP, now!") == [2, 3, 1]


HISTORY = {"train_loss": 0.4, "valid_macro_f1": 0.5, "skipped_steps": 0, "clipped_steps": 0, "seconds": 1.0}


def run_of(folder: Path, epochs: list[tuple[float, float]], **changes: Any) -> RunFolder:
    """A run with these validation losses and accuracies."""
    lines = []
    for i, (loss, accuracy) in enumerate(epochs, start=1):
        event = {
            "event": "epoch",
            "epoch": i,
            "step": 100 * i,
            "valid_loss": loss,
            "valid_accuracy": accuracy,
        }
        lines.append(json.dumps(HISTORY | event | {"best": True} | changes))
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")
    return RunFolder(folder)


@pytest.mark.parametrize(
    ("epochs", "changes", "expected"),
    [
        ([(0.9, 0.5), (0.7, 0.6), (0.5, 0.7)], {}, ["still_improving"]),
        ([(0.9, 0.5), (0.5, 0.7), (0.49, 0.71)], {}, []),
        ([(0.4, 0.8), (0.6, 0.8), (0.9, 0.81)], {}, ["best_at_first"]),
        ([(0.5, 0.7), (0.45, 0.75), (0.46, 0.75)], {"skipped_steps": 40}, ["diverged"]),
        ([(0.5, 0.7), (0.45, 0.75), (0.46, 0.75)], {"clipped_steps": 299}, ["always_clipped"]),
    ],
)
def test_histories_say_what_went_wrong(
    epochs: list[tuple[float, float]], changes: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    findings, measures = history_findings(run_of(tmp_path, epochs, **changes))
    assert [finding.check for finding in findings] == expected
    assert measures["epochs"] == 3


def test_the_worst_comes_first_and_the_verdict_names_it() -> None:
    def finding(severity: Any, cost: float | None = None) -> Finding:
        measured = None if cost is None else Cost("accuracy", 0.5, 0.5 + cost, 0, 1, 9)
        return Finding("x", severity, f"It is a {severity}.", "", "", "", "mend it", None, measured)

    report = Report("m", (), (finding("fault", 0.2), finding("warning"), finding("note")), (), {})
    assert report.verdict() == "1 fault, 1 warning; the first to mend: It is a fault. Cure: mend it"
    assert report.has("fault")
    assert not Report("m", (), (finding("note"),), (), {}).has("warning")


VOCAB = {f"w{i}": i for i in range(1, 14)}


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("doctor_reset_after.keras", (), "classes have to be named"),
        ("doctor_reset_after.keras", ("a", "b"), "got:      2 names"),
        ("doctor_torch.onnx", ("a", "b", "c"), "needs the vocabulary|need the vocabulary"),
    ],
)
def test_conversions_that_would_be_guesses_are_refused(
    name: str, labels: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DoctorError, match=message):
        convert(read_patient(GOLDEN / name, Told()), tmp_path / "out", labels, Encoding())
    assert not (tmp_path / "out").exists()


def test_a_model_that_ours_cannot_express_is_refused_by_name(tmp_path: Path) -> None:
    patient = read_patient(GOLDEN / "doctor_reset_after.keras", Told())
    head = (
        Dense("hidden", np.eye(5, dtype=np.float32), np.zeros(5, np.float32), "relu"),
        *patient.model.head,
    )
    deep = replace(patient, model=replace(patient.model, head=head))
    with pytest.raises(DoctorError, match="2 dense layers: hidden, dense"):
        convert(deep, tmp_path / "out", ("a", "b", "c"), Encoding())


def test_a_graph_of_one_length_is_examined_and_not_converted(tmp_path: Path) -> None:
    def fixed(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9

    path = changed_onnx(tmp_path / "m.onnx", fixed)
    assert "state_at_padding" in [finding.check for finding in examine(path).findings]
    with pytest.raises(DoctorError, match="texts of one length only"):
        convert(read_patient(path, Told()), tmp_path / "out", ("a", "b", "c"), Encoding())


def test_a_conversion_that_differs_is_not_written(tmp_path: Path) -> None:
    """The original is another model than the one that is described."""
    vocab = tmp_path / "vocab.json"
    vocab.write_text(json.dumps(VOCAB))
    patient = read_patient(GOLDEN / "doctor_torch.onnx", Told())
    layer = patient.model.layers[0]
    wrong = replace(patient, model=replace(patient.model, layers=(replace(layer, reset_after=False),)))
    with pytest.raises(DoctorError, match="does not answer as the original"):
        convert(wrong, tmp_path / "out", ("a", "b", "c"), Encoding(vocab))
    assert not (tmp_path / "out").exists()
    assert convert(patient, tmp_path / "out", ("a", "b", "c"), Encoding(vocab)).reads_pads


def test_examples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = saved_weights(tmp_path / "w.pt", hopeless_class)
    ids = {"ids": np.array([[1, 2], [3, 0]]), "lengths": np.array([2, 1]), "labels": np.array([0, 1])}
    for changes, message in (
        ({"lengths": np.array([3, 1])}, "out of range"),
        ({"labels": np.array([0, 7])}, "no class of the model"),
        ({"ids": np.array([[1, 99], [3, 0]])}, "An id has no vector"),
        ({"ids": np.array([1, 2])}, "do not fit together"),
    ):
        np.savez(tmp_path / "x.npz", **(ids | changes))
        with pytest.raises(DoctorError, match=message):
            examine(path, told=Told(("last",), "used"), data=Examples(tmp_path / "x.npz"))
    np.savez(tmp_path / "x.npz", **ids)
    with pytest.raises(DoctorError, match="--pooling last, max"):
        examine(path, data=Examples(tmp_path / "x.npz"))


@pytest.mark.parametrize(
    "overrides",
    [[], ["encoder.norm=layer"], ["encoder.cell_norm=true"], ["stem={}"], ["encoder.reset_after=false"]],
)
def test_models_of_series_and_models_with_norms_are_looked_at(overrides: list[str], tmp_path: Path) -> None:
    save(series_artifact(overrides), tmp_path / "series.grunlock")
    save(text_artifact(overrides), tmp_path / "texts.grunlock")
    for name in ("series", "texts"):
        report = examine(tmp_path / f"{name}.grunlock")
        plain = not overrides or "reset_after" in overrides[0]
        assert ("gates" in report.measures) is (plain and name == "texts")


def test_an_encoder_without_a_gru_is_refused(tmp_path: Path) -> None:
    save(text_artifact(["encoder.kind=lstm"]), tmp_path / "m.grunlock")
    with pytest.raises(DoctorError, match="has no GRU"):
        examine(tmp_path / "m.grunlock")


def test_our_own_models_are_read_and_not_converted(artifact: Artifact, tmp_path: Path) -> None:
    save(artifact, tmp_path / "m.grunlock")
    report = examine(tmp_path / "m.grunlock")
    assert report.subject.startswith("grunlock model")
    with pytest.raises(DoctorError, match="a model of ours already"):
        convert(read_patient(tmp_path / "m.grunlock", Told()), tmp_path / "out", (), Encoding())
