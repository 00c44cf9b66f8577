"""--from: a trained model goes on with new data, and labels may grow."""

from pathlib import Path

import numpy as np
import pytest

from grunlock.errors import RunError
from grunlock.recipe import override, read_recipe
from grunlock.training.run import train
from tests.conftest import colour_rows

SETTINGS = ["embedding.size=16", "encoder.hidden_size=16", "training.epochs=12", "batches.size=8"]


@pytest.fixture
def base(colours_csv: Path, tmp_path: Path) -> Path:
    return train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "base").folder


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    return path


def test_labels_may_grow(base: Path, tmp_path: Path) -> None:
    house = [("house", f"car looks quite today n{i}") for i in range(40)]
    new = write(tmp_path / "new.csv", colour_rows(60, offset=200) + house)
    recipe = override(read_recipe(base), ["training.epochs=8"])
    result = train(new, recipe, tmp_path / "continued", base=base)
    assert result.artifact.labels == ("blue", "green", "red", "house")
    predicted = result.artifact.classifier().predict(["the red car", "car looks quite today", "a blue house"])
    assert predicted == ["red", "house", "blue"]


def test_the_start_is_the_old_model(base: Path, tmp_path: Path) -> None:
    """With a vanishing learning rate the continued model still gives the old answers."""
    new = write(tmp_path / "new.csv", colour_rows(60, offset=200))
    settings = ["optim.lr=1e-12", "optim.weight_decay=0", "training.epochs=1", "calibration=off"]
    result = train(new, override(read_recipe(base), settings), tmp_path / "continued", base=base)
    from grunlock.artifact import read

    texts = [text for _, text in colour_rows(9)]
    old, new_model = read(base).classifier(), result.artifact.classifier()
    np.testing.assert_allclose(new_model.logits(texts), old.logits(texts), atol=1e-4)


def test_the_wide_path_grows_with_the_labels(colours_csv: Path, tmp_path: Path) -> None:
    """Its weights have a column for each label, where the head has a row."""
    recipe = read_recipe("tiny", [*SETTINGS, "wide.buckets=64", "training.epochs=2"])
    base = train(colours_csv, recipe, tmp_path / "base")
    new = write(tmp_path / "new.csv", [*colour_rows(40), *[("house", f"house {i}") for i in range(20)]])
    still = override(recipe, ["optim.lr=1e-12", "optim.weight_decay=0", "training.epochs=1"])
    result = train(new, still, tmp_path / "continued", base=base.folder)
    old, grown = (r.artifact.weights["wide.weights.weight"] for r in (base, result))
    assert old.shape == (64, 3)
    np.testing.assert_allclose(grown[:, :3], old, atol=1e-6)
    assert grown.shape == (64, 4)


def test_another_network_cannot_be_continued(base: Path, colours_csv: Path, tmp_path: Path) -> None:
    recipe = override(read_recipe(base), ["encoder.hidden_size=8"])
    with pytest.raises(RunError, match=r"same network(.|\n)*encoder(.|\n)*without --from"):
        train(colours_csv, recipe, tmp_path / "continued", base=base)
    assert not (tmp_path / "continued").exists()
