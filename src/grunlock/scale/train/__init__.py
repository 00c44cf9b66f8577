"""Data-parallel training started by Ray Train."""
