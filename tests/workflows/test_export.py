"""An export is there only when it has answered as the model does; otherwise what was there still is."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grunlock.artifact import load
from grunlock.data.sources import InMemory
from grunlock.errors import ExportError
from grunlock.export.c.target import CTarget
from grunlock.export.certificate import CERTIFICATE, ExportedModel, Precision
from grunlock.export.examples import validation_examples
from grunlock.export.export import Target, export
from grunlock.export.onnx.target import OnnxTarget
from grunlock.export.portable import PortableModel
from grunlock.export.web.target import WebTarget
from grunlock.recipe import read_recipe
from grunlock.shapes import FloatArray
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.workflows.conftest import SMALL, CommandLine


@dataclass(frozen=True)
class Answers:
    """An exported model that changes what the model in the run says."""

    run: Path
    moved_by: float
    wrong: int
    size_bytes: int = 1

    def probabilities(self, inputs: Sequence[Any]) -> FloatArray:
        found = load(self.run).predict_proba(inputs)
        found[: self.wrong] = np.roll(found[: self.wrong], 1, axis=1)
        return found + np.float32(self.moved_by)


@dataclass(frozen=True)
class FaultyTarget:
    """A planted error: what it writes answers otherwise."""

    run: Path
    moved_by: float = 0.0
    wrong: int = 0
    name: str = "faulty"

    def write(self, model: PortableModel, folder: Path) -> ExportedModel:
        (folder / "model").write_text("new")
        return Answers(self.run, self.moved_by, self.wrong)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["onnx", "c", "web"])
def test_a_certificate(kind: str, precision: Precision, model: Path, tmp_path: Path) -> None:
    int8 = precision == "int8"
    targets: dict[str, Target] = {"onnx": OnnxTarget(int8), "c": CTarget(int8), "web": WebTarget(int8)}
    if kind == "web":
        pytest.importorskip("ziglang")
        pytest.importorskip("wasmtime")
    target = targets[kind]
    found = export(model, tmp_path / "made" / "here", target, precision)
    stored = json.loads((found.folder / CERTIFICATE).read_text())
    assert stored["target"] == kind
    assert stored["precision"] == precision
    assert stored["num_examples"] == len(validation_examples(model).targets)
    assert stored["agreement"] == 1.0
    assert stored["accuracy"] == stored["accuracy_of_model"] > 0.9
    assert 0 <= stored["largest_difference"] < (0.05 if int8 else 1e-5)
    assert 0 < stored["latency"]["p50"] <= stored["latency"]["p99"]
    assert stored["has_learned_examples"] is False
    assert [each.name for each in (tmp_path / "made").iterdir()] == ["here"]  # nothing is left aside


@pytest.mark.parametrize(
    ("target", "precision", "complaint"),
    [
        ({"wrong": 1}, "float32", r"labels agree on 88\.89%, expected 100"),
        ({"moved_by": 1e-4}, "float32", "probabilities differ by 1.0e-04"),
        ({"wrong": 1}, "int8", r"labels agree on 88\.89%, expected 98"),
    ],
)
def test_what_answers_otherwise_is_not_kept(
    target: dict[str, Any], precision: Precision, complaint: str, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / CERTIFICATE).write_text("old")
    with pytest.raises(ExportError, match=complaint):
        export(model, folder, FaultyTarget(model, **target), precision)
    assert (folder / CERTIFICATE).read_text() == "old"
    assert not (folder / "model").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_fewer_labels_may_be_enough(model: Path, tmp_path: Path) -> None:
    found = export(model, tmp_path / "export", FaultyTarget(model, wrong=1), "int8", least_agreement=0.8)
    assert found.certificate.agreement < 0.98
    assert (tmp_path / "export" / "model").read_text() == "new"


def test_an_old_export_is_replaced_whole(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(model, folder, OnnxTarget(), "float32")
    export(model, folder, FaultyTarget(model), "float32")
    assert sorted(each.name for each in folder.iterdir()) == [CERTIFICATE, "model"]


def test_what_stood_there_comes_back_when_a_rename_fails(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "export", Path.rename
    export(model, folder, OnnxTarget(), "float32")
    before = (folder / CERTIFICATE).read_bytes()

    def failing(path: Path, goal: Path) -> Path:
        if path.name == "export" and path.parent != tmp_path and goal == folder:
            raise OSError("disk is gone")
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(Exception, match="disk is gone"):
        export(model, folder, FaultyTarget(model), "float32")
    assert (folder / CERTIFICATE).read_bytes() == before


def test_other_files_are_not_touched(model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match="There is something else where the export should go"):
        export(model, tmp_path, OnnxTarget(), "float32")
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_the_target_lacks_is_refused_before_anything_is_written(
    colours_csv: Path, tmp_path: Path
) -> None:
    settings = [*SMALL, "encoder.kind=conv"]
    run = train(colours_csv, read_recipe("tiny", settings), tmp_path / "run").folder
    with pytest.raises(ExportError, match=r"no convolution(.|\n)*encoder.kind=gru"):
        export(run, tmp_path / "export", CTarget(), "float32")
    assert sorted(each.name for each in tmp_path.iterdir() if each != colours_csv) == ["run"]


def test_a_file_without_its_run(model: Path, tmp_path: Path) -> None:
    shutil.copy(model / "model.grunlock", tmp_path / "alone.grunlock")
    with pytest.raises(ExportError, match=r"no run(.|\n)*grunlock train"):
        export(tmp_path / "alone.grunlock", tmp_path / "export", OnnxTarget(), "float32")


def test_texts_that_were_in_memory_must_be_named(colours_csv: Path, tmp_path: Path) -> None:
    rows = colour_rows(60)
    source = InMemory([text for _, text in rows], [label for label, _ in rows], "rows")
    run = train(source, read_recipe("tiny", SMALL), tmp_path / "run").folder
    with pytest.raises(ExportError, match=r"in memory(.|\n)*--data FILE"):
        validation_examples(run)
    path = tmp_path / "rows.csv"
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    assert len(validation_examples(run, str(path)).inputs) > 0
    changed = [(label, text.replace("house", "flat")) for label, text in rows]  # the same labels
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in changed))
    with pytest.raises(ExportError, match="not those that the run was trained on"):
        validation_examples(run, str(path))


def test_the_command(model: Path, tmp_path: Path, grunlock: CommandLine) -> None:
    done = grunlock("export", model, "--to", "onnx", "-o", tmp_path / "export")
    assert done.code == 0
    assert "agree on 100.00%" in done.out
    assert (tmp_path / "export" / "predict.py").is_file()
    refused = grunlock("export", model, "--to", "onnx", "--max-steps", 5, "-o", tmp_path / "other")
    assert refused.code == 1
    assert "This target has no such option." in refused.err
    assert "--to c" in refused.err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("name", "meant"), [("onxx", "onnx"), ("tflite", "c"), ("basic", None)])
def test_a_target_that_there_is_not(
    name: str, meant: str | None, model: Path, tmp_path: Path, grunlock: CommandLine
) -> None:
    refused = grunlock("export", model, "--to", name, "-o", tmp_path / "export")
    assert refused.code == 1
    assert "There is no such target." in refused.err
    assert "onnx, c" in refused.err
    assert ("did you mean" in refused.err) == (meant is not None)
    assert meant is None or f"did you mean --to {meant}?" in refused.err
    assert not (tmp_path / "export").exists()


def test_a_budget(model: Path, tmp_path: Path, grunlock: CommandLine) -> None:
    """The cure is what it says; a refused export leaves nothing."""
    folder = tmp_path / "made" / "export"
    sizes = ["--max-flash", "40KB", "--max-ram", "7KB"]
    refused = grunlock("export", model, "--to", "c", *sizes, "-o", folder)
    assert refused.code == 1
    assert "larger than the budget" in refused.err
    assert "at most 40,000 bytes of constants, 7,000 bytes of state" in refused.err
    assert [*(tmp_path / "made").iterdir()] == []
    told = re.search(r"cure: +(--.+) makes it ([\d,]+) bytes of constants and ([\d,]+) of state", refused.err)
    assert told is not None
    options = [*sizes, *told[1].split(), "--prefix", "mine"]
    done = grunlock("export", model, "--to", "c", *options, "-o", folder)
    assert done.code == 0
    assert (folder / "mine_model.h").is_file()
    page = (folder / "README.md").read_text()
    flash, ram = (int(size.replace(",", "")) for size in told.groups()[1:])
    assert f"| {flash} |" in page
    assert f"| {ram} |" in page


def test_no_size(model: Path, tmp_path: Path, grunlock: CommandLine) -> None:
    refused = grunlock("export", model, "--to", "c", "--max-ram", "small", "-o", tmp_path / "export")
    assert refused.code == 1
    assert "Not a size" in refused.err
    for option in (["--max-flash", "1MB"], ["--max-ram", "1MB"], ["--no-peek"], ["--prefix", "a"]):
        refused = grunlock("export", model, "--to", "onnx", *option, "-o", tmp_path / "export")
        assert "This target has no such option." in refused.err
        assert option[0] in refused.err


def test_a_validation_file_that_was_apart_and_moved(colours_csv: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart.csv"
    apart.write_text(
        "label,text\n" + "".join(f"{label},{text}\n" for label, text in colour_rows(20, offset=90))
    )
    run = train(colours_csv, read_recipe("tiny", SMALL), tmp_path / "run", valid=apart).folder
    expected = validation_examples(run).inputs
    moved = apart.rename(tmp_path / "moved.csv")
    data = colours_csv.rename(tmp_path / "data.csv")
    assert validation_examples(run, str(data), str(moved)).inputs == expected
    with pytest.raises(ExportError, match=r"not those(.|\n)*--valid FILE"):
        validation_examples(run, str(data), str(data))
