"""The documents name what exists: every option of the recipe, every kind, every command."""

import tomllib
from pathlib import Path

import pytest
import typer

from grunlock.cli.main import app
from grunlock.recipe import Recipe, all_keys
from grunlock.recipe.validation import section_kinds

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("key", list(all_keys()))
def test_every_option_is_documented(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_every_kind_is_documented() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for field in Recipe.model_fields.values():
        for kind in section_kinds(field):
            assert kind is None or kind in text


@pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])
def test_every_command_is_in_the_readme(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    for command in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"grunlock {command}" in text


def test_every_extra_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for extra in project["optional-dependencies"]:
        assert f"| `{extra}` |" in text
