"""Files of torch and safetensors as named arrays. No code in them is ever run."""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from grunlock.errors import DoctorError
from grunlock.shapes import FloatArray

MOST_BYTES = 8 * 2**30
MOST_DEPTH = 4  # of dictionaries inside one another
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights", "module")  # by who saves them
SAVE_WEIGHTS = "torch.save(model.state_dict(), 'weights.pt') where the model was trained"


def read_torch_file(path: Path) -> tuple[dict[str, FloatArray], str | None]:
    """Arrays by name as float32, and the type of those that were rounder (float16, bfloat16), if any.

    Of a checkpoint its dictionary of weights, of Lightning's "state_dict". Raises DoctorError for anything
    else, pickled modules included: they are programs.
    """
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DoctorError(
            "The file holds more than weights: reading it would run code.",
            where=path,
            got=str(error).split("\n")[0][:300],
            expected="a state dict of tensors",
            cure=f"{SAVE_WEIGHTS}, or export the model to ONNX",
        ) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        UnicodeDecodeError,
        OSError,
    ) as error:
        raise damaged(path, error, "a file written by torch.save", SAVE_WEIGHTS) from error
    tensors = {name: each for name, each in _tensors(stored, path) if isinstance(each, torch.Tensor)}
    if not tensors:
        raise DoctorError(
            "There are no weights in this file.",
            where=path,
            got=type(stored).__name__,
            expected="a dictionary from name to tensor",
            cure=SAVE_WEIGHTS,
        )
    _check_sizes(path, {name: _claimed_bytes(each) for name, each in tensors.items()})
    narrow = {str(each.dtype).removeprefix("torch.") for each in tensors.values() if each.dtype.itemsize == 2}
    arrays = {
        name: each.detach().to_dense().float().numpy()
        for name, each in tensors.items()
        if each.is_floating_point() and not each.is_quantized
    }
    return arrays, min(narrow, default=None)


def read_safetensors(path: Path) -> tuple[dict[str, FloatArray], str | None]:
    """See read_torch_file."""
    from safetensors import SafetensorError, safe_open

    arrays, narrow = {}, None
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(name)
                narrow = str(tensor.dtype).removeprefix("torch.") if tensor.dtype.itemsize == 2 else narrow
                arrays[name] = tensor.float().numpy()
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error, "a complete safetensors file", "copy it again") from error
    return arrays, narrow


def damaged(path: Path, error: object, expected: str, cure: str) -> DoctorError:
    return DoctorError(
        "The file is damaged, or not of the kind that its name says.",
        where=path,
        got=str(error).split("\n")[0][:300] or type(error).__name__,
        expected=expected,
        cure=cure,
    )


def _tensors(stored: Any, path: Path, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The dictionary of weights, wherever a checkpoint keeps it."""
    if not isinstance(stored, Mapping) or depth > MOST_DEPTH:
        return
    for wrapper in WRAPPERS:
        if isinstance(stored.get(wrapper), Mapping):
            yield from _tensors(stored[wrapper], path, depth + 1)
            return
    for name, value in stored.items():
        if isinstance(name, str):
            yield name, value


def _claimed_bytes(tensor: Any) -> tuple[int, int]:
    """What its shape says and what its storage holds."""
    if tensor.layout.__str__() != "torch.strided":
        return 0, 0
    return tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()


def _check_sizes(path: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    for name, (claimed, there) in sizes.items():
        if claimed > there or claimed > MOST_BYTES:
            raise DoctorError(
                "A tensor claims to be larger than what is stored.",
                where=f"{path}, {name}",
                got=f"{claimed:,} bytes by its shape",
                expected=f"at most the {there:,} bytes that are there",
                cure=SAVE_WEIGHTS,
            )
