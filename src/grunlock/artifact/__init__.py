"""The one file that serving loads: save, verify, load. Imports no torch."""

from grunlock.artifact.contents import ARTIFACT_NAME, BEFORE_REFIT_NAME, Artifact, load, read, save

__all__ = ["ARTIFACT_NAME", "BEFORE_REFIT_NAME", "Artifact", "load", "read", "save"]
