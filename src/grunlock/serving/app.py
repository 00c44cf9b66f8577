"""The application: FastAPI's routes and OpenAPI description around the endpoints. Starts no server."""

import asyncio
import difflib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from grunlock._version import __version__
from grunlock.errors import GrunlockError, ServingError
from grunlock.kernels.stack import InferencePrecision
from grunlock.serving import schemas
from grunlock.serving.batcher import Batcher
from grunlock.serving.endpoints import Endpoints, Explainer
from grunlock.serving.explaining import exact_shares
from grunlock.serving.front import AT_FAULT, Door, Front, refusal
from grunlock.serving.limits import Limits
from grunlock.serving.metrics import Metrics
from grunlock.serving.page import add_page
from grunlock.serving.refusals import RequestError
from grunlock.serving.served import model_name
from grunlock.serving.slots import Slot, Slots
from grunlock.serving.streams import Streams

log = logging.getLogger("grunlock.serving")

ASIDE_THREADS = 2  # reloads, explanations and streams: none of them holds up the classifier's thread
ASKED = (400, 401, 404, 408, 413, 415, 422, 500, 503, 504)


@dataclass
class Life:
    """status: starting, ready, draining, or failed where a part that should run for ever has ended."""

    status: str = "starting"

    def fell(self, task: "asyncio.Task[None]") -> None:
        """Told when a task ends. The server is not ready any more, so that somebody starts it again."""
        if not task.cancelled():
            self.status = "failed"
            log.critical("a part of the server has ended", exc_info=task.exception())


def create_app(
    models: Path | str | Mapping[str, Path | str],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    open_metrics: bool = False,
    origins: tuple[str, ...] = (),
    precision: InferencePrecision = "float32",
    watch_seconds: float | None = 2.0,
    explain: Explainer = exact_shares,
    on_reload: Callable[[], None] = lambda: None,
) -> FastAPI:
    """An ASGI application that serves models, to be run by grunlock.serving.serve, or by any ASGI server.

    models: a run folder or model file, or several by name; the first answers where a request names none.
    token: what clients have to send as `Authorization: Bearer TOKEN`; None: nothing.
    open_metrics: whether /metrics answers without it.
    origins: of pages that may open streams beside this server's own, such as "https://example.org".
    watch_seconds: how often the files are looked at; None: only when asked to reload.
    explain: what answers /v1/explain
    on_reload: called after POST /v1/reload, to tell other workers

    `app.state.life.status` is what /ready tells; `app.state.slots` holds the models.

    Raises ArtifactError and KernelError as grunlock.load, ServingError for no model or an empty token.
    """
    limits = limits or Limits()
    slots = _open_slots(models, precision)
    if token is not None and not token.strip():
        raise ServingError("The token is empty.", cure="leave it out, or write one into the file")
    door = Door(None if token is None else token.strip(), open_metrics=open_metrics)
    aside = ThreadPoolExecutor(ASIDE_THREADS, "grunlock-aside")
    streams = Streams(slots, limits, door, origins, aside)
    batcher = Batcher(limits, lambda size: metrics.batch(size))
    metrics = Metrics(slots, lambda: batcher.queued, lambda: streams.count)
    endpoints = Endpoints(slots, batcher, limits, explain, aside, on_reload)
    life = Life()

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(batcher.run())]
        if watch_seconds is not None:
            tasks.append(asyncio.create_task(slots.watch(watch_seconds, aside)))
        life.status = "ready"
        for task in tasks:
            task.add_done_callback(life.fell)
        yield
        life.status = "draining"
        for task in tasks:
            task.cancel()
        batcher.close()
        aside.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="grunlock",
        version=__version__,
        summary="Classifiers of texts and series",
        lifespan=running,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours are metrics.py's
    )
    app.state.life, app.state.slots = life, slots
    _add_endpoints(app, endpoints, slots.kinds, door)
    _add_operations(app, life, metrics)
    add_page(app)
    app.add_api_websocket_route("/v1/stream", streams.serve)
    _add_refusals(app)
    direct = {"/v1/predict": endpoints.predict}
    routes = frozenset(path for route in app.routes if (path := getattr(route, "path", None)))
    app.middleware_stack = Front(app.build_middleware_stack(), direct, routes, door, metrics)
    return app


