"""The value types of which recipe sections are made. No section, no default value here."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

OFF = "off"  # how TOML and --set write None


def _off_to_none(value: Any) -> Any:
    return None if isinstance(value, str) and value == OFF else value


def _list_to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Optional = BeforeValidator(_off_to_none)
ListField = BeforeValidator(_list_to_tuple)

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]  # of being dropped
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """One table of the recipe: frozen, exact types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
