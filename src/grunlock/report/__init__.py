"""Results of any command as one HTML file. It draws result objects and computes no metric."""

from grunlock.report.write import Report, write_report

__all__ = ["Report", "write_report"]
