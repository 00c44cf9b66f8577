"""The OpenAPI description and the server agree: schemathesis finds no answer that is not described."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grunlock import TextClassifier
from tests.workflows.live_server import LiveServer, live
from tests.workflows.served_models import of_series, promising, put

SETTINGS = Path(__file__).parents[2] / "benchmarks" / "serving" / "schemathesis.toml"
COMMAND = Path(sys.executable).with_name("schemathesis")

pytestmark = pytest.mark.skipif(shutil.which(COMMAND) is None, reason="schemathesis is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    put(promising(), folder / "words.grunlock")
    put(of_series(), folder / "waves.grunlock")
    return {"words": folder / "words.grunlock", "waves": folder / "waves.grunlock"}


def found_by(server: LiveServer, *options: str) -> subprocess.CompletedProcess[str]:
    """What `schemathesis run` says about the server."""
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    run = ["run", address, "--seed", "1", "--max-examples", "5", "--no-color", *options]
    return subprocess.run(
        [COMMAND, "--config-file", SETTINGS, *run], check=False, capture_output=True, text=True
    )


def test_no_answer_is_undescribed(files: dict[str, Path]) -> None:
    with live(files) as server:
        done = found_by(server, "--phases", "coverage,fuzzing")
    assert done.returncode == 0, done.stdout


def test_one_that_is_would_be_found(files: dict[str, Path]) -> None:
    class Wrong:
        def to_dict(self) -> dict[str, Any]:
            return {"tokens": "none", "labels": []}

    def explain(classifier: TextClassifier, text: str) -> Wrong:
        return Wrong()

    with live(files, explain=explain) as server:
        done = found_by(server, "--phases", "fuzzing", "--include-path", "/v1/explain")
    assert done.returncode == 1
    assert "schema" in done.stdout


def test_every_refusal_is_described(files: dict[str, Path]) -> None:
    with live(files, token="secret") as server:
        described = server.ask("GET", "/openapi.json").fields
    for path in ("/v1/predict", "/v1/batch", "/v1/explain"):
        answers = described["paths"][path]["post"]["responses"]
        assert {"400", "401", "404", "408", "413", "415", "422", "500", "503", "504"} <= answers.keys()
        for status, answer in answers.items():
            if status != "200":
                (content,) = answer["content"].values()
                assert content["schema"]["$ref"].endswith("/Refusal")
        assert described["paths"][path]["post"]["security"] == [{"HTTPBearer": []}]
