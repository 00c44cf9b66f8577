"""Searching a space of recipes within a budget of time or trials, on one or several processes."""

from grunlock.tuning.crew import Crew, Workers
from grunlock.tuning.results import AtEdge, StudyResult, TrialRecord
from grunlock.tuning.settings import StudySettings, read_study_settings
from grunlock.tuning.study import open_study
from grunlock.tuning.tune import Budget, result_of, resume_study, tune, widen_study

__all__ = [
    "AtEdge",
    "Budget",
    "Crew",
    "StudyResult",
    "StudySettings",
    "TrialRecord",
    "Workers",
    "open_study",
    "read_study_settings",
    "result_of",
    "resume_study",
    "tune",
    "widen_study",
]
