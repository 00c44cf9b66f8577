"""A torch module in memory: its parts, and itself as what answers experiments.

What forward does is not read but tried: experiment.py runs the module and sees which of the known forms gives
the same numbers.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grunlock.doctor.foreign import Dropout, ForeignModel, Norm, Place
from grunlock.doctor.options import Told
from grunlock.doctor.torch_files import read_safetensors, read_torch_file
from grunlock.doctor.torch_states import StateDict, describe
from grunlock.errors import DoctorError
from grunlock.shapes import FloatArray, IntArray

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TorchModule:
    """See foreign.Original. takes_lengths: whether forward wants the lengths beside the ids."""

    module: "nn.Module"
    takes_lengths: bool
    runner: str = "torch"

    def outputs(self, ids: IntArray, lengths: IntArray) -> FloatArray:
        import torch

        given = [torch.from_numpy(np.ascontiguousarray(ids))]
        given += [torch.from_numpy(np.ascontiguousarray(lengths))] if self.takes_lengths else []
        was_training = self.module.training
        self.module.eval()
        try:
            with torch.inference_mode():
                found = self.module(*given)
        finally:
            self.module.train(was_training)
        found = found[0] if isinstance(found, tuple) else found
        result: FloatArray = found.float().cpu().numpy()
        return result


def describe_module(module: "nn.Module", told: Told) -> tuple[ForeignModel, TorchModule]:
    """Raises DoctorError if there is no nn.GRU in it."""
    arrays = {
        name: value.detach().float().cpu().numpy()
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    name = type(module).__name__
    model = describe(StateDict("torch module", f"module {name}", arrays), told)
    model = replace(
        model,
        embedding=_with_padding(module, model),
        norms=tuple(_with_eps(module, norm, arrays) for norm in model.norms),
        head=tuple(_with_activations(module, model)),
        dropouts=tuple(_dropouts(module, model)),
        facts={**model.facts, "batch_first": _batch_first(module)},
    )
    return model, TorchModule(module, _takes_lengths(module))


def module_of(told: Told, weights: Path) -> "nn.Module":
    """What told.factory makes, with the weights of the file. Runs the user's code, as he asked for."""
    import torch

    assert told.factory is not None
    module = _factory(told.factory)()
    if not isinstance(module, torch.nn.Module):
        raise DoctorError(
            "The factory gives no torch module.", where=f"--from {told.factory}", got=type(module).__name__
        )
    reader = read_safetensors if weights.suffix == ".safetensors" else read_torch_file
    arrays, _ = reader(weights)
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    prefix = _common_prefix(
        set(tensors), {n for n, v in module.state_dict().items() if v.is_floating_point()}
    )
    try:
        missing = module.load_state_dict(
            {n.removeprefix(prefix): v for n, v in tensors.items()}, strict=False
        )
    except RuntimeError as error:
        raise _misfit(told, weights, str(error).split("\n")[1].strip()) from error
    lacking = [n for n in missing.missing_keys if not n.endswith("num_batches_tracked")]
    if lacking or missing.unexpected_keys:
        raise _misfit(told, weights, f"missing {lacking[:4]}, unexpected {missing.unexpected_keys[:4]}")
    return module


def _misfit(told: Told, weights: Path, got: str) -> DoctorError:
    return DoctorError(
        "The weights do not fit the module that the factory makes.",
        where=f"{weights}, --from {told.factory}",
        got=got,
        cure="let the factory make the module with the sizes it was trained with",
    )


def _factory(spec: str) -> Callable[[], Any]:
    module, _, name = spec.partition(":")
    if not module or not name:
        raise DoctorError(
            "This names no factory.", where="--from", got=spec, expected="package.module:function"
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise DoctorError(
            "The factory cannot be found.",
            where=f"--from {spec}",
            got=error,
            cure="run grunlock in the folder from which `import` finds it",
        ) from error
    return found


def _common_prefix(stored: set[str], wanted: set[str]) -> str:
    """Such as "model.", which Lightning puts before every name."""
    if stored == wanted:
        return ""
    for name in sorted(stored):
        for target in wanted:
            if name.endswith("." + target):
                prefix = name.removesuffix(target)
                if {each.removeprefix(prefix) for each in stored} == wanted:
                    return prefix
    return ""


def _named(module: "nn.Module", kind: Any) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_modules():
        if isinstance(part, kind):
            yield name, part


def _takes_lengths(module: "nn.Module") -> bool:
    parameters = list(inspect.signature(module.forward).parameters.values())
    return (
        sum(
            p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            for p in parameters
        )
        > 1
    )


def _batch_first(module: "nn.Module") -> bool:
    from torch import nn

    return all(gru.batch_first for _, gru in _named(module, nn.GRU))


def _with_padding(module: "nn.Module", model: ForeignModel) -> Any:
    from torch import nn

    if model.embedding is None:
        return None
    table = dict(_named(module, nn.Embedding)).get(model.embedding.name.removesuffix(".weight"))
    return replace(model.embedding, padding_id=None if table is None else table.padding_idx)


def _with_eps(module: "nn.Module", norm: Norm, arrays: dict[str, FloatArray]) -> Norm:
    part = dict(module.named_modules())[norm.name]
    variance, mean = arrays[f"{norm.name}.running_var"], arrays[f"{norm.name}.running_mean"]
    gain = arrays.get(f"{norm.name}.weight", np.ones_like(variance)) / np.sqrt(
        variance + np.float32(part.eps)
    )
    shift = arrays.get(f"{norm.name}.bias", np.zeros_like(variance)) - mean * gain
    return replace(norm, gain=gain, shift=shift)


ACTIVATIONS = {"ReLU": "relu", "Tanh": "tanh", "Identity": "linear"}


def _with_activations(module: "nn.Module", model: ForeignModel) -> Iterator[Any]:
    """Of linear layers what is defined between them, in the order of definition."""
    names = [name for name, _ in module.named_modules()]
    parts = dict(module.named_modules())
    for i, dense in enumerate(model.head):
        if i == len(model.head) - 1:
            yield dense
            continue
        between = names[names.index(dense.name) + 1 : names.index(model.head[i + 1].name)]
        kinds = [type(parts[name]).__name__ for name in between]
        acting = [kind for kind in kinds if kind not in ("Dropout", "Sequential")]
        found = "unknown" if len(acting) != 1 else ACTIVATIONS.get(acting[0], acting[0])
        yield replace(dense, activation=found)


def _dropouts(module: "nn.Module", model: ForeignModel) -> Iterator[Dropout]:
    from torch import nn

    for name, gru in _named(module, nn.GRU):
        if gru.dropout:
            yield Dropout(
                f"{name or 'gru'} (dropout={gru.dropout:g})", gru.dropout, "recurrent", gru.num_layers > 1
            )
    for parent_name, parent in _named(module, nn.Sequential):
        seen_last = False
        for name, part in parent.named_children():
            path = f"{parent_name}.{name}" if parent_name else name
            seen_last = seen_last or bool(model.head and path == model.head[-1].name)
            if isinstance(part, nn.Dropout):
                place: Place = "logits" if seen_last else "hidden"
                yield Dropout(path, part.p, place, part.p > 0)
    in_sequence = {
        f"{p}.{n}" if p else n for p, s in _named(module, nn.Sequential) for n, _ in s.named_children()
    }
    for name, part in _named(module, nn.Dropout):
        if name not in in_sequence:
            yield Dropout(name, part.p, "hidden", part.p > 0)
