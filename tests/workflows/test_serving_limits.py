"""Clients that are too many, too slow or too large are refused; the others notice nothing."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grunlock.serving import Limits, batcher
from grunlock.serving.protocol import GuardedProtocol
from grunlock.serving.served import ServedModel
from grunlock.serving.slots import Slots
from tests.workflows.live_server import LiveServer, live, read_all
from tests.workflows.served_models import promising, put

QUICK = Limits(
    header_seconds=0.3,
    body_seconds=0.3,
    header_bytes=2000,
    body_bytes=2000,
    connections=20,
    drain_seconds=0,
    grace_seconds=1,
)
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
PATIENCE = 5.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "words.grunlock"
    put(promising(), path)
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[LiveServer]:
    with live(file, QUICK) as running:
        yield running


def sent(server: LiveServer, *parts: bytes) -> bytes:
    """What comes until the server closes."""
    with server.connect() as connection:
        for part in parts:
            connection.sendall(part)
        return read_all(connection)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([HEAD], b"408 Request Timeout"),  # headers that do not end
        ([HEAD + b"content-length: 50\r\n\r\n", b'{"te'], b"408 Request Timeout"),  # a body that does not
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n", b"4\r\n{   \r\n"], b"408 Request Timeout"),
        ([HEAD + b"x: " + b"y" * 3000], b"431 Request Header Fields Too Large"),
        ([HEAD + b"content-length: 2001\r\n\r\n"], b"413 "),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b" " * 1024 + b"\r\n"] * 1, b"408 "),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n", *[b"400\r\n" + b" " * 1024 + b"\r\n"] * 3], b"413 "),
        ([b"\x16\x03\x01 hello\r\n\r\n"], b"400 Bad Request"),
    ],
)
def test_slow_and_large(parts: list[bytes], status: bytes, server: LiveServer) -> None:
    answer = sent(server, *parts)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in head
    assert body.startswith(b'{"error": {"what": ')


def test_a_connection_that_says_nothing(server: LiveServer) -> None:
    assert sent(server) == b""


def test_the_longest_idle_connection_makes_room(server: LiveServer) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(QUICK.connections + 5)]
        assert server.post("/v1/predict", {"text": "the cat"}).status == 200
        assert read_all(idle[0]) == b""


def test_requests_on_one_connection(server: LiveServer) -> None:
    """Kept alive, pipelined, and after an answer of an error."""
    body = b'{"text": "the cat"}'
    one = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    wrong = HEAD + b"content-length: 2\r\n\r\n{}"
    last = one.replace(b"host: a", b"host: a\r\nconnection: close")
    answers = sent(server, one + wrong, last)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"422", b"200"]


class Gate:
    """Holds passes of the classifier until it is opened, and knows their sizes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.sizes: list[int] = []
        logits = ServedModel.logits

        def held(served: ServedModel, examples: Any) -> np.ndarray:
            self.sizes.append(len(examples))
            self.entered.set()
            assert self.open.wait(PATIENCE)
            return logits(served, examples)

        monkeypatch.setattr(ServedModel, "logits", held)


def queued(server: LiveServer) -> float:
    told = server.ask("GET", "/metrics").body.decode()
    line = next(line for line in told.splitlines() if line.startswith("grunlock_queued_examples{"))
    return float(line.split()[-1])


