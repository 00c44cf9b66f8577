"""grunlock."""
