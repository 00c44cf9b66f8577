"""python -m grunlock"""

from grunlock.cli.main import main

main()
