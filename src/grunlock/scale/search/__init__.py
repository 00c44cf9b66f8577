"""Trials and seed runs as Ray tasks."""
