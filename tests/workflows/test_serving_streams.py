"""Texts and series that come in pieces over a WebSocket: the answers are those of `stream`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from grunlock.serving import Limits
from tests.parity.exported_models import drawn_series, text_artifact
from tests.workflows.live_server import LiveServer, live
from tests.workflows.served_models import RATE, of_series, promising, put

PIECES = ["the c", "at sat ", "on the mat,", " naï", "ve Straße zeb", "ra"]
LIMITS = Limits(
    text_chars=100, stream_chars=150, streams=2, idle_seconds=0.4, drain_seconds=0, grace_seconds=1
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    artifacts = {"words": promising(), "waves": of_series(), "both": text_artifact()}
    for name, artifact in artifacts.items():
        put(artifact, folder / f"{name}.grunlock")
    return {name: folder / f"{name}.grunlock" for name in artifacts}


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[LiveServer]:
    with live(files, LIMITS) as running:
        yield running


def opened(server: LiveServer, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/v1/stream", **options)


def say(socket: ClientConnection, message: object) -> Any:
    socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
    return json.loads(socket.recv(timeout=5))


def test_a_text(server: LiveServer) -> None:
    stream = promising().classifier().stream(RATE)
    with opened(server) as socket:
        assert say(socket, {"open": {"max_error": RATE}})["opened"]["model"] == "words"
        for piece in PIECES:
            stream.feed(piece)
            state = say(socket, {"piece": piece})
            np.testing.assert_allclose(list(state["probs"].values()), stream.probabilities, atol=1e-6)
            np.testing.assert_allclose(list(state["outlook"].values()), stream.outlook, atol=1e-6)
            assert state["num_steps"] == stream.num_steps
            assert (state["answer"], state["decided_at"]) == (stream.answer, stream.decided_at)
            assert state["finished"] is False
        stream.finish()
        state = say(socket, {"finish": True})
        assert state["finished"]
        assert state["decided"]
        assert state["label"] == stream.label
        whole = promising().classifier().predict_proba(["".join(PIECES)])[0]
        np.testing.assert_allclose(list(state["probs"].values()), whole, atol=1e-5)


def test_a_series(server: LiveServer) -> None:
    (series,) = drawn_series([12])
    with opened(server) as socket:
        say(socket, {"open": {"model": "waves"}})
        for step in series.tolist():
            state = say(socket, {"values": [[None if np.isnan(x) else x for x in step]]})
        assert state["num_steps"] == len(series)
    whole = of_series().classifier().predict_proba([series])[0]
    np.testing.assert_allclose(list(state["probs"].values()), whole, atol=1e-5)


def test_nothing_yet_and_begun_anew(server: LiveServer) -> None:
    with opened(server) as socket:
        say(socket, {"open": {}})
        assert say(socket, {"piece": " "})["probs"] is None
        say(socket, {"piece": "dog dog"})
        say(socket, {"open": {}})
        assert say(socket, {"piece": "the cat "})["num_steps"] == 2


WRONG: list[tuple[list[object], int, str]] = [
    ([{"open": {"model": "both"}}], 1008, "cannot answer before its input has ended"),
    ([{"open": {"model": "word"}}], 1008, "no such model"),
    ([{"open": {"max_err": 0.1}}], 1008, "no such key"),
    ([{"open": {"max_error": 0.5}}], 1008, "not calibrated for this error rate"),
    ([{"piece": "a"}], 1008, "The stream is not open"),
    ([{"open": {}}, {"values": [[1, 2]]}], 1008, "reads text"),
    ([{"open": {}}, {"piece": "a" * 101}], 1008, "too long"),
    ([{"open": {}}, {"piece": "a" * 100}, {"piece": "a" * 100}], 1009, "The stream is too long"),
    ([{"open": {}}, {"piece": "\ud800"}], 1008, "not valid Unicode"),
    ([{"open": {}}, {"finish": True}, {"piece": "a"}], 1008, "The stream has ended"),
    ([{"open": {}, "piece": "a"}], 1008, "one key"),
    ([{"peace": "a"}], 1008, "no such key"),
    (["{"], 1008, "not JSON"),
    ([b"\x00"], 1008, "binary"),
    ([{"open": 5}], 1008, "not what it should be"),
]


@pytest.mark.parametrize(("messages", "code", "complaint"), WRONG, ids=[each[2] for each in WRONG])
def test_what_is_wrong_is_said(messages: list[object], code: int, complaint: str, server: LiveServer) -> None:
    with opened(server) as socket:
        for message in messages:
            answer = say(socket, message)
        assert complaint in answer["error"]["what"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


def test_silence(server: LiveServer) -> None:
    with opened(server) as socket:
        assert "silent for too long" in json.loads(socket.recv(timeout=5))["error"]["what"]


def test_too_many(server: LiveServer) -> None:
    with opened(server) as first, opened(server) as second:
        say(first, {"open": {}})
        say(second, {"open": {}})
        with opened(server) as third:
            assert "as many streams" in json.loads(third.recv(timeout=5))["error"]["what"]
            with pytest.raises(ConnectionClosed) as closed:
                third.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


def test_pages_of_others_may_not_ask(server: LiveServer, files: dict[str, Path]) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        opened(server, origin="https://example.org").close()
    with opened(server, origin=f"http://127.0.0.1:{server.port}") as socket:
        say(socket, {"open": {}})
    other = "https://example.org"
    with live(files, LIMITS, origins=(other,)) as allowed, opened(allowed, origin=other) as socket:
        say(socket, {"open": {}})


def test_a_token(files: dict[str, Path]) -> None:
    with live(files, LIMITS, token="secret") as server:
        for wrong in ({}, {"token": "other"}):
            with opened(server) as socket:
                assert say(socket, {"open": wrong})["error"]["where"] == "open.token"
        with opened(server) as socket:
            say(socket, {"open": {"token": "secret"}})
        with opened(server, additional_headers={"authorization": "Bearer secret"}) as socket:
            assert "opened" in say(socket, {"open": {}})
