"""A node is lost in the middle of a search."""

import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

from grunlock.recipe import read_recipe
from grunlock.scale import connected
from grunlock.scale.search import crew as search
from grunlock.scale.search.crew import ClusterCrew
from grunlock.training.history import read_history
from grunlock.training.run import complete
from grunlock.tuning import Budget, StudySettings, tune
from tests.conftest import THOROUGH
from tests.scale import dying_trials
from tests.scale.ray_clusters import ray_cluster
from tests.scale.test_search import space


@THOROUGH
def test_trials_of_a_lost_node_go_on_elsewhere(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "run_trial_here", dying_trials.slow)
    folder = tmp_path / "study"
    with ray_cluster(nodes=2, soon_missed=True) as nodes:

        def remove_node_of_the_first_trial() -> None:
            while not (folder / "trials" / "0000" / "0" / "checkpoint.pt").is_file():
                time.sleep(0.05)
            lost = (colours_csv.parent / "node-of-0.1").read_text(encoding="utf-8")
            node = next(node for node in nodes.worker_nodes if node.node_id == lost)
            nodes.remove_node(node, allow_graceful=False)

        accident = threading.Thread(target=remove_node_of_the_first_trial)
        accident.start()
        with connected(nodes.address):
            settings = StudySettings(name="colours", source=str(colours_csv), pruner="none")
            result = tune(settings, space(), folder, Budget(trials=3), workers=ClusterCrew())
        accident.join()
    assert [(t.number, t.state) for t in result.trials] == [(n, "complete") for n in range(3)]
    assert (colours_csv.parent / "node-of-0.2").read_text() != (
        colours_csv.parent / "node-of-0.1"
    ).read_text()
    first = result.trials[0].folder
    assert first is not None
    starts = [record["step"] for record in read_history(first / "history.jsonl") if "total_steps" in record]
    assert len(starts) == 2
    assert starts[1] > 0  # from its checkpoint
    whole = complete(colours_csv, read_recipe(first), tmp_path / "whole")
    assert (first / "model.grunlock").read_bytes() == whole.artifact.read_bytes()
