"""Initial weights for recurrent layers. Made for a GRU: each gate is a matrix of its own.

Works on any module that holds parameters under torch's names, gates stacked in torch's order.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from grunlock.kernels import GATE_ORDER, LSTM_GATE_ORDER

GRU_UPDATE_BLOCK = GATE_ORDER.index("update")  # where in [3H] its bias lies
LSTM_INPUT_BLOCK = LSTM_GATE_ORDER.index("input")  # where in [4H]
LSTM_FORGET_BLOCK = LSTM_GATE_ORDER.index("forget")


@dataclass(frozen=True)
class Initialization:
    """How to start.

    recurrent: "orthogonal" per gate, or "uniform" in +-1 / sqrt(H) as torch.nn.GRU.
    input: "xavier" uniform per gate, or "uniform" as above.
    memory_bias: bias of the gate that keeps the state (GRU update, LSTM forget), or "chrono".
    chrono_steps: the longest time to remember, for "chrono".
    """

    recurrent: Literal["orthogonal", "uniform"]
    input: Literal["xavier", "uniform"]
    memory_bias: float | Literal["chrono"]
    chrono_steps: int


@torch.no_grad()
def initialize_recurrent(module: nn.Module, num_gates: int, start: Initialization) -> None:
    """Fill a GRU's (3 gates) or LSTM's (4 gates) parameters in place. Biases other than below are 0.

    Chrono (Tallec & Ollivier 2018, 1804.11188): a unit with constant gate z forgets over 1 / (1 - z)
    steps, so the keeping gate's bias is log(u), u uniform in [1, chrono_steps - 1]. In an LSTM the
    input gate gets the negative of it.
    """
    for name, parameter in module.named_parameters():
        if name.startswith("weight_"):
            kind = start.recurrent if name.startswith("weight_hh") else start.input
            for gate in parameter.chunk(num_gates):
                _fill(gate, kind, hidden_size=len(parameter) // num_gates)
        elif name.startswith("bias_"):
            parameter.zero_()
            if name.startswith("bias_ih"):
                _fill_memory_bias(parameter, num_gates, start)


def _fill(gate: Tensor, kind: str, hidden_size: int) -> None:
    if kind == "orthogonal":
        nn.init.orthogonal_(gate)
    elif kind == "xavier":
        nn.init.xavier_uniform_(gate)
    else:
        bound = 1.0 / math.sqrt(hidden_size)
        gate.uniform_(-bound, bound)


def _fill_memory_bias(bias: Tensor, num_gates: int, start: Initialization) -> None:
    blocks = bias.chunk(num_gates)  # views, [H] each
    keeping = blocks[GRU_UPDATE_BLOCK if num_gates == 3 else LSTM_FORGET_BLOCK]
    if start.memory_bias == "chrono":
        keeping.uniform_(1.0, max(1.0 + 1e-6, start.chrono_steps - 1.0)).log_()
        if num_gates == 4:
            blocks[LSTM_INPUT_BLOCK].copy_(-keeping)
    else:
        keeping.fill_(start.memory_bias)
