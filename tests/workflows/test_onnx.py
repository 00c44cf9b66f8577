"""Trained models as ONNX graphs: float32 answers are the model's, int8 ones decide as it does."""

from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import read
from grunlock.export.onnx import OnnxModel, write_onnx
from grunlock.export.portable import portable
from grunlock.recipe import read_recipe
from grunlock.training.run import train
from tests.conftest import colour_rows
from tests.workflows.conftest import SMALL

UNSEEN = colour_rows(300, offset=1000)
LOST = 0.01  # accuracy, at most, that int8 may cost


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose n-grams know more than its network."""
    folder = tmp_path_factory.mktemp("wide")
    data = folder / "colours.csv"
    data.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in colour_rows(90)))
    settings = [*SMALL, "wide={training='apart', characters=true}", "training.refit=true"]
    return train(data, read_recipe("tiny", settings), folder / "run").folder


@pytest.mark.parametrize("run", ["model", "wide_model"])
def test_a_trained_model(run: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    artifact = read(request.getfixturevalue(run))
    texts, labels = [text for _, text in UNSEEN], [label for label, _ in UNSEEN]
    expected = artifact.classifier().predict_proba(texts)
    model = portable(artifact, run)
    plain = write_onnx(model, tmp_path / "float32", int8=False)
    small = write_onnx(model, tmp_path / "int8", int8=True)

    found = OnnxModel(plain.folder).probabilities(texts)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)

    rounded = OnnxModel(small.folder).probabilities(texts)
    accuracies = [
        (np.take(artifact.labels, each.argmax(axis=1)) == labels).mean() for each in (expected, rounded)
    ]
    assert accuracies[0] > 0.9
    assert accuracies[1] >= accuracies[0] - LOST
    assert np.abs(rounded - expected).max() < 0.02
    assert small.sizes["model.onnx"] < plain.sizes["model.onnx"]
