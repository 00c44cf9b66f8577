"""What each step of the road brought on validation, with its chance, from the models in the folder."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grunlock.comparison.verdict import Comparison, Verdict, verdicts
from grunlock.evaluation import run_answers
from grunlock.training.run_folder import RunFolder
from grunlock.tuning.study import StudyFolder, open_study, run_of
from grunlock.unlock.context import BEST_TRIAL, USUAL


@dataclass(frozen=True)
class RoadRuns:
    """Runs of the stations that a road has so far. seeds: of the best recipe, the best trial's first."""

    usual: Path | None
    best_trial: Path | None
    seeds: tuple[Path, ...]


def runs_of_road(folder: str | Path) -> RoadRuns:
    """Finished runs, wherever the folder is now. Raises StudyError for a search that cannot be read."""
    folder = Path(folder)
    search = folder / "search"
    best = open_study(search).best() if StudyFolder(search).settings.is_file() else None
    trial = None if best is None else run_of(best, search)
    others = [path for path in (folder / "seeds").glob("*") if path.name.isdigit() and _finished(path)]
    seeds = [] if trial is None else [trial, *sorted(others, key=lambda path: int(path.name))]
    usual = folder / "usual"
    done = (folder / "stages" / "seeds.json").is_file()
    return RoadRuns(usual if _finished(usual) else None, trial, tuple(seeds) if done else ())


def kept_run(folder: str | Path) -> Path | None:
    """The run whose model stands in the road's folder; None while there is none."""
    own, runs = RunFolder(Path(folder)), runs_of_road(folder)
    if not own.metrics.is_file():
        return None
    content = own.artifact.read_bytes()
    found = (runs.usual, runs.best_trial, *runs.seeds)
    return next((run for run in found if run and RunFolder(run).artifact.read_bytes() == content), None)


def verdicts_on_steps(folder: str | Path) -> tuple[Verdict, ...]:
    """The usual GRU against the linear model, the best trial against the usual GRU, on the validation
    examples: one trained model each, one family.

    The best trial was chosen by these examples, so its step is flattered: the verdicts of the last look are
    those to quote. Of the step to the mean of several seeds none is possible, for the trial is one of them.
    Stations that do not stand in the folder yet are left out. Raises what evaluating the runs raises.
    """
    folder = Path(folder)
    runs = runs_of_road(folder)
    right: dict[str, NDArray[np.bool_]] = {}
    linear = folder / "stages" / "linear.json"
    if linear.is_file() and (folder / "linear.npz").is_file():
        name = json.loads(linear.read_bytes())["stations"][0]["name"]
        with np.load(folder / "linear.npz") as arrays:
            right[name] = arrays["valid"]
    for name, run in ((USUAL, runs.usual), (BEST_TRIAL, runs.best_trial)):
        if run is not None:
            right[name] = _right(run)
    names = list(right)
    pairs = [Comparison(b, a, right[b], right[a]) for a, b in pairwise(names)]
    return verdicts(pairs) if pairs else ()


def _right(run: Path) -> NDArray[np.bool_]:
    probs, targets = run_answers(run, "valid")
    right: NDArray[np.bool_] = probs.argmax(axis=1) == targets
    return right


def _finished(path: Path) -> bool:
    return RunFolder(path).metrics.is_file() and RunFolder(path).artifact.is_file()
