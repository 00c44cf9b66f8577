"""The whole road: from labelled data to the best small model within a budget, and how good it is."""

from grunlock.unlock.results import StageDone, Station, UnlockResult
from grunlock.unlock.road import go_on, stages_done, unlock
from grunlock.unlock.settings import UnlockSettings

__all__ = ["StageDone", "Station", "UnlockResult", "UnlockSettings", "go_on", "stages_done", "unlock"]
