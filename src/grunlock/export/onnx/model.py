"""An exported folder as its users run it: by the script in it, on ONNX Runtime."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from grunlock.errors import ExportError, MissingDependencyError
from grunlock.export.onnx.write import NAMES, SCRIPT
from grunlock.shapes import FloatArray


class OnnxModel:
    """Answers of a folder that write_onnx made.

    Runs the folder's predict.py, which is code: give it only folders that you trust.

    Raises ExportError for a folder without the script, MissingDependencyError without onnxruntime.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._classifier = _script(folder / SCRIPT).Classifier(folder)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._classifier.labels)

    @property
    def size_bytes(self) -> int:
        """Of the export's files, the script and its data included."""
        return sum((self.folder / name).stat().st_size for name in NAMES if (self.folder / name).exists())

    def probabilities(self, inputs: Sequence[str] | Sequence[FloatArray]) -> FloatArray:
        """[n, K] for texts, or for series [steps, C]. Raises ValueError for what the script refuses."""
        found: FloatArray = self._classifier.predict_proba(inputs)
        return found


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("grunlock_exported_predict", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ExportError(
            "There is no exported model here.",
            where=path.parent,
            got=f"no {SCRIPT}",
            expected="a folder that an ONNX export has written",
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Running an exported model needs a library that is not installed.",
            where=path,
            got=f"no module {error.name}",
            cure='pip install "grunlock[export]"',
        ) from error
    return module
