"""torch.nn.GRU, padded and packed, and torch.mm."""

import torch

from grunlock.benchmark.cases import Case, Contender
from grunlock.benchmark.peers.torch_modules import prepare_module, prepare_product
from grunlock.benchmark.timing import Prepared, UnsupportedError


def start(threads: int) -> dict[str, str]:
    torch.set_num_threads(threads)
    return {"torch": torch.__version__}


def prepare(case: Case, contender: Contender) -> Prepared:
    if contender.form == "mm":
        return prepare_product(case, contender.precision)
    if contender.precision != "float32":
        raise UnsupportedError("torch.nn.GRU is measured in float32 only")
    module = torch.nn.GRU(case.input_size, case.hidden_size, case.num_layers)
    return prepare_module(module, case, packed=contender.form == "packed")
