"""`grunlock serve` as a process: what it prints, how it stops, several workers, and no torch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grunlock.cli.serve import named_models, read_token
from grunlock.errors import ServingError
from grunlock.serving.server import allow_connections, bound
from tests.workflows.conftest import CommandLine
from tests.workflows.served_models import promising, put

PATIENCE = 30.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "words.grunlock"
    put(promising(), path)
    return path


@contextmanager
def started(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """The process, its address, and the lines that it printed until then."""
    command = [sys.executable, "-m", "grunlock", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        try:
            while not lines or not lines[-1].startswith("runs "):
                lines.append(process.stderr.readline())
                assert lines[-1], "".join(lines)
            address = re.search(r"http://\S+", "".join(lines))
            assert address is not None
            yield process, address[0], lines
        finally:
            process.kill()


def asked(address: str, text: str) -> dict[str, object]:
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(f"{address}/v1/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        found: dict[str, object] = json.load(reply)
    return found


def readiness(address: str) -> int:
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=PATIENCE) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_serves_and_stops_in_order(file: Path) -> None:
    with started(file, "--drain", "0.5") as (process, address, lines):
        assert any("words" in line for line in lines)
        assert asked(address, "the cat")["model"] == "words"
        loaded = Path(f"/proc/{process.pid}/maps")
        assert not loaded.exists() or "libtorch" not in loaded.read_text()
        process.send_signal(signal.SIGTERM)
        while readiness(address) == 200:
            time.sleep(0.01)
        assert readiness(address) == 503  # it answers still, and says so
        assert asked(address, "the cat")["model"] == "words"
        assert process.wait(PATIENCE) == 0


def test_several_workers(file: Path) -> None:
    before = asked_version(file)
    with started(file, "--workers", "2", "--watch", "0", "--drain", "0") as (process, address, _):
        for _ in range(20):
            assert asked(address, "the cat")["version"] == before
        with urllib.request.urlopen(f"{address}/metrics", timeout=PATIENCE) as reply:
            told = reply.read().decode()
        assert 'grunlock_requests_total{route="/v1/predict",status="200"} 20.0' in told  # of both together
        put(promising(0.9), file)
        newer = asked_version(file)
        process.send_signal(signal.SIGHUP)
        end, same = time.monotonic() + PATIENCE, 0
        while same < 20:
            same = same + 1 if asked(address, "the cat")["version"] == newer else 0
            assert time.monotonic() < end
        worker = re.search(r'grunlock_streams\{worker="(\d+)"\}', told)
        assert worker is not None
        os.kill(int(worker[1]), signal.SIGKILL)
        assert process.stderr is not None
        while "another takes its place" not in process.stderr.readline():
            assert process.poll() is None
        assert asked(address, "the cat")["version"] == newer
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def asked_version(file: Path) -> str:
    from grunlock.serving.served import file_version

    return file_version(file)


def test_what_cannot_be_served(tmp_path: Path, file: Path, grunlock: CommandLine) -> None:
    missing = grunlock("serve", tmp_path / "none", "--port", 0)
    assert missing.code == 1
    assert "There is no model here." in missing.err
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        refused = grunlock("serve", file, "--port", port)
    assert refused.code == 1
    assert "The port is taken." in refused.err
    assert "--port" in refused.err
    assert "Two models have one name." in grunlock("serve", file, "--also", file).err
    assert "not one" in grunlock("serve", file, "--max-batch", 0).err
    nowhere = grunlock("serve", file, "--host", "203.0.113.1", "--port", 0)
    assert "no such address" in nowhere.err
    assert "no token" in nowhere.err  # the warning before it


def test_names(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "best"
    run.mkdir(parents=True)
    assert named_models([str(run), "b=a/model.grunlock", "c.grunlock"]) == {
        "best": run,
        "b": Path("a/model.grunlock"),
        "c": Path("c.grunlock"),
    }
    with pytest.raises(ServingError, match=r"best2="):
        named_models([str(run), f"best={run}"])


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRUNLOCK_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("GRUNLOCK_TOKEN", "a")
    assert read_token(None) == "a"
    (tmp_path / "token").write_text(" b \n")
    assert read_token(tmp_path / "token") == "b"
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ServingError, match="no token"):
        read_token(tmp_path / "token")
    with pytest.raises(ServingError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_files_for_connections() -> None:
    assert allow_connections(10) == 10


def test_importing_it_is_light() -> None:
    check = (
        "import sys, grunlock.serving; assert 'fastapi' not in sys.modules; "
        "from grunlock.serving import create_app, serve; sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ}
    assert subprocess.run([sys.executable, "-c", check], check=False, env=environment).returncode == 0
