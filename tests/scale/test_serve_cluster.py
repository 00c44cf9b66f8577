"""A model served by Ray Serve: answers are the model's own, also while replicas die and files change."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

from typer.testing import CliRunner
from websockets.sync.client import connect

from grunlock import load
from grunlock.cli.main import app
from grunlock.errors import ClusterError, ServingError
from grunlock.scale import Cluster, connected
from grunlock.serving import ServerOptions
from tests.conftest import THOROUGH
from tests.workflows.live_server import Reply
from tests.workflows.served_models import damage, promising, put

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's, of pydantic's future
    from grunlock.scale.serve import application as scale_serve
    from grunlock.scale.serve.application import Replicas, serve_there
    from grunlock.scale.serve.model_files import Models

TEXTS = ["the cat sat", "a dog", "zebra please", "北京 天安门"]
TOKEN = "open sesame"
TOLERANCE = 2e-6  # the batches of the server are others than those of the test
PATIENCE = 60.0
REQUESTS, CLIENTS = 60, 4  # of each client at least while a file is swapped
IN_A_ROW = 20


class Command:
    """`grunlock serve --cluster` in a process of its own."""

    def __init__(self, model: Path, address: str, *options: str) -> None:
        command = [sys.executable, "-m", "grunlock", "serve", str(model), "--cluster", address, *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.said = ""
        self.hear("\nruns ")
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said)
        assert found is not None
        self.port = int(found[1])

    def hear(self, words: str) -> None:
        """Read what it says until these words."""
        assert self.process.stderr is not None
        while words not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line

    def ask(self, path: str, body: object = None, token: str | None = TOKEN) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        try:
            connection.request(
                "GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers
            )
            reply = connection.getresponse()
            return Reply(reply.status, {}, reply.read())
        finally:
            connection.close()

    def wait_for(self, version: str) -> None:
        """Until answer after answer is of this version."""
        end, last = time.monotonic() + PATIENCE, 0
        while last < IN_A_ROW:
            assert time.monotonic() < end
            found = self.ask("/v1/predict", {"text": "a"}).fields["version"]
            last = last + 1 if found == version else 0

    def replicas(self, count: int) -> set[int]:
        """Process ids, once there are so many."""
        found: set[int] = set()
        end = time.monotonic() + PATIENCE
        while len(found) < count:
            assert time.monotonic() < end, found
            worker = re.search(r'grunlock_model\{.*worker="(\d+)"', self.ask("/metrics").body.decode())
            if worker is not None:
                found.add(int(worker[1]))
        return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "words.grunlock"
    put(promising(), path)
    return path


@pytest.fixture(scope="module")
def cluster(two_nodes: Any) -> Iterator[Cluster]:
    with connected(two_nodes.address) as found:
        yield found


@pytest.fixture(scope="module")
def served(
    two_nodes: Any, cluster: Cluster, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    token = tmp_path_factory.mktemp("token") / "token.txt"
    token.write_text(TOKEN)
    options = ("--port", "0", "--replicas", "2", "--watch", "0.2", "--max-body", "3000")
    command = Command(file, two_nodes.address, *options, "--token-file", str(token))
    with command.process:
        yield command
        command.process.kill()


def serve_runs(cluster: Cluster) -> bool:
    try:
        scale_serve._refuse_company(cluster)
    except ClusterError:
        return True
    return False


def test_a_taken_port(cluster: Cluster, file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options = ServerOptions({"words": file}, port=listener.getsockname()[1])
        with pytest.raises(ServingError, match="The port is taken"):
            serve_there(cluster, options, Replicas(), Models(options))
    assert not serve_runs(cluster)


@THOROUGH
def test_too_few_processors(cluster: Cluster, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_serve, "START_SECONDS", 0.0)
    options = ServerOptions({"words": file}, port=0)
    with pytest.raises(ClusterError, match="as many replicas as are wanted") as caught:
        serve_there(cluster, options, Replicas(3, 3), Models(options))
    assert "2 processors" in str(caught.value.got)
    assert not serve_runs(cluster)


def test_answers_are_the_models_own(served: Command, file: Path) -> None:
    model = load(file)
    probs = model.predict_proba(TEXTS)
    rows = served.ask("/v1/batch", {"texts": TEXTS}).fields["predictions"]
    for text, row, expected in zip(TEXTS, rows, probs, strict=True):
        one = served.ask("/v1/predict", {"text": text})
        assert one.status == 200
        for given in (row, one.fields):
            np.testing.assert_allclose(list(given["probs"].values()), expected, atol=TOLERANCE, rtol=0)
    assert served.ask("/v1/explain", {"text": TEXTS[0]}).fields["kind"] == "text"
    assert b"<html" in served.ask("/", token=None).body
    assert "/v1/predict" in served.ask("/openapi.json", token=None).fields["paths"]


def test_refusals(served: Command) -> None:
    assert served.ask("/v1/predict", {"text": "a"}, token=None).status == 401
    assert served.ask("/v1/predict", {"text": "a"}, token="open barley").status == 401
    assert served.ask("/v1/predict", {"text": "a" * 4000}).error["what"] == "The body is too large."
    assert served.ask("/v1/predict", {"txet": "a"}).status == 422
    reload = served.ask("/v1/reload", {})
    assert reload.status == 409
    assert "SIGHUP" in reload.error["cure"]


def test_a_stream(served: Command, file: Path) -> None:
    with connect(f"ws://127.0.0.1:{served.port}/v1/stream") as stream:
        stream.send(json.dumps({"open": {"token": TOKEN}}))
        assert "opened" in json.loads(stream.recv())
        stream.send(json.dumps({"piece": TEXTS[0]}))
        stream.recv()
        stream.send(json.dumps({"finish": True}))
        told = json.loads(stream.recv())
    expected = load(file).predict_proba(TEXTS[:1])[0]
    np.testing.assert_allclose(list(told["probs"].values()), expected, atol=TOLERANCE, rtol=0)


def test_replicas_import_no_torch(served: Command) -> None:
    maps = [Path(f"/proc/{each}/maps") for each in served.replicas(2)]
    if not maps[0].exists():
        pytest.skip("this system does not show what a process has loaded")
    for each in maps:
        loaded = each.read_text()
        assert "numpy" in loaded
        assert "libtorch" not in loaded


def test_a_new_file_takes_the_place_of_the_old_one(served: Command, file: Path) -> None:
    older = served.ask("/v1/predict", {"text": TEXTS[0]}).fields["version"]
    expected = {older: load(file).predict_proba(TEXTS)}
    taken = threading.Event()

    def client(_: int) -> list[Reply]:
        found = []
        while not taken.is_set() or len(found) < REQUESTS:
            found.append(served.ask("/v1/batch", {"texts": TEXTS}))
        return found

    with ThreadPoolExecutor(CLIENTS) as clients:
        going = [clients.submit(client, i) for i in range(CLIENTS)]
        newer = put(promising(0.2), file)
        expected[newer] = load(file).predict_proba(TEXTS)
        served.wait_for(newer)
        taken.set()
        replies = [each for one in going for each in one.result()]
    assert {reply.status for reply in replies} == {200}
    assert {reply.fields["version"] for reply in replies} == {older, newer}
    assert replies[-1].fields["version"] == newer
    for reply in replies:
        found = [list(row["probs"].values()) for row in reply.fields["predictions"]]
        np.testing.assert_allclose(found, expected[reply.fields["version"]], atol=TOLERANCE, rtol=0)
    assert np.abs(expected[older] - expected[newer]).max() > 100 * TOLERANCE  # a wrong version would be seen


def test_a_damaged_file_is_not_taken(served: Command, file: Path) -> None:
    before = served.ask("/v1/predict", {"text": "a"}).fields["version"]
    damage(file)
    served.process.send_signal(signal.SIGHUP)
    served.hear(f"words stays at {before[:12]}")
    assert served.ask("/v1/predict", {"text": "a"}).fields["version"] == before


@THOROUGH
def test_a_replica_that_dies_is_replaced(served: Command) -> None:
    before = served.replicas(2)
    version = served.ask("/v1/predict", {"text": "a"}).fields["version"]
    os.kill(min(before), signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    after: set[int] = set()
    while not after - before:
        assert time.monotonic() < end
        after = served.replicas(1)
    replies = [served.ask("/v1/predict", {"text": "a"}) for _ in range(50)]
    assert {reply.status for reply in replies} == {200}
    assert {reply.fields["version"] for reply in replies} == {version}  # the newest, not that of the start


def test_one_command_to_a_cluster(served: Command, cluster: Cluster, file: Path) -> None:
    options = ServerOptions({"words": file.with_name("other.grunlock")}, port=0)
    put(promising(), options.models["words"])
    with pytest.raises(ClusterError, match="Ray Serve runs on this cluster already") as caught:
        serve_there(cluster, options, Replicas(), Models(options))
    assert "grunlock-" in str(caught.value.got)
    assert served.ask("/v1/predict", {"text": "a"}).status == 200


def test_the_end(served: Command, cluster: Cluster) -> None:
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(PATIENCE) == 0
    assert not serve_runs(cluster)
    with pytest.raises(ConnectionRefusedError):
        served.ask("/health")


@pytest.mark.parametrize("text", ["", "0", "2:1", "1:", ":2", "-1", "1:2:3", "a few"])
def test_no_numbers_of_replicas(text: str) -> None:
    with pytest.raises(ServingError, match="no numbers of replicas"):
        Replicas.read(text)


def test_numbers_of_replicas() -> None:
    assert Replicas.read("2") == Replicas(2, 2)
    assert Replicas.read("1:4") == Replicas(1, 4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--cluster", "auto", "--workers", "2", "--drain", "1"], "--workers, --drain"),
        (["--replicas", "2"], "Replicas are of a cluster"),
    ],
)
def test_options_of_the_other_kind(options: list[str], complaint: str, file: Path) -> None:
    result = CliRunner().invoke(app, ["serve", str(file), *options])
    assert isinstance(result.exception, ServingError)
    assert complaint in str(result.exception)
