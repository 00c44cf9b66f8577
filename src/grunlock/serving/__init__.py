"""A server for trained models: HTTP and WebSocket, batches, reloads, metrics and a page. Imports no torch.

create_app(path)     an ASGI application (FastAPI)
Limits               what it takes on
serve(...)           run it: uvicorn, signals, workers
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from grunlock.errors import missing_library

if TYPE_CHECKING:
    from grunlock.serving.app import create_app
    from grunlock.serving.limits import Limits
    from grunlock.serving.server import ServerOptions
    from grunlock.serving.workers import serve

__all__ = ["Limits", "ServerOptions", "create_app", "serve"]

_HOME = {"create_app": "app", "Limits": "limits", "ServerOptions": "server", "serve": "workers"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'grunlock.serving' has no attribute {name!r}")
    try:
        return getattr(import_module(f"grunlock.serving.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        raise missing_library(error) or error from error
