"""grunlock recipe"""

from typing import Annotated

import typer

from grunlock.cli.options import Overrides


def recipe_command(
    name: Annotated[str, typer.Argument(help="A built-in recipe, a TOML file or a run folder.")] = "default",
    overrides: Overrides = None,
) -> None:
    """Print a recipe with every option written out, checked."""
    from grunlock.recipe import read_recipe, to_toml

    typer.echo(to_toml(read_recipe(name, overrides or ())), nl=False)
