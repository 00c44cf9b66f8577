"""A trained model as one page for browsers: the C sources as WebAssembly, and what shows its answers.

Imports no torch."""

from grunlock.export.web.page import WEB_STEPS, WebExport, write_web
from grunlock.export.web.page_model import PageModel

__all__ = ["WEB_STEPS", "PageModel", "WebExport", "write_web"]
