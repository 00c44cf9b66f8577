"""grunlock's own contenders. Uses what users may use: grunlock.layers.GRU and the torch-free runtime."""

from typing import Any

import numpy as np
import torch

from grunlock._version import __version__
from grunlock.benchmark.arrays import draw_batches, draw_weights
from grunlock.benchmark.cases import Case, Contender
from grunlock.benchmark.peers.torch_modules import prepare_linear, prepare_module
from grunlock.benchmark.timing import Prepared, UnsupportedError
from grunlock.errors import KernelError
from grunlock.kernels.dispatch import gru_stack
from grunlock.kernels.library import native_library
from grunlock.kernels.stack import DirectionWeights, LayerWeights
from grunlock.layers import GRU


def start(threads: int) -> dict[str, str]:
    torch.set_num_threads(threads)
    library = native_library()
    if library is not None:
        library.set_num_threads(threads)
    return {"grunlock": __version__, "torch": torch.__version__}


def prepare(case: Case, contender: Contender) -> Prepared:
    if contender.form == "latency":
        return latency_contender(case, contender)
    if contender.form.startswith("linear"):
        return _linear(case, contender)
    return prepare_module(_module(case, contender), case, packed=contender.form == "packed")


def latency_contender(case: Case, contender: Contender) -> Prepared:
    """One sequence through all layers on the road of a loaded artifact: weights packed once, no torch."""
    rows = draw_batches(case)[0].inputs.reshape(-1, case.input_size)
    sizes = np.ones(len(rows), np.int64)
    weights = draw_weights(case)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layers = [
        LayerWeights((DirectionWeights(*(weights[f"{name}_l{layer}"] for name in names)),))
        for layer in range(case.num_layers)
    ]
    try:
        stack = gru_stack(layers, contender.precision)
    except KernelError as error:
        raise UnsupportedError(str(error)) from error
    return Prepared(lambda: stack.run(rows, None, sizes), lambda: {"output": stack.run(rows, None, sizes)[0]})


def _module(case: Case, contender: Contender) -> GRU:
    options: dict[str, Any] = {}
    if contender.precision == "int8":
        raise UnsupportedError("int8 is for predicting only")
    if contender.precision != "float32":
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
