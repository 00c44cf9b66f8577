"""A trained model in fewer bytes, for as little loss as possible."""

from grunlock.compression.candidates import size_of
from grunlock.compression.compress import Compressed, compress

__all__ = ["Compressed", "compress", "size_of"]
