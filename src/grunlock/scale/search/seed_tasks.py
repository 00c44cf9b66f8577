"""The trainings of a duel or an ablation as Ray tasks, all under way at once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from grunlock.comparison.runs import SeedPlan, SeedRun
from grunlock.errors import RunInterruptedError
from grunlock.scale.cluster import alive_nodes
from grunlock.scale.failures import is_ours, told
from grunlock.scale.search.crew import ATTEMPTS, cancel
from grunlock.scale.search.share import NodeWatch, Share
from grunlock.scale.search.workspace import Workspace, workspace_for
from grunlock.training.interruption import stop_request
from grunlock.training.run_folder import RunFolder

WAIT_SECONDS = 1.0  # between looks whether there is still somebody to wait for
Key = tuple[Path, int]  # folder of a plan and seed


class SeedTasks:
    """A `comparison.runs.SeedRunner` on the cluster this process is connected to.

    Ray runs a task again whose worker or node dies; it goes on from its last checkpoint.
    """

    def __init__(self, folder: Path, share: Share | None = None, shared: str | None = None) -> None:
        """folder: of the duel or ablation. share, shared: as of `ClusterCrew`."""
        self._folder = folder
        self._share = Share() if share is None else share
        self._shared = shared
        self._workspace: Workspace | None = None
        self._tasks: dict[Key, Any] = {}
        self._train = ray.remote(max_retries=ATTEMPTS - 1, **self._share.options)(train_seed_here)

    def announce(self, plans: Sequence[SeedPlan]) -> None:
        """Begin all of them. Raises ClusterError and StorageError as `workspace_for`."""
        nodes = self._share.usable(alive_nodes())
        sources = {
            path for plan in plans for path in (plan.source.train, plan.source.valid, plan.source.test)
        }
        self._workspace = workspace_for(self._folder, self._shared, nodes, sources)
        for plan in plans:
            for seed in plan.seeds:
                if not _is_finished(plan, seed):
                    self._begin(self._workspace, plan, seed)

    def run(self, plan: SeedPlan, listen: Callable[[SeedRun], None] | None) -> list[SeedRun]:
        """See `SeedRunner.run`. The first error ends the other trainings of the plan."""
        runs = []
        try:
            for seed in plan.seeds:
                runs.append(self._ended(plan, seed))
                if listen is not None:
                    listen(runs[-1])
        except KeyboardInterrupt as error:
            self._end(list(self._tasks))
            raise RunInterruptedError(
                "Stopped.", where=self._folder, cure="give the same command again to go on"
            ) from error
        except BaseException:
            self._end([key for key in self._tasks if key[0] == plan.folder.absolute()])
            raise
        return runs

    def _begin(self, workspace: Workspace, plan: SeedPlan, seed: int) -> None:
        plan = replace(plan, folder=plan.folder.absolute())
        part = _part(workspace, plan, seed)
        workspace.offer(part)
        task = self._train.options(name=part).remote(workspace, plan, seed, self._share.threads)
        self._tasks[plan.folder, seed] = task

    def _ended(self, plan: SeedPlan, seed: int) -> SeedRun:
        plan = replace(plan, folder=plan.folder.absolute())
        key = (plan.folder, seed)
        if key not in self._tasks:  # it was finished before, and is read only
            return plan.train(seed)
        assert self._workspace is not None
        try:
            run = self._wait_for(self._tasks[key])
        except RayError as error:
            if is_ours(error):
                raise told(error, plan.folder / str(seed)) from error
            raise
        del self._tasks[key]
        self._workspace.collect(_part(self._workspace, plan, seed))
        return run

    def _wait_for(self, task: Any) -> SeedRun:
        watch = NodeWatch(self._share, self._folder)
        with stop_request() as stop:
            while not ray.wait([task], timeout=WAIT_SECONDS)[0]:
                if stop.requested:
                    raise KeyboardInterrupt
                watch.look()
        run: SeedRun = ray.get(task)
        return run

    def _end(self, keys: Sequence[Key]) -> None:
        """Stop tasks that still run, and bring what they wrote into the folder."""
        tasks = [self._tasks.pop(key) for key in keys]
        cancel(tasks)
        if self._workspace is not None:
            for folder, seed in keys:
                self._workspace.collect(str((folder / str(seed)).relative_to(self._workspace.folder)))


def train_seed_here(workspace: Workspace, plan: SeedPlan, seed: int, threads: int) -> SeedRun:
    """One training on a node. Raises what training raises."""
    torch.set_num_threads(threads)
    part = _part(workspace, plan, seed)
    with workspace.opened(part) as (root, mirrors):
        here = replace(plan, folder=root / plan.folder.relative_to(workspace.folder))
        run = here.train(seed, mirrors)
        return replace(run, folder=workspace.here(run.folder, root))


def _part(workspace: Workspace, plan: SeedPlan, seed: int) -> str:
    return (plan.folder / str(seed)).relative_to(workspace.folder).as_posix()


def _is_finished(plan: SeedPlan, seed: int) -> bool:
    run = RunFolder(plan.folder / str(seed))
    return run.artifact.is_file() and run.metrics.is_file()
