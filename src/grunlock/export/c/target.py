"""C99 as a target of `grunlock export`."""

from dataclasses import dataclass
from pathlib import Path

from grunlock.export.c.budget import NO_BUDGET, Budget
from grunlock.export.c.compiled import CModel
from grunlock.export.c.folder import DEFAULT_STEPS, write_c
from grunlock.export.c.names import PREFIX
from grunlock.export.c.unicode_tables import UnicodeRange
from grunlock.export.portable import PortableModel


@dataclass(frozen=True)
class CTarget:
    """Options as those of write_c."""

    int8: bool = False
    max_steps: int = DEFAULT_STEPS
    unicode: UnicodeRange = "full"
    budget: Budget = NO_BUDGET
    peek: bool = True
    prefix: str = PREFIX
    name: str = "c"

    def write(self, model: PortableModel, folder: Path) -> CModel:
        written = write_c(
            model,
            folder,
            int8=self.int8,
            max_steps=self.max_steps,
            unicode=self.unicode,
            budget=self.budget,
            peek=self.peek,
            prefix=self.prefix,
        )
        return CModel(written)
