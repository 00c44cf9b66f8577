"""Corpora larger than memory, prepared into shards by Ray Data."""