def _open_slots(models: Path | str | Mapping[str, Path | str], precision: InferencePrecision) -> Slots:
    named = models if isinstance(models, Mapping) else {model_name(Path(models)): models}
    if not named:
        raise ServingError("There is no model to serve.", where="models", expected="at least one")
    return Slots(Slot.open(name, Path(path), precision) for name, path in named.items())


def _add_endpoints(app: FastAPI, endpoints: Endpoints, kinds: frozenset[str], door: Door) -> None:
    """Raw requests go in, for their errors are worded by us; the description is told what they are.

    kinds: of the models, which a reload cannot change
    """
    lock = [Depends(HTTPBearer(auto_error=False))] if door.locked else []  # described here, kept by the door
    of_predict: dict[str, type[BaseModel]] = {"text": schemas.PredictText, "series": schemas.PredictSeries}
    of_batch: dict[str, type[BaseModel]] = {"text": schemas.BatchTexts, "series": schemas.BatchSeries}
    for path, endpoint, answer, bodies in (
        ("predict", endpoints.predict, schemas.Prediction, [of_predict[kind] for kind in sorted(kinds)]),
        ("batch", endpoints.batch, schemas.Predictions, [of_batch[kind] for kind in sorted(kinds)]),
        ("explain", endpoints.explain, schemas.Explained, [schemas.ExplainText]),
    ):
        app.post(
            f"/v1/{path}",
            responses={200: {"model": answer}, **schemas.refusals(*ASKED)},
            openapi_extra=schemas.body_of(*bodies),
            dependencies=lock,
            response_class=Response,
            operation_id=path,
            summary=(endpoint.__doc__ or "").partition(".")[0],
        )(endpoint)
    app.get(
        "/v1/model",
        responses={200: {"model": schemas.Models}, **schemas.refusals(401)},
        dependencies=lock,
        operation_id="model",
        summary="Labels, versions and facts of the models",
    )(endpoints.models)
    app.post(
        "/v1/reload",
        responses={200: {"model": schemas.Reloaded}, **schemas.refusals(401, 409)},
        dependencies=lock,
        operation_id="reload",
        summary="Take new model files now",
    )(endpoints.reload)


def _add_operations(app: FastAPI, life: Life, metrics: Metrics) -> None:
    @app.get("/health", response_model=schemas.State, summary="Whether the process answers")
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": schemas.State, "description": "Starting, draining before it stops, or failed."}
    }

    @app.get("/ready", response_model=schemas.State, responses=not_ready, summary="Whether to send requests")
    async def ready() -> Response:
        return JSONResponse({"status": life.status}, 200 if life.status == "ready" else 503)

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=schemas.refusals(401),
        summary="Counts and times, in the format of Prometheus",
    )
    async def numbers() -> Response:
        return PlainTextResponse(metrics.text(), headers={"cache-control": "no-store"})


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(GrunlockError)
    async def refused(request: Request, error: GrunlockError) -> Response:
        return refusal(error)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow")
            what = f"{request.url.path} is not asked with {request.method}."
            return refusal(RequestError(405, what, expected=allowed, headers=error.headers))
        known = sorted({path for route in app.routes if (path := getattr(route, "path", None))})
        near = difflib.get_close_matches(request.url.path, known, n=1)
        return refusal(
            RequestError(
                error.status_code,
                "There is nothing here.",
                got=request.url.path[:80],
                expected=", ".join(known),
                cure=f"did you mean {near[0]}?" if near else None,
            )
        )

    @app.exception_handler(Exception)
    async def at_fault(request: Request, error: Exception) -> Response:
        return refusal(AT_FAULT)
