"""`grunlock serve --cluster`: the server's application as a deployment of Ray Serve, while the command runs.

The command keeps the model files: it looks at them, tries what is new, and tells the replicas (replica.py).
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grunlock.errors import ClusterError, ServingError
from grunlock.scale.cluster import Cluster, connected
from grunlock.scale.failures import told
from grunlock.scale.serve.model_files import NAMESPACE, Files, Models, Shelf, Versions
from grunlock.scale.serve.replica import Replica
from grunlock.scale.serve.signals import Signals
from grunlock.serving import Limits, ServerOptions
from grunlock.serving.server import bound

log = logging.getLogger("grunlock.serving")

START_SECONDS = 120.0  # until the replicas that are wanted at least have to be there
LOOK_SECONDS = 0.2
CHECK_SECONDS = 5.0  # between looks at whether Ray still has what was put there
SERVE_CONTROLLER = ("SERVE_CONTROLLER_ACTOR", "serve")  # name and namespace that Ray gives it
HEAD_NODE = "node:__internal_head__"  # a resource that only the head node has
HEALTH_SECONDS = 2.0
UPSCALE_SECONDS, DOWNSCALE_SECONDS, LOOK_BACK_SECONDS = 5.0, 120.0, 20.0
# `serve shutdown` needs a dashboard, which not every cluster has.
SHUTDOWN = "python -c 'import ray, ray.serve; ray.init(\"%s\"); ray.serve.shutdown()'"
QUIET = {"enable_access_log": False, "log_level": "WARNING"}


@dataclass(frozen=True)
class Replicas:
    """How many there are, at least and at most. Raises ServingError for what is no such range."""

    least: int = 1
    most: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise _no_range(f"{self.least}:{self.most}")

    @classmethod
    def read(cls, text: str) -> "Replicas":
        """N or MIN:MAX. Raises ServingError."""
        least, colon, most = text.partition(":")
        if not least.isdecimal() or not (most if colon else "1").isdecimal():
            raise _no_range(text)
        return cls(int(least), int(most) if colon else int(least))

    def scaling(self, limits: Limits) -> dict[str, Any]:
        """Options of the deployment. With half a batch of requests at each replica another one is started."""
        if self.least == self.most:
            return {"num_replicas": self.least}
        return {
            "autoscaling_config": {
                "min_replicas": self.least,
                "max_replicas": self.most,
                "target_ongoing_requests": max(1.0, limits.batch / 2),
                "upscale_delay_s": UPSCALE_SECONDS,
                "downscale_delay_s": DOWNSCALE_SECONDS,
                "look_back_period_s": LOOK_BACK_SECONDS,
            }
        }


def serve_on_cluster(
    options: ServerOptions,
    replicas: Replicas,
    address: str,
    announce: Callable[[str, Cluster], None] = lambda address, cluster: None,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP looks at the files. announce is told where, once it answers.

    Raises as `connected`, `create_app` and `serve_there`.
    """
    models = Models(options)
    with connected(address) as cluster:
        serve_there(cluster, options, replicas, models, lambda found: announce(found, cluster))