def wait_until(is_true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_waits_together_goes_together(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(batch=4, queue=6, drain_seconds=0, grace_seconds=1)
    with live(file, limits) as server, ThreadPoolExecutor(8) as clients:
        gate = Gate(monkeypatch)
        first = clients.submit(server.post, "/v1/predict", {"text": "the"})
        gate.entered.wait(PATIENCE)
        texts = [f"cat {i}" for i in range(6)]
        others = [clients.submit(server.post, "/v1/predict", {"text": text}) for text in texts]
        wait_until(lambda: queued(server) == 6)
        refused = server.post("/v1/predict", {"text": "one too many"})
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert "more requests than it can answer" in refused.error["what"]
        assert server.ask("GET", "/health").status == 200
        gate.open.set()
        replies = [other.result(PATIENCE) for other in others]
        assert first.result(PATIENCE).status == 200
    assert gate.sizes == [1, 4, 2]
    expected = promising().classifier().predict_proba(texts)
    for reply, probs in zip(replies, expected, strict=True):
        np.testing.assert_allclose(list(reply.fields["probs"].values()), probs, atol=2e-6)


def test_only_what_is_quick_stops_the_loop(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "LOOP_SECONDS", 0.2)
    pauses, threads, logits = iter((0.0, 0.0, 0.3, 0.3, 0.0)), [], ServedModel.logits

    def watched(served: ServedModel, examples: Any) -> np.ndarray:
        threads.append(threading.current_thread().name.partition("_")[0])
        time.sleep(next(pauses))
        return logits(served, examples)

    with live(file) as server:
        monkeypatch.setattr(ServedModel, "logits", watched)
        for _ in range(4):
            assert server.post("/v1/predict", {"text": "the cat"}).status == 200
        assert server.post("/v1/predict", {"text": "the cat " * 20}).status == 200
    aside, loop = threads[0], threads[1]
    assert aside == "grunlock-classifier" != loop
    assert threads == [aside, loop, loop, aside, aside]


def test_a_refusal_tells_nothing_of_how_long_answers_take(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, logits = [], ServedModel.logits

    def watched(served: ServedModel, examples: Any) -> np.ndarray:
        threads.append(threading.current_thread().name.partition("_")[0])
        return logits(served, examples)

    with live(file) as server:
        monkeypatch.setattr(ServedModel, "logits", watched)
        assert server.post("/v1/predict", {"text": " " * 1000}).status == 422
        assert server.post("/v1/predict", {"text": "the cat"}).status == 200
    assert set(threads) == {"grunlock-classifier"}


def test_one_that_cannot_be_read_spoils_no_other(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(file) as server, ThreadPoolExecutor(8) as clients:
        gate = Gate(monkeypatch)
        first = clients.submit(server.post, "/v1/predict", {"text": "the"})
        gate.entered.wait(PATIENCE)
        texts = ["cat", "", "mat"]
        others = [clients.submit(server.post, "/v1/predict", {"text": text}) for text in texts]
        wait_until(lambda: queued(server) == 3)
        gate.open.set()
        assert [other.result(PATIENCE).status for other in others] == [200, 422, 200]
        assert first.result(PATIENCE).status == 200


def test_no_answer_in_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(file, Limits(timeout_seconds=0.2, drain_seconds=0, grace_seconds=1)) as server:
        gate = Gate(monkeypatch)
        reply = server.post("/v1/predict", {"text": "the"})
        gate.open.set()
        assert reply.status == 504
        assert "within 0.2 seconds" in reply.error["expected"]
        assert server.post("/v1/predict", {"text": "the"}).status == 200


def test_clients_that_left_are_not_computed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(file) as server, ThreadPoolExecutor(2) as clients:
        gate = Gate(monkeypatch)
        first = clients.submit(server.post, "/v1/predict", {"text": "the"})
        gate.entered.wait(PATIENCE)
        body = b'{"text": "gone"}'
        with server.connect() as connection:
            connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
            wait_until(lambda: queued(server) == 1)
        told = 'route="/v1/predict",status="499"'
        wait_until(lambda: told in server.ask("GET", "/metrics").body.decode())
        gate.open.set()
        assert first.result(PATIENCE).status == 200
    assert gate.sizes == [1]


def test_a_model_at_fault(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(served: ServedModel, examples: Any) -> np.ndarray:
        raise RuntimeError("a bug")

    with live(file) as server:
        monkeypatch.setattr(ServedModel, "logits", broken)
        reply = server.post("/v1/predict", {"text": "the"})
        assert reply.status == 500
        assert reply.error["what"] == "The server is at fault."
        assert "a bug" not in reply.body.decode()
        monkeypatch.undo()
        assert server.post("/v1/predict", {"text": "the"}).status == 200


def test_many_idle_connections(file: Path) -> None:
    """Short version of benchmarks/serving/abuse.py."""
    limits = Limits(drain_seconds=0, grace_seconds=1)
    with live(file, limits) as server, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(server.connect())
        for _ in range(5):
            assert server.post("/v1/predict", {"text": "the cat"}).status == 200


def test_nobody_waits_for_a_client_that_does_not_read() -> None:
    class Transport:
        def __init__(self, unread: int) -> None:
            self.unread, self.calls = unread, []

        def get_write_buffer_size(self) -> int:
            return self.unread

        def is_closing(self) -> bool:
            return bool(self.calls)

        def abort(self) -> None:
            self.calls.append("abort")

        def close(self) -> None:
            self.calls.append("close")

    for unread, calls in ((0, ["close"]), (10, ["abort"])):
        connection = GuardedProtocol.__new__(GuardedProtocol)
        connection.transport = Transport(unread)
        connection.timeout_keep_alive_handler()
        assert connection.transport.calls == calls


def test_a_part_that_ends_is_seen(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ending(self: Slots, seconds: float, executor: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Slots, "watch", ending)
    with live(file, watch_seconds=1) as server:
        wait_until(lambda: server.ask("GET", "/ready").status == 503)
        assert server.ask("GET", "/ready").fields == {"status": "failed"}
