"""grunlock demo"""
from typing import Annotated
def demo_command() -> None:
    """Train."""
