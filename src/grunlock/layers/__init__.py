"""Recurrent layers as torch modules. Import this only where torch is wanted."""

from grunlock.layers.gru import GRU
from grunlock.layers.lstm import LSTM

__all__ = ["GRU", "LSTM"]
