"""python -m grunlock"""

from grunlock.cli.main import command

command()
