"""What is wrong with a labelled text set before one trains on it: findings with row numbers and cures.

One module per check, each a pure function to a frozen result; run.py calls them in order. Nothing is changed
on disk, and no row is dropped: mending is up to the user.
"""

from grunlock.audit.findings import AuditReport, Example, Finding, Row, Severity
from grunlock.audit.run import AuditOptions, audit

__all__ = ["AuditOptions", "AuditReport", "Example", "Finding", "Row", "Severity", "audit"]