def serve_there(
    cluster: Cluster,
    options: ServerOptions,
    replicas: Replicas,
    models: Models,
    announce: Callable[[str], None] = lambda address: None,
) -> None:
    """On a cluster that this process is connected to, with one HTTP proxy, on its head node, at the host and
    port of the options. Afterwards the cluster is as it was found.

    Raises ClusterError if Ray Serve runs there already, the processors do not suffice, or what was started
    there is lost; ServingError for an address that cannot be had.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with Signals() as signals:
        _refuse_company(cluster)
        port = _port_of_head(options)
        name = f"grunlock-{uuid.uuid4().hex[:8]}"
        with _serve_running(options, port, name):
            application = Application(name, options, replicas, models, cluster)
            try:
                application.start(signals)
                if not signals.stop:
                    announce(_address(options.host, port))
                    application.watch(signals)
            except RayError as error:
                raise told(error, cluster.address) from error
            except RayServeException as error:
                raise ClusterError(
                    "Ray Serve refuses the application.", where=cluster.address, got=error
                ) from error
            finally:
                application.end()


class Application:
    """What is put on the cluster: a shelf of model files, and the deployment."""

    def __init__(
        self, name: str, options: ServerOptions, replicas: Replicas, models: Models, cluster: Cluster
    ) -> None:
        self._options = options
        self._replicas = replicas
        self._models = models
        self._cluster = cluster
        self._name = name
        self._shelf: Any = None
        self._files: Files = {}

    def start(self, signals: Signals) -> None:
        """Raises ClusterError where the replicas cannot be had in START_SECONDS, ServingError for a file that
        changed since it was tried."""
        self._files = self._models.files({})
        for name in self._options.models.keys() - self._files.keys():
            raise ServingError(
                "The model file changes while it is read.", where=self._options.models[name], cure="try again"
            )
        self._fill_shelf()
        self._deploy()
        self._await(signals)

    def watch(self, signals: Signals) -> None:
        """Until it is told to stop. Raises ClusterError where the application is gone."""
        looked = checked = time.monotonic()
        every = self._options.watch_seconds
        while not signals.stop:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            if signals.look or (every is not None and now - looked >= every):
                looked, asked, signals.look = now, signals.look, False
                self._models.look(always=asked)
                self._hand_out(signals)
            if now - checked >= CHECK_SECONDS:
                checked = now
                self._check()

    def end(self) -> None:
        """Take it away: what runs is answered, within limits.grace_seconds."""
        serve.delete(self._name)
        if self._shelf is not None:
            ray.kill(self._shelf)

    @property
    def _versions(self) -> Versions:
        return {name: version for name, (version, _) in self._files.items()}

    def _hand_out(self, signals: Signals) -> None:
        """New files to all replicas, one after another; others go on answering."""
        new = self._models.files(self._versions)
        if not new:
            return
        self._files |= new
        self._shelve(new)
        self._deploy()
        try:
            self._await(signals)
        except ClusterError as error:  # those that run go on; Ray Serve goes on trying
            log.error("not all replicas have the new files: %s", error)
            return
        for name, (version, _) in new.items():
            log.info("%s: all replicas have %s", name, version[:12])
        ray.get(self._shelf.keep_newest.remote())

    def _check(self) -> None:
        """Raises ClusterError if somebody took the application away. A shelf that died is filled anew."""
        self._status()
        self._shelve({})

    def _shelve(self, files: Files) -> None:
        """Add to what the actor holds, or to a new one where it ended."""
        try:
            ray.get(self._shelf.put.remote(files))
        except ray.exceptions.RayActorError as error:
            log.error("the actor with the model files ended and is started anew: %s", error)
            self._fill_shelf()

    def _status(self) -> Any:
        found = serve.status().applications.get(self._name)
        if found is None:
            raise ClusterError(
                "The models are not served any more.",
                where=self._cluster.address,
                got="somebody else stopped Ray Serve, or took the application away",
            )
        return found

    def _fill_shelf(self) -> None:
        """On this process's own node: one without the other would be of no use."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0)(Shelf)
        self._shelf = actor.options(name=self._name, namespace=NAMESPACE, scheduling_strategy=here).remote(
            self._files
        )
        ray.get(self._shelf.keep_newest.remote())

    def _deploy(self) -> None:
        limits = self._options.limits
        deployment = serve.deployment(
            name="replica",
            ray_actor_options={"num_cpus": 1},
            user_config={"versions": self._versions},
            # Beyond what its own batcher and streams take on, a replica says no in our words.
            max_ongoing_requests=2 * limits.queue + limits.streams,
            max_queued_requests=limits.queue,
            health_check_period_s=HEALTH_SECONDS,
            graceful_shutdown_timeout_s=limits.grace_seconds,
            graceful_shutdown_wait_loop_s=LOOK_SECONDS,
            logging_config=QUIET,
            **self._replicas.scaling(limits),
        )(Replica)
        target = serve.RunTarget(
            deployment.bind(self._options, self._name), name=self._name, route_prefix="/"
        )
        serve.run_many([target], wait_for_applications_running=False)

    def _await(self, signals: Signals) -> None:
        """Until all replicas have what was last deployed, or a signal says stop."""
        until = time.monotonic() + START_SECONDS
        while not signals.stop:
            status = self._status()
            if status.status == "RUNNING":
                return
            faults = [each.message for each in status.deployments.values() if each.message]
            if status.status == "DEPLOY_FAILED":
                raise ClusterError(
                    "The replicas cannot be started.",
                    where=self._cluster.address,
                    got="; ".join(faults) or status.message,
                )
            if time.monotonic() > until:
                raise self._too_few(faults)
            time.sleep(LOOK_SECONDS)

    def _too_few(self, faults: list[str]) -> ClusterError:
        free = int(ray.available_resources().get("CPU", 0))
        got = f"{self._cluster.cpus} processors, {free} of them free, after {START_SECONDS:.0f} s"
        return ClusterError(
            "The cluster does not start as many replicas as are wanted at least.",
            where=self._cluster.address,
            got="; ".join([got, *faults]),
            expected=f"{self._replicas.least} free processors, one for each",
            cure="fewer with --replicas, or more nodes",
        )


@contextmanager
def _serve_running(options: ServerOptions, port: int, name: str) -> Iterator[None]:
    """Ray Serve with its proxy; afterwards without, unless there is an application of another name."""
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={
                "host": options.host,
                "port": port,
                "keep_alive_timeout_s": max(1, round(options.limits.idle_seconds)),
            },
            logging_config=QUIET,
        )
    except (RayError, RayServeException, RuntimeError, TimeoutError) as error:
        serve.shutdown()
        raise ClusterError(
            "Ray Serve cannot be started.", where=f"{options.host}, port {port}", got=error
        ) from error
    try:
        yield
    finally:
        if not serve.status().applications.keys() - {name}:
            serve.shutdown()


def _refuse_company(cluster: Cluster) -> None:
    """Raises ClusterError if Ray Serve runs there: its one proxy has an address and a root of its own."""
    name, namespace = SERVE_CONTROLLER
    try:
        ray.get_actor(name, namespace=namespace)
    except ValueError:
        return
    applications = ", ".join(serve.status().applications) or "no application"
    raise ClusterError(
        "Ray Serve runs on this cluster already.",
        where=cluster.address,
        got=applications,
        expected="a cluster on which nothing is served yet",
        cure=f"end that command; or, if it was killed: {SHUTDOWN % cluster.address}",
    )


def _port_of_head(options: ServerOptions) -> int:
    """The port, tried on the head node, where the proxy will be. Raises as serving.server.bound."""
    head = next(each["NodeID"] for each in ray.nodes() if each["Alive"] and HEAD_NODE in each["Resources"])
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    ask = ray.remote(num_cpus=0)(_free_port).options(scheduling_strategy=there)
    try:
        found: int = ray.get(ask.remote(options.host, options.port))
    except RayError as error:
        raise told(error, "head node") from error
    return found


def _free_port(host: str, port: int) -> int:
    """Which one it is: for 0 any that is free."""
    with bound(host, port) as listener:
        chosen: int = listener.getsockname()[1]
        return chosen


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _no_range(text: str) -> ServingError:
    return ServingError(
        "These are no numbers of replicas.",
        where="--replicas",
        got=text,
        expected="N, or MIN:MAX with 1 <= MIN <= MAX, such as 1:4",
    )
