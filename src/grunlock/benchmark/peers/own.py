"""grunlock's own contenders. Uses what users may use: grunlock.layers.GRU and the torch-free runtime."""

import inspect
from typing import Any

import torch

from grunlock._version import __version__
from grunlock.benchmark.cases import Case, Contender
from grunlock.benchmark.peers.torch_modules import prepare_linear, prepare_module
from grunlock.benchmark.timing import Prepared, UnsupportedError
from grunlock.layers import GRU


def start(threads: int) -> dict[str, str]:
    torch.set_num_threads(threads)
    return {"grunlock": __version__, "torch": torch.__version__}


def prepare(case: Case, contender: Contender) -> Prepared:
    if contender.form == "latency":
        return latency_contender(case, contender)
    if contender.form.startswith("linear"):
        return _linear(case, contender)
    return prepare_module(_module(case, contender), case, packed=contender.form == "packed")


def latency_contender(case: Case, contender: Contender) -> Prepared:
    """One sequence through all layers, no gradients, on the fastest road there is for the precision.

    The road is layers.GRU so far; a torch-free one replaces this body and keeps the result: `call` does the
    work, `check` gives {"output": rows [T, H] of the last layer}.
    """
    return prepare_module(_module(case, contender), case, packed=False)


def _module(case: Case, contender: Contender) -> GRU:
    options: dict[str, Any] = {}
    if contender.precision != "float32":
        if contender.precision == "int8" or "precision" not in inspect.signature(GRU).parameters:
            raise UnsupportedError(f"grunlock {__version__} has no {contender.precision} here")
        options["precision"] = contender.precision
    return GRU(
        case.input_size,
        case.hidden_size,
        case.num_layers,
        state_dropout=contender.state_dropout,
        zoneout=contender.zoneout,
        weight_dropout=contender.weight_dropout,
        layer_norm=contender.layer_norm,
        **options,
    )


def _linear(case: Case, contender: Contender) -> Prepared:
    if contender.form == "linear":
        return prepare_linear(None)
    sizes = (case.input_size, case.hidden_size, case.num_layers)
    module = GRU(*sizes) if contender.form == "linear_after_own" else torch.nn.GRU(*sizes)
    return prepare_linear(prepare_module(module, case, packed=False))
