"""Which sequences of a batch each process computes."""

import numpy as np

from grunlock.shapes import IntArray


def shares(lengths: IntArray, size: int) -> list[IntArray]:
    """Positions in a batch of lengths [B] for each of `size` ranks, rising; together each exactly once.

    Longest first, dealt to and fro: numbers of sequences differ by one at most, and numbers of steps by the
    longest sequence at most. A pure function of its arguments. With fewer sequences than ranks some are
    empty.
    """
    order = np.argsort(-lengths, kind="stable")
    rounds, place = np.divmod(np.arange(len(lengths)), size)
    rank = np.where(rounds % 2 == 0, place, size - 1 - place)
    return [np.sort(order[rank == r]) for r in range(size)]
