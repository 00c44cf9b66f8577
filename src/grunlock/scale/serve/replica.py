"""What runs on the nodes when models are served on a cluster: replicas of the server's application.

Imports no torch.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve

from grunlock.errors import ServingError
from grunlock.files import write_atomically
from grunlock.scale.serve.model_files import NAMESPACE, Versions
from grunlock.serving import ServerOptions
from grunlock.serving.refusals import RequestError
from grunlock.serving.server import settle


@serve.ingress()
class Replica:
    """The application of `grunlock serve` in a process of Ray's, with model files of its own."""

    def __init__(self, options: ServerOptions, shelf: str) -> None:
        # Before the tokenizers library is used, as in the command.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        settle(options.threads)
        self._shelf = shelf
        self._folder = tempfile.TemporaryDirectory(prefix="grunlock-replica-")
        self._paths = {name: self._place(i) for i, name in enumerate(options.models)}
        self._options = replace(options, models=self._paths, watch_seconds=None)
        self._aside = ThreadPoolExecutor(1, "grunlock-reload")
        for name, content in ray.get(self._keeper().newest.remote()).items():
            write_atomically(self._paths[name], content)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve asks once, after the constructor, and runs its lifespan."""
        self._app = self._options.app(on_reload=refuse_reload)
        return self._app

    async def reconfigure(self, wanted: dict[str, Versions]) -> None:
        """Take these versions, each in one step: a request finishes with the model it began with.

        Raises ServingError if a file cannot be had, and what was wrong with one that cannot be served.
        """
        for name, version in wanted["versions"].items():
            slot = self._app.state.slots.by_name[name]
            if slot.current.version == version:
                continue
            content = await self._keeper().file.remote(name, version)
            if content is None:
                raise ServingError("A model file is not there any more.", where=name, got=version)
            write_atomically(self._paths[name], content)
            if await slot.reload(self._aside) == "failed":
                raise slot.fault

    def check_health(self) -> None:
        """Raises ServingError where a part of the server has ended; Ray Serve then starts another replica."""
        status = self._app.state.life.status
        if status != "ready":
            raise ServingError("A replica is not ready.", got=status, expected="ready")

    def _keeper(self) -> Any:
        return ray.get_actor(self._shelf, namespace=NAMESPACE)

    def _place(self, index: int) -> Path:
        return Path(self._folder.name) / f"{index}.grunlock"


def refuse_reload() -> None:
    """What POST /v1/reload comes to. Raises RequestError (409)."""
    raise RequestError(
        409,
        "Model files are not looked at here.",
        got="a replica on a cluster",
        expected="the command `grunlock serve --cluster`, which watches them and tells all replicas",
        cure="replace the file there and wait for --watch seconds, or send the command SIGHUP",
    )
