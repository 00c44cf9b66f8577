"""A study whose trials are Ray tasks.

Optuna chooses, prunes and remembers in the driver, as without Ray: each trial that is under way has a thread
here that waits for it.
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grunlock.errors import GrunlockError, RunInterruptedError
from grunlock.scale.cluster import alive_nodes
from grunlock.scale.failures import is_lost, is_ours, told
from grunlock.scale.search.share import NodeWatch, Share
from grunlock.scale.search.trial_tasks import TrialEnd, TrialSetting, link_data, run_trial_here, trial_part
from grunlock.scale.search.workspace import Workspace, workspace_for
from grunlock.training.interruption import StopRequest, stop_request
from grunlock.tuning.objective import Outcome, Report
from grunlock.tuning.results import TrialRecord
from grunlock.tuning.study import Study
from grunlock.tuning.work import Limits, TrialListener, work

ATTEMPTS = 4  # of a trial whose worker or node dies
POLL_SECONDS = 0.2
CANCEL_SECONDS = 60.0  # for a checkpoint, before a task is ended by force


@dataclass(frozen=True)
class ClusterCrew:
    """A `tuning.Crew` on the cluster this process is connected to.

    share:  what a trial takes
    most:   trials at once; None: as many as the nodes hold
    shared: a storage for runs, where nodes do not see the study's folder; see `workspace_for`
    """

    share: Share = field(default_factory=Share)
    most: int | None = None
    shared: str | None = None

    def run(self, study: Study, limits: Limits, listen: TrialListener | None) -> None:
        """See `Crew.run`. Raises ClusterError if no node can hold a trial, if the nodes do not see folder or
        data, or when all nodes are lost; StorageError if the shared storage cannot be written."""
        nodes = self.share.usable(alive_nodes())
        settings = study.settings
        workspace = workspace_for(study.folder.path, self.shared, nodes, (settings.source, settings.valid))
        at_once = sum(self.share.slots(node) for node in nodes)
        search = _Search(study, limits, listen, self.share, workspace)
        try:
            search.run(at_once if self.most is None else min(at_once, self.most))
        finally:
            search.close()
        workspace.clear()


class _Search:
    """One run of a crew. Trials are chosen and told under `claim`; `stop` ends all threads."""

    def __init__(
        self,
        study: Study,
        limits: Limits,
        listen: TrialListener | None,
        share: Share,
        workspace: Workspace,
    ) -> None:
        self.study = study
        self.limits = limits
        self.listen = listen
        self.share = share
        self.workspace = workspace
        self.claim = threading.Lock()
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.attempts: dict[str, queue.SimpleQueue[tuple[int, float] | None]] = {}
        self.reports = Queue(actor_options=_beside_the_driver())
        setting = TrialSetting(study.settings, study.space, workspace, self.reports, share.threads)
        self._setting = ray.put(setting)
        self._task = ray.remote(max_retries=0, **share.options)(run_trial_here)

    def run(self, at_once: int) -> None:
        unfinished = [trial.number for trial in self.study.unfinished()]
        threads = [
            threading.Thread(target=self._work, args=(unfinished[index::at_once],), name=f"trial {index}")
            for index in range(at_once)
        ]
        try:
            for thread in threads:
                thread.start()
            with stop_request() as stop:
                self._hand_on_reports(threads, stop)
        except BaseException as error:
            self.errors.insert(0, error)
            self.stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        self._raise()

    def close(self) -> None:
        self.reports.shutdown(force=True)

    def _hand_on_reports(self, threads: Sequence[threading.Thread], stop: StopRequest) -> None:
        """Until all threads have ended. Raises ClusterError if no node is left, and KeyboardInterrupt when a
        stop was asked for: a signal that raised at once could fall into a callback of Ray and be lost."""
        watch = NodeWatch(self.share, self.workspace.folder)
        while any(thread.is_alive() for thread in threads):
            if stop.requested:
                raise KeyboardInterrupt
            try:
                attempt, step, value = self.reports.get(timeout=POLL_SECONDS)
            except Empty:
                pass
            else:
                waiting = self.attempts.get(attempt)
                if waiting is not None:  # else its end was there before it
                    waiting.put((step, value))
            watch.look()

    def _work(self, unfinished: list[int]) -> None:
        evaluate = _OnCluster(self)
        try:
            work(
                self.study,
                evaluate,
                self.limits,
                unfinished=unfinished,
                claim=self.claim,
                listen=None if self.listen is None else self._tell,
            )
        except BaseException as error:  # raised again by the main thread
            self.errors.append(error)
            self.stop.set()

    def _tell(self, trial: TrialRecord, best: bool) -> None:
        assert self.listen is not None
        with self.claim:
            self.listen(trial, best)

    def _raise(self) -> None:
        """The first error; of those that followed from it none."""
        if not self.errors:
            return
        first = self.errors[0]
        if isinstance(first, KeyboardInterrupt):
            raise RunInterruptedError("Stopped.", where=self.study.folder.path) from first
        raise first


class _OnCluster:
    """A `tuning.objective.Evaluate`: runs a trial as a task, again if its worker or node dies."""

    def __init__(self, search: _Search) -> None:
        self._search = search

    def __call__(self, number: int, values: Mapping[str, Any], report: Report) -> Outcome:
        search, part = self._search, trial_part(number)
        search.workspace.offer(part)
        news = _News(report)
        try:
            attempt = 1
            while True:
                try:
                    return self._attempt(number, values, news, f"{number}.{attempt}")
                except RayError as error:
                    if not is_ours(error):
                        raise
                    if attempt == ATTEMPTS or not is_lost(error):
                        raise _of_trial(error, number, attempt) from error
                attempt += 1
        finally:
            search.workspace.collect(part)
            if search.workspace.shared is not None:
                link_data(search.workspace.folder / part, search.workspace.folder, search.study.settings)

    def _attempt(self, number: int, values: Mapping[str, Any], news: "_News", attempt: str) -> Outcome:
        search = self._search
        waiting: queue.SimpleQueue[tuple[int, float] | None] = queue.SimpleQueue()
        search.attempts[attempt] = waiting
        task = search._task.options(name=f"trial {number}").remote(search._setting, number, values, attempt)
        task.future().add_done_callback(lambda _: waiting.put(None))
        try:
            while (found := self._next(waiting, news)) is not None:
                news.value(*found)
            end: TrialEnd = ray.get(task)
        except RayError:
            raise
        except BaseException:
            cancel([task])
            raise
        finally:
            del search.attempts[attempt]
        for step, value in end.values.items():
            news.value(step, value)
        return end.outcome

    def _next(
        self, waiting: "queue.SimpleQueue[tuple[int, float] | None]", news: "_News"
    ) -> tuple[int, float] | None:
        """The next value; None at the task's end."""
        while True:
            if self._search.stop.is_set():
                raise RunInterruptedError("Stopped.", where=self._search.workspace.folder)
            try:
                return waiting.get(timeout=POLL_SECONDS)
            except queue.Empty:
                news.tick()


class _News:
    """Hands on each step once, however often a trial that was run again reports it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._seen: set[int] = set()

    def value(self, step: int, value: float) -> None:
        if step not in self._seen:
            self._seen.add(step)
            self._report.value(step, value)

    def tick(self) -> None:
        self._report.tick()


def cancel(tasks: Sequence[Any]) -> None:
    """Have tasks stop as after Ctrl-C, and wait until they have; by force where they do not."""
    for task in tasks:
        ray.cancel(task)
    _, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=CANCEL_SECONDS)
    for task in late:
        ray.cancel(task, force=True)


def _of_trial(error: RayError, number: int, attempt: int) -> GrunlockError:
    where = f"trial {number}" if attempt == 1 else f"trial {number}, attempt {attempt}"
    return told(error, where)


def _beside_the_driver() -> dict[str, Any]:
    """Options of an actor that is lost only with the driver's own node."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
