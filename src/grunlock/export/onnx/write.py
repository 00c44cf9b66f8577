"""A folder that answers without this library: a graph for ONNX Runtime, and a script that feeds it."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from grunlock.errors import MissingDependencyError
from grunlock.export.onnx.front_end import FACTS, TOKENIZER, WIDE_ROWS, front_end_files
from grunlock.export.portable import PortableModel
from grunlock.files import storage_guard, write_atomically

GRAPH, LABELS, SCRIPT = "model.onnx", "labels.json", "predict.py"
NAMES = (GRAPH, LABELS, TOKENIZER, FACTS, WIDE_ROWS, SCRIPT)  # all that an export may consist of


@dataclass(frozen=True)
class OnnxExport:
    """What was written. sizes: bytes of each file, by its name in the folder."""

    folder: Path
    sizes: dict[str, int]

    @property
    def size_bytes(self) -> int:
        """Of everything that answering needs: the script and its data too."""
        return sum(self.sizes.values())


def write_onnx(model: PortableModel, folder: Path, *, int8: bool) -> OnnxExport:
    """Write model.onnx, labels.json, predict.py and what the script reads into a folder.

    int8: store matrices as int8 with a scale for each row. This makes files about four times smaller, not
    answers faster: ONNX Runtime has no int8 GRU, so weights are float32 again when the graph is loaded.
    Only tables stay int8 in memory, of which the rows that a text reads are converted.

    An export that stood in the folder is replaced; other files are left.

    Raises ExportError before anything is written for a model that is too large, MissingDependencyError
    without the onnx package, StorageError where the folder cannot be written.
    """
    contents = {
        GRAPH: _graph(model, int8=int8),
        LABELS: (json.dumps(list(model.labels), ensure_ascii=False) + "\n").encode(),
        **front_end_files(model),
        SCRIPT: resources.files(__package__).joinpath(f"predict_{model.kind}.py").read_bytes(),
    }
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in set(NAMES) - set(contents):
            (folder / name).unlink(missing_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return OnnxExport(folder, {name: len(content) for name, content in contents.items()})


def _graph(model: PortableModel, *, int8: bool) -> bytes:
    try:
        from grunlock.export.onnx.network import build_network
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingDependencyError(
            "Writing ONNX files needs the onnx package.",
            got="onnx is not installed",
            cure='pip install "grunlock[export]"',
        ) from error
    content: bytes = build_network(model, int8=int8).SerializeToString()
    return content
