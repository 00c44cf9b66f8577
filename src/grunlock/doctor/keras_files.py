"""A .keras file as its layers: their settings, which read which, and their weights. Keras is not needed.

What is inside is checked before it is read: names, sizes, JSON, and the shapes that HDF5 claims.
"""

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.doctor.torch_files import MOST_BYTES
from grunlock.errors import DoctorError
from grunlock.shapes import FloatArray

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MOST_CONFIG_BYTES = 64 * 2**20
MOST_ARRAYS = 10_000
SAVE_AGAIN = "model.save('model.keras') where it was trained, with Keras 3"
MODELS = ("Sequential", "Functional")


@dataclass(frozen=True)
class KerasLayer:
    """kind: Keras's class name. inputs: names of the layers it reads. weights: as Keras stores them, by the
    part of the layer ("", "forward_layer", "backward_layer")."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]
    weights: Mapping[str, tuple[FloatArray, ...]]
    masked_call: bool = False  # a mask was handed over in the call
    stored_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class KerasModel:
    """layers: in the order of the file, inputs first. output: the layer whose output is the model's."""

    where: str
    layers: tuple[KerasLayer, ...]
    output: str
    version: str


def read_keras(path: Path) -> KerasModel:
    """Raises DoctorError for damaged, hostile or unknown files."""
    config, metadata, weights, assets = _members(path)
    kind, inner = config.get("class_name"), config.get("config")
    if kind not in MODELS or not isinstance(inner, dict) or not isinstance(inner.get("layers"), list):
        raise DoctorError(
            "This Keras model is no chain of layers.",
            where=f"{path}, {CONFIG}",
            got=f"class {kind!r}",
            expected=" or ".join(MODELS),
            cure="export it to ONNX: model.export('model.onnx', format='onnx')",
        )
    try:
        wired = _wired(inner, kind == "Sequential")
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise _not_keras(path, f"{type(error).__name__}: {error}") from error
    stored = _stored_weights(path, weights)
    layers = tuple(_with_weights(path, layer, wired, stored, assets) for layer in wired)
    return KerasModel(
        str(path), layers, _output(inner, layers), str(metadata.get("keras_version", "unknown"))
    )


def _members(path: Path) -> tuple[dict[str, Any], dict[str, Any], bytes, dict[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            for name, most in ((CONFIG, MOST_CONFIG_BYTES), (WEIGHTS, MOST_BYTES)):
                if name not in sizes:
                    raise _not_keras(path, f"no {name} among {', '.join(list(sizes)[:6]) or 'its members'}")
                if sizes[name] > most:
                    raise _not_keras(path, f"{name} claims {sizes[name]:,} bytes")
            config, weights = json.loads(archive.read(CONFIG)), archive.read(WEIGHTS)
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in sizes else {}
            assets = {
                name: archive.read(name)
                for name, size in sizes.items()
                if name.endswith("vocabulary.txt") and size < MOST_CONFIG_BYTES
            }
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        RecursionError,
        NotImplementedError,
    ) as error:
        raise _not_keras(path, str(error)) from error
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        raise _not_keras(path, f"{CONFIG} holds no model")
    return config, metadata, weights, assets


def _not_keras(path: Path, got: str) -> DoctorError:
    return DoctorError(
        "The file is damaged, or no model of Keras 3.",
        where=path,
        got=got,
        expected=f"a zip with {CONFIG} and {WEIGHTS}",
        cure=SAVE_AGAIN,
    )


def _wired(inner: Mapping[str, Any], chained: bool) -> tuple[KerasLayer, ...]:
    """Layers without weights. Of a Sequential each reads the one before."""
    found: list[KerasLayer] = []
    for each in inner["layers"]:
        settings = dict(each["config"])
        name = str(each.get("name") or settings["name"])
        nodes = each.get("inbound_nodes", [])
        inputs = tuple(_histories(nodes)) if not chained else tuple(layer.name for layer in found[-1:])
        masked = bool(nodes) and any("__keras_tensor__" in json.dumps(n.get("kwargs", {})) for n in nodes)
        found.append(KerasLayer(name, str(each["class_name"]), settings, inputs, {}, masked))
    return tuple(found)


def _histories(nodes: Any) -> list[str]:
    """Names of the layers whose tensors stand among the positional arguments."""
    if isinstance(nodes, dict):
        if nodes.get("class_name") == "__keras_tensor__":
            return [str(nodes["config"]["keras_history"][0])]
        return _histories(nodes.get("args", []))
    return [name for each in nodes for name in _histories(each)] if isinstance(nodes, list) else []


def _output(inner: Mapping[str, Any], layers: tuple[KerasLayer, ...]) -> str:
    stated = inner.get("output_layers")
    while isinstance(stated, list) and stated:
        stated = stated[0]
    return stated if isinstance(stated, str) else layers[-1].name


def _stored_weights(path: Path, content: bytes) -> dict[str, tuple[str, FloatArray]]:
    """Arrays by their path in the file, each with the name of the layer that it says it belongs to."""
    import h5py

    found: dict[str, tuple[str, FloatArray]] = {}

    def keep(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if len(found) >= MOST_ARRAYS or item.nbytes > 200 * len(content) or item.nbytes > MOST_BYTES:
            raise ValueError(f"{name} claims {item.nbytes:,} bytes in a file of {len(content):,}")
        if item.dtype.kind != "f":
            return
        if item.external or item.is_virtual:
            raise ValueError(f"{name} is stored outside of the file")
        owner = item.parent.attrs.get("name", "")
        found[name] = str(owner), np.asarray(item[()], np.float32)

    try:
        with h5py.File(BytesIO(content), "r") as file:
            file.visititems(keep)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, MemoryError) as error:
        raise DoctorError(
            "The weights in the Keras file are damaged.",
            where=f"{path}, {WEIGHTS}",
            got=str(error)[:300],
            expected="a complete HDF5 file",
            cure=SAVE_AGAIN,
        ) from error
    return found


def _with_weights(
    path: Path,
    layer: KerasLayer,
    layers: tuple[KerasLayer, ...],
    stored: Mapping[str, tuple[str, FloatArray]],
    assets: Mapping[str, bytes],
) -> KerasLayer:
    """Its arrays. A file keeps them under the class's name and a number, and says the layer's name beside."""
    folder = _folder(layer, layers)
    weights: dict[str, list[tuple[int, FloatArray]]] = {}
    for name, (_, array) in stored.items():
        match = re.fullmatch(
            rf"(?:_layer_checkpoint_dependencies|layers)/{re.escape(folder)}/(.*/)?vars/(\d+)", name
        )
        if match is not None:
            part = (match[1] or "").removesuffix("/").removesuffix("cell").removesuffix("/")
            weights.setdefault(part, []).append((int(match[2]), array))
    ordered = {part: tuple(a for _, a in sorted(each, key=lambda x: x[0])) for part, each in weights.items()}
    words = next((text for name, text in assets.items() if f"/{folder}/" in f"/{name}"), b"")
    return KerasLayer(
        layer.name,
        layer.kind,
        layer.settings,
        layer.inputs,
        ordered,
        layer.masked_call,
        tuple(words.decode("utf-8", "replace").split("\n")) if words else (),
    )


def _folder(layer: KerasLayer, layers: tuple[KerasLayer, ...]) -> str:
    """Such as gru_1 for the second GRU, whatever its name."""
    plain = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", layer.kind)).lower()
    same = [each.name for each in layers if each.kind == layer.kind]
    place = same.index(layer.name)
    return plain if place == 0 else f"{plain}_{place}"
