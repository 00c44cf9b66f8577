"""The artifact: equal bytes for equal contents, and every kind of damage or attack refused in words."""

import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock import artifact as artifacts
from grunlock.artifact import Artifact
from grunlock.artifact.format import MANIFEST, MAX_DEFLATED_BYTES, RECIPE, REST
from grunlock.data.sources import InMemory
from grunlock.errors import ArtifactError, DataError, StorageError
from grunlock.recipe import read_recipe
from grunlock.training.run import train
from grunlock.training.wide_path import with_silent_path
from tests.conftest import colour_rows

MEMBERS = (RECIPE, "tokenizer.json", *REST)

TEXTS = ["the red house", "green", "unseen words only"]


@pytest.fixture
def path(artifact: Artifact, tmp_path: Path) -> Path:
    path = tmp_path / "model.grunlock"
    artifacts.save(artifact, path)
    return path


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], compression: int = 0) -> Path:
    """A copy of the zip with its members changed, manifest hashes left as they were."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    other = path.with_name("other.grunlock")
    with zipfile.ZipFile(other, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return other


def test_round_trip_gives_the_same_predictions(artifact: Artifact, path: Path) -> None:
    expected = artifact.classifier().predict_proba(TEXTS)
    np.testing.assert_array_equal(artifacts.load(path).predict_proba(TEXTS), expected)
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-6)


def test_equal_contents_make_equal_bytes(artifact: Artifact, path: Path) -> None:
    again = path.with_name("again.grunlock")
    sha256 = artifacts.save(artifacts.read(path), again)
    assert again.read_bytes() == path.read_bytes()
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_members_are_those_of_the_specification(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [MANIFEST, *MEMBERS]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        assert "trained on 12 texts" in archive.read("card.md").decode()


@pytest.mark.parametrize("name", MEMBERS)
def test_an_altered_member_is_refused(path: Path, name: str) -> None:
    def flip_last_byte(members: dict[str, bytes]) -> None:
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])

    with pytest.raises(ArtifactError, match=rf"altered after it was written(.|\n)*{name}(.|\n)*train again"):
        artifacts.load(rewritten(path, flip_last_byte))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match=r"damaged or not a model(.|\n)*copy it again"):
        artifacts.load(path)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "extra.txt"])
def test_foreign_and_traversing_members_are_refused(path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"wrong members") as error:
        artifacts.load(rewritten(path, lambda members: members.update({name: b"x"})))
    assert name in str(error.value)


def test_a_missing_member_is_refused(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"wrong members(.|\n)*labels.json"):
        artifacts.load(rewritten(path, lambda members: members.pop("labels.json")))


def test_a_compression_bomb_is_refused_unread(path: Path) -> None:
    def blow_up(members: dict[str, bytes]) -> None:
        members["weights.safetensors"] = bytes(MAX_DEFLATED_BYTES + 1)

    bomb = rewritten(path, blow_up, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < MAX_DEFLATED_BYTES / 100
    with pytest.raises(ArtifactError, match=r"too large or compressed(.|\n)*expected: *at most"):
        artifacts.load(bomb)
    with pytest.raises(ArtifactError, match="compressed in an unknown way"):
        artifacts.load(rewritten(path, lambda members: None, zipfile.ZIP_BZIP2))


def test_an_unknown_version_is_refused(path: Path) -> None:
    def age(members: dict[str, bytes]) -> None:
        manifest = json.loads(members[MANIFEST])
        members[MANIFEST] = json.dumps({**manifest, "format_version": 99}).encode()

    with pytest.raises(
        ArtifactError, match=r"format_version 99(.|\n)*expected: *format_version 5(.|\n)*install"
    ):
        artifacts.load(rewritten(path, age))


@pytest.mark.parametrize("content", [b"[]", b"not json", b"{}"])
def test_a_foreign_manifest_is_refused(path: Path, content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"manifest"):
        artifacts.load(rewritten(path, lambda members: members.update({MANIFEST: content})))


def test_weights_that_do_not_fit_are_refused(artifact: Artifact, path: Path) -> None:
    weights = {**artifact.weights, "head.bias": np.zeros(7, np.float32)}
    wrong = Artifact(**{**vars(artifact), "weights": weights})
    artifacts.save(wrong, path)
    with pytest.raises(ArtifactError, match=r"head.bias(.|\n)*\[7\](.|\n)*\[3\]"):
        artifacts.load(path)


def test_no_file_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no model here"):
        artifacts.load(tmp_path / "nothing")


def test_a_full_disk_leaves_the_old_model(
    artifact: Artifact, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left(.|\n)*free some space"):
        artifacts.save(artifact, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_model(
    artifact: Artifact, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        artifacts.save(artifact, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_empty_and_foreign_texts_are_refused(path: Path) -> None:
    model = artifacts.load(path)
    with pytest.raises(DataError, match=r"1 of 2 texts are empty(.|\n)*texts at 1(.|\n)*empty_texts=keep"):
        model.predict_proba(["red", "  "])
    with pytest.raises(DataError, match=r"not a list(.|\n)*pass \[text\]"):
        model.predict_proba("red")
    with pytest.raises(DataError, match=r"texts\[1\](.|\n)*NoneType"):
        model.predict_proba(["red", None])  # type: ignore[list-item]
    assert model.predict_proba([]).shape == (0, 3)


def test_predictions_do_not_depend_on_the_company(path: Path) -> None:
    model = artifacts.load(path)
    many = [f"{text} {i}" for i in range(40) for text in TEXTS]
    alone = np.concatenate([model.predict_proba([text]) for text in many])
    np.testing.assert_allclose(model.predict_proba(many), alone, atol=1e-6)


def test_a_file_of_version_3_counts_characters_in_the_embeddings_buckets(tmp_path: Path) -> None:
    """As it was when that file was written."""
    rows = [(label, text) for label, text in colour_rows(40)]
    data = InMemory([text for _, text in rows], [label for label, _ in rows], "rows")
    settings = ["embedding.ngrams.buckets=50", 'wide={buckets=64, characters=true, training="apart"}']
    done = train(data, read_recipe("tiny", [*settings, "training.epochs=1"]), tmp_path / "run")

    def age(members: dict[str, bytes]) -> None:
        manifest = json.loads(members[MANIFEST])
        members[MANIFEST] = json.dumps({**manifest, "format_version": 3}).encode()

    old = artifacts.read(rewritten(done.folder / "model.grunlock", age))
    assert old.front_end.ngrams.buckets == 50  # type: ignore[union-attr]
    assert done.artifact.front_end.ngrams.buckets > 2**30  # type: ignore[union-attr]
    network = [
        np.asarray(replace(each, weights=without_path(each)).classifier().logits(TEXTS))
        for each in (old, done.artifact)
    ]
    np.testing.assert_allclose(*network, rtol=1e-5, atol=1e-6)


def without_path(artifact: Artifact) -> dict[str, np.ndarray]:
    return with_silent_path(artifact.recipe, artifact.weights, len(artifact.labels))
