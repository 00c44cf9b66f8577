"""The file format of `model.grunlock`: members in, one verified zip out, and back.

    A zip in this order and none else, whose members are all stored or all deflated:

        manifest.json        format, format_version, library_version, data_fingerprint, derived,
                             storage of the weights (float32, int8), and for every other member its size
                             and sha256
        recipe.toml          the recipe, every option written out
        tokenizer.json       the Hugging Face tokenizers format; or, for numeric series,
        series.json          channels with mean, scale and indicators of missing values
        labels.json          list of class names; position = class index
        weights.safetensors  float32 tensors under the network's names, or what int8_storage.py makes of
                             them; of a wide path that learned apart
                             only the rows of n-grams that it knows, with their buckets as wide.rows and
                             their rarity as wide.rarity
        calibration.json     {"temperature": T}: probabilities are softmax(logits / T); of a model that can
                             answer before the end also "step_temperatures", see runtime/early.py; if there
                             was a calibration split also "guarantees", see runtime/guarantees.py
        metrics.json         evaluation on the validation split
        card.md              for people

Equal contents make equal bytes: no time, no host, no path goes in. This module knows bytes and
hashes, not what members mean; contents.py does.
"""

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grunlock.errors import ArtifactError
from grunlock.files import atomic_file

FORMAT = "grunlock"
# 1: texts only, no kind of data; 2: no storage, n-grams of a wide path without rarity; 3: a wide path's
# n-grams of characters in the embedding's buckets
FORMAT_VERSION = 5
READABLE = (2, 3, 4, FORMAT_VERSION)
MANIFEST = "manifest.json"
RECIPE = "recipe.toml"
FRONT_ENDS = ("tokenizer.json", "series.json")  # a model has one of them
REST = (
    "labels.json",
    "weights.safetensors",
    "calibration.json",
    "metrics.json",
    "card.md",
)
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_DEFLATED_BYTES = 64 * 2**20  # of a member once inflated: what is deflated is a small model
MAX_MEMBER_BYTES = 16 * 2**20  # of every other member, but for
MAX_BYTES = {
    "weights.safetensors": 8 * 2**30,
    "tokenizer.json": 256 * 2**20,
    RECIPE: 2**17,  # a parser of TOML may need the square of its bytes
}
# What zipfile raises for damaged and hostile files: RuntimeError where a member is encrypted.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
    KeyError,
)
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can state


def write_members(
    path: Path, members: Mapping[str, bytes], about: Mapping[str, Any], *, deflated: bool = False
) -> str:
    """Write atomically, in the order of the members. `about` joins the manifest. Returns the file's sha256.

    Raises StorageError if the disk refuses.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **about,
        "members": {
            name: {"bytes": len(members[name]), "sha256": hashlib.sha256(members[name]).hexdigest()}
            for name in members
        },
    }
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        how = {"compress_type": zipfile.ZIP_DEFLATED, "compresslevel": 9} if deflated else {}
        archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=2, sort_keys=True), **how)
        for name in members:
            archive.writestr(_entry(name), members[name], **how)
    with path.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def read_members(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Verified members and the manifest.

    Raises ArtifactError, before reading any content, for wrong names and absurd sizes; then for an
    unknown version and for every hash that does not match.
    """
    if not path.is_file():
        raise ArtifactError("There is no model here.", where=path, expected="a file model.grunlock")
    try:
        with zipfile.ZipFile(path) as archive:
            names = _check_directory(path, archive)
            manifest = _read_manifest(path, archive.read(MANIFEST))
            members = {name: archive.read(name) for name in names}
    except ArtifactError:
        raise
    except (*DAMAGED, OSError) as error:
        raise ArtifactError(
            "The model file is damaged or not a model.",
            where=path,
            got=error,
            expected="a complete zip written by grunlock",
            cure="copy it again from where it was made, or train again",
        ) from error
    for name, content in members.items():
        _check_member(path, name, content, manifest)
    return members, manifest


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, FIXED_TIME)
    entry.create_system = 3  # unix, whatever the machine
    entry.external_attr = 0o644 << 16
    return entry


def _check_directory(path: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    """The names of the members behind the manifest."""
    names = [entry.filename for entry in archive.infolist()]
    front_end = next((name for name in FRONT_ENDS if name in names), FRONT_ENDS[0])
    members = (RECIPE, front_end, *REST)
    if sorted(names) != sorted((MANIFEST, *members)):
        odd = sorted(set(names) ^ {MANIFEST, *members}) or names
        raise ArtifactError(
            "The model file has wrong members.", where=path, got=odd, expected=[MANIFEST, *members]
        )
    size = path.stat().st_size
    for entry in archive.infolist():
        limit = MAX_BYTES.get(entry.filename, MAX_MEMBER_BYTES)
        if entry.compress_type == zipfile.ZIP_STORED:
            limit = min(limit, entry.compress_size, size)  # what is read is made room for beforehand
        else:
            limit = min(limit, MAX_DEFLATED_BYTES)
        if entry.file_size > limit or entry.compress_type not in COMPRESSIONS:
            raise ArtifactError(
                "A member of the model file is too large or compressed in an unknown way.",
                where=f"{path}, {entry.filename}",
                got=f"{entry.file_size} bytes, compression {entry.compress_type}",
                expected=f"at most {limit} bytes, stored or deflated",
            )
    return members


def _read_manifest(path: Path, content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError("The manifest is not JSON.", where=f"{path}, {MANIFEST}", got=error) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError("This is not a grunlock model.", where=f"{path}, {MANIFEST}")
    if manifest.get("format_version") not in READABLE:
        raise ArtifactError(
            "The model file has a version this library does not know.",
            where=path,
            got=f"format_version {manifest.get('format_version')!r}, "
            f"written by grunlock {manifest.get('library_version')!r}",
            expected=f"format_version {FORMAT_VERSION}",
            cure="install the version of grunlock that wrote it",
        )
    if not isinstance(manifest.get("members"), dict):
        raise ArtifactError("The manifest lists no members.", where=f"{path}, {MANIFEST}")
    return manifest


def _check_member(path: Path, name: str, content: bytes, manifest: dict[str, Any]) -> None:
    stated = manifest["members"].get(name)
    found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if stated != found:
        raise ArtifactError(
            "A member of the model file was altered after it was written.",
            where=f"{path}, {name}",
            got=found,
            expected=stated,
            cure="copy it again from where it was made, or train again",
        )
