"""How much flash memory a model would take: what compression has to know, which knows no targets."""

from grunlock.artifact import Artifact
from grunlock.export.c.contents import COptions, contents_of
from grunlock.export.c.folder import DEFAULT_STEPS
from grunlock.export.c.refusals import refuse_unless_in_c
from grunlock.export.c.unicode_tables import UnicodeRange
from grunlock.export.portable import portable


def flash_bytes(artifact: Artifact, unicode: UnicodeRange = "full") -> int:
    """Bytes of constants that `grunlock export --to c --int8` writes. Raises ExportError for a model that it
    refuses."""
    model = portable(artifact, "the model")
    refuse_unless_in_c(model, DEFAULT_STEPS)
    return contents_of(model, COptions(True, DEFAULT_STEPS, unicode)).num_bytes
