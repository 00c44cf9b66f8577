"""grunlock serve --cluster"""

from typing import TYPE_CHECKING

from rich.console import Console

from grunlock.errors import ServingError

if TYPE_CHECKING:
    from grunlock.scale import Cluster
    from grunlock.serving import ServerOptions

# Options of a process that holds its own connections; on a cluster Ray's proxy does.
OF_ONE_MACHINE = ("workers", "max_connections", "drain")


def serve_cluster(
    options: "ServerOptions", replicas: str, address: str, not_there: str, console: Console
) -> None:
    """Serve on a cluster until told to stop. not_there: options given that have no meaning on a cluster.

    Raises ServingError for those, and as scale.serve.serve_on_cluster.
    """
    if not_there:
        raise ServingError(
            "This is not to be had on a cluster.",
            where=not_there,
            expected="--replicas, in place of workers; connections are held by the proxy of Ray Serve",
            cure="leave it out",
        )
    from grunlock.scale.serve.application import Replicas, serve_on_cluster

    wanted = Replicas.read(replicas)

    def announce(found: str, cluster: "Cluster") -> None:
        limits = options.limits
        several = str(wanted.least) if wanted.least == wanted.most else f"{wanted.least} to {wanted.most}"
        for name, value in (
            ("address", f"{found} (on the head node)"),
            ("cluster", cluster.describe()),
            ("models", ", ".join(f"{name} ({path})" for name, path in options.models.items())),
            ("token", "needed" if options.token else "none"),
            ("takes", f"texts of {limits.text_chars:,} characters, bodies of {limits.body_bytes:,} bytes"),
            (
                "batches",
                f"up to {limits.batch}, {limits.queue:,} may wait, {limits.timeout_seconds:g} s each",
            ),
            ("runs", f"{several} replicas, {limits.streams:,} streams each"),
        ):
            console.print(f"{name:<9} {value}", highlight=False, markup=False, soft_wrap=True)

    serve_on_cluster(options, wanted, address, announce)
