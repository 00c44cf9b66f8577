"""GRU and LSTM arithmetic on raw arrays, already projected inputs in packed order.

reference.py is the oracle in plain torch, portable.py the same forward pass in numpy for
inference without torch; dispatch.py is the one place that chooses. Importing this package
imports neither.
"""

GATE_ORDER = ("reset", "update", "candidate")  # how 3H is stacked, everywhere in this package
LSTM_GATE_ORDER = ("input", "forget", "candidate", "output")  # how 4H is stacked, as in torch

NORM_EPS = 1e-5  # added to the variance, by layer and batch norms alike, as torch does by default
ROTARY_BASE = 10_000.0  # Su 2021, RoFormer: the slowest pair of columns turns once in 2 pi * 10,000 steps
