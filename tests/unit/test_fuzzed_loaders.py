"""The first cases of scripts/fuzz_loaders.sh, and what it has found."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grunlock import artifact as artifacts
from grunlock.artifact import Artifact
from grunlock.artifact.format import MANIFEST, RECIPE
from grunlock.data import npz_files
from grunlock.data.npz_files import check_npz
from grunlock.data.prepared import open_prepared
from grunlock.errors import ArtifactError, DataError, RecipeError, RunError
from grunlock.recipe import read_recipe
from grunlock.runtime.probabilities import LARGEST_LOGIT, sound
from grunlock.training.checkpoint import read_checkpoint
from tests.fuzz.draw import Seeded
from tests.fuzz.loaders import run_case
from tests.fuzz.model_files import sealed
from tests.fuzz.mutations import DEEP
from tests.fuzz.seeds import write_seeds
from tests.fuzz.targets import TARGETS

TRUNCATION = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
CASES = {"model_file": 150, "resumed_run": 3}
CASES_OF_OTHERS = 25


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    write_seeds(folder)
    return folder


@pytest.mark.parametrize("name", TARGETS)
def test_wrong_files_are_refused_or_answer(seeds: Path, name: str) -> None:
    for number in range(CASES.get(name, CASES_OF_OTHERS)):
        try:
            run_case(TARGETS[name], Seeded(number), seeds)
        except Exception as error:
            pytest.fail(f"case {number}: {type(error).__name__}: {error}")


@pytest.fixture
def path(artifact: Artifact, tmp_path: Path) -> Path:
    path = tmp_path / "model.grunlock"
    artifacts.save(artifact, path)
    return path


def resealed(path: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """With one member changed, under checksums that are right."""
    with zipfile.ZipFile(path) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    members[name] = change(members[name])
    path.write_bytes(sealed(members, zipfile.ZIP_STORED))
    return path


def changed_field(*keys: str, value: Any) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        root = place = json.loads(content)
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return json.dumps(root).encode()

    return change


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder.layers.0.weight_ih_l0", np.zeros((9, 40), np.float32), r"\[9, 40\].*(.|\n)*\[9, 4\]"),
        ("encoder.layers.0.weight_hh_l0", np.zeros((9, 3), np.float64), r"float64(.|\n)*float32"),
        ("head.weight", np.full((3, 3), np.nan, np.float32), r"no number(.|\n)*train again"),
        ("encoder.layers.0.bias_hh_l0", None, r"bias_hh_l0"),
    ],
)
def test_weights_that_compiled_code_must_not_see(
    artifact: Artifact, path: Path, name: str, value: Any, message: str
) -> None:
    """The first of them made a prediction read beyond the end of its weights."""
    weights = {**artifact.weights, name: value}
    if value is None:
        del weights[name]
    artifacts.save(replace(artifact, weights=weights), path)
    with pytest.raises(ArtifactError, match=message):
        artifacts.load(path)


@pytest.mark.parametrize(
    ("member", "change"),
    [
        (MANIFEST, changed_field("derived", "facts", "num_classes", value=4)),
        (MANIFEST, changed_field("derived", "facts", "inputs", "vocab_size", value=3)),
        ("labels.json", lambda _: b'"abc"'),
        ("labels.json", lambda _: b'["a", "a", "b"]'),
        ("calibration.json", changed_field("temperature", value=0.0)),
        ("calibration.json", changed_field("temperature", value=10**400)),
        ("metrics.json", lambda _: b"[" * DEEP),
        (RECIPE, lambda _: b"a = " + b"[" * DEEP),
        (RECIPE, lambda content: content + b"#" * 2**17),
        ("tokenizer.json", changed_field("normalizer", value=None)),
        ("tokenizer.json", changed_field("truncation", value=TRUNCATION)),
        ("tokenizer.json", changed_field("model", "vocab", "[empty]", value=500)),
        ("tokenizer.json", changed_field("model", "unk_token", value="[none]")),
    ],
)
def test_members_that_say_what_cannot_be(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ArtifactError):
        artifacts.load(resealed(path, member, change))


def test_a_long_word_does_not_take_the_square_of_its_letters() -> None:
    with pytest.raises(RecipeError, match="less than or equal to 64"):
        read_recipe("tiny", ["embedding.ngrams={buckets=9, max_length=99999}"])


def test_an_answer_that_is_no_number_is_none() -> None:
    logits = np.array([[1.0, -2.0]], np.float32)
    assert sound(logits) is logits
    for wrong in (np.nan, np.inf, 2 * LARGEST_LOGIT):
        with pytest.raises(ArtifactError, match=r"no finite answer(.|\n)*train again"):
            sound(np.array([[0, wrong]], np.float32))
    with pytest.raises(DataError, match="check the unit"):
        sound(np.array([[0, np.nan]], np.float32), of_series=True)


def test_arrays_that_claim_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, file = tmp_path / "a.npz", io.BytesIO()
    np.save(file, np.zeros(2, np.float32))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vectors.npy", file.getvalue().replace(b"(2,), }", b"(9999999999,), }"))
    with pytest.raises(ValueError, match="by its header"):
        check_npz(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(bytes(2**24))
    monkeypatch.setattr(npz_files, "ALWAYS_ALLOWED_BYTES", 2**20)
    with pytest.raises(ValueError, match="bytes of arrays in a file of"):
        check_npz(path)


@pytest.mark.parametrize(
    ("name", "dtype", "place", "value"),
    [
        ("train/offsets", "<i8", 3, 10**6),
        ("train/offsets", "<i8", 0, 1),
        ("train/tokens", "<i4", 2, 10**6),
        ("valid/targets", "<i4", 0, 3),
    ],
)
def test_prepared_data_names_what_is_there(
    seeds: Path, tmp_path: Path, name: str, dtype: str, place: int, value: int
) -> None:
    folder = tmp_path / "data"
    for source in (seeds / "run" / "data").rglob("*"):
        if source.is_file():
            copy = folder / source.relative_to(seeds / "run" / "data")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    assert open_prepared(folder).train.num_examples > 0
    values = np.fromfile(folder / name, dtype)
    values[place] = value
    values.tofile(folder / name)
    with pytest.raises(DataError, match=r"missing or damaged(.|\n)*prepare it again"):
        open_prepared(folder)


@pytest.mark.parametrize("content", ["text", {"version": 4}, {"version": 4, "state": 1}])
def test_a_checkpoint_of_something_else(tmp_path: Path, content: object) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(RunError, match=r"checkpoint is damaged(.|\n)*delete it"):
        read_checkpoint(path)


def test_a_seal_is_right(path: Path) -> None:
    """Otherwise every case would end at a checksum."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    path.write_bytes(sealed(members, zipfile.ZIP_STORED))
    assert artifacts.load(path).labels
    stated = json.loads(zipfile.ZipFile(path).read(MANIFEST))["members"]["labels.json"]["sha256"]
    assert stated == hashlib.sha256(members["labels.json"]).hexdigest()
