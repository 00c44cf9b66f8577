"""A new model takes the place of an old one while requests run; none is dropped, none mixes two versions."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grunlock.serving import batcher
from grunlock.serving.served import ServedModel
from tests.workflows.live_server import LiveServer, live
from tests.workflows.served_models import damage, of_series, promising, put

TEXTS = ["the cat", "a dog sat", "zebra"]
SECONDS = 2.0  # of asking and swapping
PATIENCE = 10.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "words.grunlock"
    put(promising(), path)
    return path


def version(server: LiveServer) -> str:
    found: str = server.post("/v1/predict", {"text": "a"}).fields["version"]
    return found


def test_when_asked(file: Path) -> None:
    with live(file) as server:
        before = version(server)
        assert server.post("/v1/reload").fields["outcomes"] == {"words": "same"}
        newer = put(promising(0.9), file)
        assert version(server) == before
        assert server.post("/v1/reload").fields["outcomes"] == {"words": "changed"}
        assert version(server) == newer != before


def test_when_the_file_changes(file: Path) -> None:
    with live(file, watch_seconds=0.05) as server:
        newer = put(promising(0.9), file)
        end = time.monotonic() + PATIENCE
        while version(server) != newer:
            assert time.monotonic() < end


@pytest.mark.parametrize("how", ["damaged", "of another kind", "gone"])
def test_a_file_that_cannot_be_served(how: str, file: Path) -> None:
    with live(file) as server:
        before = version(server)
        if how == "damaged":
            damage(file)
        elif how == "gone":
            file.unlink()
        else:
            put(of_series(), file)
        reply = server.post("/v1/reload")
        assert reply.status == 409
        assert f"version {before[:12]} goes on" in reply.error["what"]
        assert version(server) == before
        (model,) = server.ask("GET", "/v1/model").fields["models"]
        assert model["refused_file"] is not None
        assert model["reloads"]["failed"] == 1
        assert 'grunlock_refused_file{model="words"' in server.ask("GET", "/metrics").body.decode()
        newer = put(promising(0.9), file)
        assert server.post("/v1/reload").status == 200
        assert version(server) == newer
        (model,) = server.ask("GET", "/v1/model").fields["models"]
        assert model["refused_file"] is None


def test_requests_finish_with_the_model_they_began_with(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "LOOP_SECONDS", 0.0)  # what is held here must not hold the loop
    entered, going = threading.Event(), threading.Event()
    logits = ServedModel.logits

    def held(served: ServedModel, examples: object) -> object:
        entered.set()
        assert going.wait(PATIENCE)
        return logits(served, examples)  # type: ignore[arg-type]

    with live(file) as server, ThreadPoolExecutor(2) as clients:
        before = version(server)
        monkeypatch.setattr(ServedModel, "logits", held)
        running = clients.submit(server.post, "/v1/predict", {"text": "a"})
        entered.wait(PATIENCE)
        waiting = clients.submit(server.post, "/v1/predict", {"text": "b"})
        time.sleep(0.1)
        newer = put(promising(0.9), file)
        assert server.post("/v1/reload").status == 200
        going.set()
        assert running.result(PATIENCE).fields["version"] == before
        assert waiting.result(PATIENCE).fields["version"] == before
        assert version(server) == newer


def test_swaps_under_load(file: Path) -> None:
    """Short version of benchmarks/serving/soak.py: each answer is that of the version which it names."""
    temperatures = (0.7, 0.9)
    versions = {put(promising(t), file): promising(t).classifier().predict_proba(TEXTS) for t in temperatures}
    stop = threading.Event()
    faults: list[str] = []
    seen: set[str] = set()

    def ask(server: LiveServer) -> int:
        count = 0
        while not stop.is_set():
            reply = server.post("/v1/batch", {"texts": TEXTS})
            if reply.status != 200:
                faults.append(reply.body.decode())
                return count
            seen.add(reply.fields["version"])
            for row, probs in zip(
                reply.fields["predictions"], versions[reply.fields["version"]], strict=True
            ):
                if abs(list(row["probs"].values()) - probs).max() > 1e-5:
                    faults.append(json.dumps(row))
            count += 1
        return count

    with live(file, watch_seconds=0.02) as server, ThreadPoolExecutor(3) as clients:
        asking = [clients.submit(ask, server) for _ in range(3)]
        end = time.monotonic() + SECONDS
        swaps = 0
        while time.monotonic() < end:
            put(promising(temperatures[swaps % 2]), file)
            swaps += 1
            time.sleep(0.1)
        stop.set()
        counts = [each.result(PATIENCE) for each in asking]
    assert not faults
    assert min(counts) > 3
    assert swaps > 3
    assert seen == set(versions)
