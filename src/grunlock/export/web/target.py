"""A page for browsers as a target of `grunlock export`."""

from dataclasses import dataclass
from pathlib import Path

from grunlock.errors import ExportError
from grunlock.export.portable import PortableModel
from grunlock.export.web.page import PAGE, WEB_STEPS, write_web
from grunlock.export.web.page_model import PageModel


@dataclass(frozen=True)
class WebTarget:
    """Options as those of write_web."""

    int8: bool = False
    max_steps: int = WEB_STEPS
    name: str = "web"

    def write(self, model: PortableModel, folder: Path) -> PageModel:
        write_web(model, folder, int8=self.int8, max_steps=self.max_steps)
        written = PageModel(folder)
        if written.labels != model.labels:
            raise ExportError(
                "The page does not name the model's classes.",
                where=PAGE,
                got=written.labels,
                expected=model.labels,
            )
        return written
