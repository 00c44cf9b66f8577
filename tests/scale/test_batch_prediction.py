"""Batch prediction: the rows of `grunlock predict`, each once, whatever is killed or stopped on the way."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

import pyarrow as pa
import pyarrow.parquet as pq

from grunlock.artifact import Artifact, save
from grunlock.errors import CalibrationError, ClusterError, DataError, RunInterruptedError, StorageError
from grunlock.evaluation import Promises
from grunlock.scale import connected, reach
from grunlock.scale.predict import job as predict
from grunlock.scale.predict.job import BatchRequest, predict_on
from tests.conftest import THOROUGH, colour_rows
from tests.scale import scorers
from tests.scale.ray_clusters import ray_cluster
from tests.workflows.conftest import CommandLine
from tests.workflows.conftest import grunlock as grunlock

NUM_TEXTS = 240


@pytest.fixture
def request_of(tmp_path: Path, artifact: Artifact) -> Callable[..., BatchRequest]:
    """Requests for a folder of Parquet, JSONL and CSV; chunks of 20 rows, several pieces to a file."""
    save(artifact, tmp_path / "model.grunlock")
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / scorers.MARKS).mkdir()
    texts = [f"{text} {i}" for i, (_, text) in enumerate(colour_rows(NUM_TEXTS))]
    pq.write_table(pa.table({"text": texts[:100]}), data / "a.parquet", row_group_size=50)
    (data / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[100:200]))
    (data / "c.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts[200:]))

    def make(name: str, **fields: Any) -> BatchRequest:
        asked = BatchRequest(tmp_path / "model.grunlock", str(data), str(tmp_path / name), "jsonl")
        return replace(asked, chunk_rows=20, piece_bytes=1500, **fields)

    return make


def content(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name.startswith("part-")}


def test_interrupted_and_killed_it_gives_the_rows_of_predict(
    request_of: Callable[..., BatchRequest],
    two_nodes: Any,
    grunlock: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = request_of("out")
    one_file = tmp_path / "one.jsonl"
    assert grunlock("predict", asked.model, asked.source, "-o", one_file).code == 0
    monkeypatch.setattr(predict, "PartScorer", scorers.KilledOnce)

    def interrupt(parts: int, rows: int) -> None:
        if parts == 3:
            raise KeyboardInterrupt

    with connected(two_nodes.address) as cluster:
        with pytest.raises(RunInterruptedError, match="Stopped after 3 parts") as caught:
            predict_on(cluster, asked, interrupt)
        assert "the same command" in str(caught.value.cure)
        assert not (tmp_path / "out" / "_SUCCESS.json").exists()
        result = predict_on(cluster, asked)
        assert predict_on(cluster, asked).kept == result.parts
    assert (tmp_path / scorers.MARKS / "killed").exists()
    assert result.kept >= 3
    assert result.rows == NUM_TEXTS
    parts = content(asked.output)
    assert b"".join(parts[name] for name in sorted(parts)) == one_file.read_bytes()
    assert {path.name for path in Path(asked.output).iterdir()} == {*parts, "_REQUEST.json", "_SUCCESS.json"}
    manifest = json.loads((tmp_path / "out" / "_SUCCESS.json").read_text())
    assert {each["name"]: each["rows"] for each in manifest["parts"]} == {
        name: text.count(b"\n") for name, text in parts.items()
    }


@THOROUGH
def test_a_node_is_killed(
    request_of: Callable[..., BatchRequest],
    grunlock: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = request_of("out")
    one_file = tmp_path / "one.jsonl"
    assert grunlock("predict", asked.model, asked.source, "-o", one_file).code == 0
    monkeypatch.setattr(predict, "PartScorer", scorers.Slow)
    with ray_cluster(nodes=2) as nodes, connected(nodes.address) as cluster:
        victim = next(iter(nodes.worker_nodes))
        killed = threading.Thread(
            target=_kill_when_busy, args=(nodes, victim, tmp_path / scorers.MARKS / victim.node_id)
        )
        killed.start()
        result = predict_on(cluster, asked)
        killed.join()
    assert (tmp_path / scorers.MARKS / victim.node_id).exists()
    assert result.rows == NUM_TEXTS
    parts = content(asked.output)
    assert b"".join(parts[name] for name in sorted(parts)) == one_file.read_bytes()


def _kill_when_busy(nodes: Any, victim: Any, mark: Path) -> None:
    for _ in range(600):
        if mark.exists():
            break
        time.sleep(0.05)
    nodes.remove_node(victim, allow_graceful=False)


def test_what_cannot_be_scored(
    request_of: Callable[..., BatchRequest], two_nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request_of("out")
    with connected(two_nodes.address) as cluster:
        idle = replace(cluster, nodes=tuple(replace(node, cpus=0.0) for node in cluster.nodes))
        with pytest.raises(ClusterError, match="No node of the cluster has a processor"):
            predict_on(idle, asked)
        with pytest.raises(StorageError, match="cannot be read or written"):
            predict_on(cluster, replace(asked, output="/proc/no/folder"))
        with pytest.raises(CalibrationError, match="calibrat"):
            predict_on(cluster, replace(asked, promises=Promises(0.9)))
        with pytest.raises(DataError, match="no such file"):
            predict_on(cluster, replace(asked, source=asked.source + "/none.csv"))
        assert not Path(asked.output).exists()
        lines = (Path(asked.source) / "b.jsonl").read_text().splitlines()
        lines[70] = '{"text": " "}'
        (Path(asked.source) / "b.jsonl").write_text("\n".join(lines) + "\n")
        with pytest.raises(DataError, match="A text is empty") as caught:
            predict_on(cluster, asked)
        assert caught.value.where == f"{asked.source}/b.jsonl, row 71"
        assert "UDF" not in str(caught.value)
        assert not (Path(asked.output) / "_SUCCESS.json").exists()
        monkeypatch.setattr(predict, "PartScorer", scorers.KilledAlways)
        monkeypatch.setattr(predict, "RETRIES", 1)
        with pytest.raises(ClusterError, match="A worker ended without a word"):
            predict_on(cluster, replace(asked, output=asked.output + "2"))
        monkeypatch.setattr(reach, "_problem", lambda *_: ("/data/a.parquet", "no such file"))
        with pytest.raises(ClusterError, match="A node does not see") as caught:
            predict_on(cluster, replace(asked, output=asked.output + "3"))
        assert f"/data/a.parquet on {cluster.nodes[0].host}" == caught.value.where


def test_options_that_do_not_go_together(
    grunlock: CommandLine, request_of: Callable[..., BatchRequest]
) -> None:
    asked = request_of("out")
    for arguments, message in (
        (["--text", "red", "--cluster", "auto"], "A cluster reads files"),
        ([asked.source, "--cluster", "auto"], "A cluster writes to a folder"),
        ([asked.source, "--format", "csv"], "for prediction on a cluster"),
        ([asked.source, "--skip-damaged-files"], "for prediction on a cluster"),
    ):
        outcome = grunlock("predict", asked.model, *arguments)
        assert outcome.code == 1
        assert message in outcome.err
