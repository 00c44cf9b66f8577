"""Several processes that train one model: what they ask each other, and who computes what.

Knows torch.distributed and no training. One process is `ALONE`, for which everything here costs nothing.
"""

from grunlock.parallel.group import ALONE, Group
from grunlock.parallel.join import joined_group

__all__ = ["ALONE", "Group", "joined_group"]
