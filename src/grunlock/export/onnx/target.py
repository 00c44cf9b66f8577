"""ONNX Runtime as a target of `grunlock export`."""

from dataclasses import dataclass
from pathlib import Path

from grunlock.export.onnx.model import OnnxModel
from grunlock.export.onnx.write import write_onnx
from grunlock.export.portable import PortableModel


@dataclass(frozen=True)
class OnnxTarget:
    """int8: of the matrices in the file; see write_onnx."""

    int8: bool = False
    name: str = "onnx"

    def write(self, model: PortableModel, folder: Path) -> OnnxModel:
        write_onnx(model, folder, int8=self.int8)
        return OnnxModel(folder)
