"""grunlock recipe"""

from typing import Annotated

import typer

from grunlock.cli.options import Overrides


def recipe_command(
    name: Annotated[str, typer.Argument(help="A built-in recipe, a TOML file or a run folder.")] = "default",
    overrides: Overrides = None,
) -> None:
    """Print a recipe with every option written out, or a search space with its ranges, checked."""
    from grunlock.recipe import SearchSpace, read_recipe_or_space, space_to_toml, to_toml

    found = read_recipe_or_space(name, overrides or ())
    text = space_to_toml(found) if isinstance(found, SearchSpace) else to_toml(found)
    typer.echo(text, nl=False)
