"""grunlock serve"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from grunlock.cli.options import ClusterAddress, PredictionPrecision, given_among
from grunlock.cli.serve_cluster import OF_ONE_MACHINE, serve_cluster
from grunlock.errors import ServingError

if TYPE_CHECKING:
    from grunlock.serving import ServerOptions

TOKEN_VARIABLE = "GRUNLOCK_TOKEN"
LOCAL = ("127.0.0.1", "::1", "localhost")

console = Console(stderr=True)


def serve_command(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="[NAME=]RUN", help="A run folder or a model.grunlock file.")
    ],
    also: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]RUN", help="A further model; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 or :: for every network of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    token_file: Annotated[
        Path | None, typer.Option(help=f"File with the token that clients send; else {TOKEN_VARIABLE}.")
    ] = None,
    open_metrics: Annotated[bool, typer.Option("--open-metrics", help="/metrics needs no token.")] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Of pages elsewhere that may open streams: https://example.org; may be repeated."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own models.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of the kernels, in each worker; else GRUNLOCK_THREADS, or 1."),
    ] = None,
    precision: PredictionPrecision = "float32",
    watch: Annotated[
        float, typer.Option(min=0, help="Seconds between looks at the model files; 0: only when asked.")
    ] = 2.0,
    max_batch: Annotated[int, typer.Option(help="Examples in one pass of the model.")] = 32,
    max_wait_ms: Annotated[float, typer.Option(help="For more of them, when the model is free.")] = 0.0,
    max_queue: Annotated[int, typer.Option(help="Examples that wait; more are refused.")] = 1024,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 1_000_000,
    max_chars: Annotated[int, typer.Option(help="Characters of a text.")] = 20_000,
    max_texts: Annotated[int, typer.Option(help="Examples in one request to /v1/batch.")] = 256,
    max_connections: Annotated[int, typer.Option(help="Open at once, of each worker.")] = 10_000,
    max_streams: Annotated[int, typer.Option(help="WebSockets open at once, of each worker.")] = 500,
    timeout: Annotated[float, typer.Option(help="Seconds until an answer has to be there.")] = 10.0,
    idle: Annotated[float, typer.Option(help="Seconds that a connection or stream may be silent.")] = 60.0,
    drain: Annotated[float, typer.Option(help="Seconds between not ready and no more connections.")] = 0.5,
    grace: Annotated[float, typer.Option(help="Seconds for what runs when the server stops.")] = 20.0,
    cluster: ClusterAddress = None,
    replicas: Annotated[
        str, typer.Option(metavar="N|MIN:MAX", help="On a cluster: processes, one processor each, by load.")
    ] = "1",
) -> None:
    """Serve models over HTTP: predictions, explanations, streams, metrics, and a page to try them."""
    import logging

    # Before the tokenizers library is used: for a batch of short texts its threads cost more than they bring.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from grunlock.serving import Limits, ServerOptions, serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    limits = Limits(
        body_bytes=max_body,
        text_chars=max_chars,
        batch_texts=max_texts,
        batch=max_batch,
        wait_ms=max_wait_ms,
        queue=max_queue,
        connections=max_connections,
        streams=max_streams,
        timeout_seconds=timeout,
        idle_seconds=idle,
        drain_seconds=drain,
        grace_seconds=grace,
    )
    token = read_token(token_file)
    if host not in LOCAL and token is None:
        console.print(
            f"Everybody who reaches this machine can ask the models: {host} and no token. "
            f"To close the door: --token-file FILE, or {TOKEN_VARIABLE}.",
            style="yellow",
        )
    options = ServerOptions(
        models=named_models([model, *(also or [])]),
        host=host,
        port=port,
        limits=limits,
        token=token,
        open_metrics=open_metrics,
        origins=tuple(origin or ()),
        precision=precision,
        watch_seconds=watch or None,
        threads=threads,
        workers=workers,
    )
    if cluster is not None:
        serve_cluster(options, replicas, cluster, given_among(context, *OF_ONE_MACHINE), console)
        return
    if given_among(context, "replicas"):
        raise ServingError(
            "Replicas are of a cluster.", where="--replicas", cure="add --cluster ADDRESS, or use --workers"
        )
    serve(options, lambda address: announce(address, options))


def announce(address: str, options: "ServerOptions") -> None:
    """Where it is, what it serves, what it takes on."""
    limits = options.limits
    workers = "1 worker" if options.workers == 1 else f"{options.workers} workers"
    for name, value in (
        ("address", address),
        ("models", ", ".join(f"{name} ({path})" for name, path in options.models.items())),
        ("token", "needed" if options.token else "none"),
        ("takes", f"texts of {limits.text_chars:,} characters, bodies of {limits.body_bytes:,} bytes"),
        ("batches", f"up to {limits.batch}, {limits.queue:,} may wait, {limits.timeout_seconds:g} s each"),
        ("runs", f"{workers}, {limits.connections:,} connections and {limits.streams:,} streams each"),
    ):
        console.print(f"{name:<9} {value}", highlight=False, markup=False, soft_wrap=True)


def named_models(given: list[str]) -> dict[str, Path]:
    """By NAME=RUN, or by the run's own name. Raises ServingError for a name that stands twice."""
    from grunlock.serving.served import model_name

    found: dict[str, Path] = {}
    for each in given:
        name, equals, path = each.partition("=")
        if not equals or Path(each).exists():
            path, name = each, model_name(Path(each))
        if not name or name in found:
            raise ServingError(
                "Two models have one name.",
                where=each,
                got=repr(name),
                expected="a name of its own for each",
                cure=f"write NAME=RUN, such as {name or 'b'}2={path}",
            )
        found[name] = Path(path)
    return found


def read_token(file: Path | None) -> str | None:
    """Raises ServingError for a file that has none or cannot be read."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError("The token cannot be read.", where=file, got=error) from error
    if not token:
        raise ServingError("The file has no token.", where=file, cure="write a long random word into it")
    return token
