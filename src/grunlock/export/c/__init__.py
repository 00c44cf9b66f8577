"""Trained models as C99 for devices: sources that stay as they are, the model's arrays, a way to ask them.

Imports no torch."""

from grunlock.export.c.budget import Budget
from grunlock.export.c.compiled import CModel
from grunlock.export.c.flash import flash_bytes
from grunlock.export.c.folder import DEFAULT_STEPS, CExport, write_c
from grunlock.export.c.names import PREFIX
from grunlock.export.c.unicode_tables import UnicodeRange

__all__ = ["DEFAULT_STEPS", "PREFIX", "Budget", "CExport", "CModel", "UnicodeRange", "flash_bytes", "write_c"]
