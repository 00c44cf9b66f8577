"""Recipe sections about numeric series: where they come from, what of them a network reads."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from grunlock.recipe.fields import Count, ListField, NonNegativeFloat, Optional, Probability, Section


class SeriesDataOptions(Section):
    """How series are read and split. Columns are those of long-format tables; off: guessed and shown."""

    kind: Literal["series"] = "series"
    id_column: Annotated[str | None, Optional] = None
    time_column: Annotated[str | None, Optional] = None
    label_column: Annotated[str | None, Optional] = None
    channels: Annotated[Annotated[tuple[str, ...], ListField, Field(min_length=1)] | None, Optional] = (
        None  # the columns to learn from, in this order; the others are left
    )
    encoding: str = "utf-8"  # of text files
    valid_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1  # where no valid series are given
    test_fraction: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.1  # where one source holds everything
    calibration_fraction: Annotated[float, Field(ge=0.0, lt=0.9)] = 0.0  # of the validation series
    split_seed: int = 0  # apart from `seed`, so that seeds share their splits
    unseen_labels: Literal["refuse", "keep"] = "refuse"  # as for texts

    @field_validator("channels")
    @classmethod
    def _distinct(cls, channels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if channels is not None and len(set(channels)) != len(channels):
            raise ValueError(f"each channel at most once, got {list(channels)}")
        return channels

    def named_columns(self) -> tuple[str, ...]:
        """All columns the user named."""
        named = (self.id_column, self.time_column, self.label_column, *(self.channels or ()))
        return tuple(name for name in named if name is not None)


class SeriesOptions(Section):
    """How the channels of a step become the encoder's input; values are standardised first.

    jitter, scaling, slicing and masking change the training series anew in every epoch, in this order
    after slicing; their unit is the channel's standard deviation.
    """

    each_alone: bool = False  # each series by its own mean and deviation: its level and size are no clue
    changes: bool = False  # the change since the step before joins each channel's value
    size: Annotated[Count | None, Optional] = None  # of a linear projection of the channels; off: none
    jitter: NonNegativeFloat = 0.0  # standard deviation of noise on each value (Um 2017)
    scaling: NonNegativeFloat = 0.0  # standard deviation of one factor for each series and channel (Um 2017)
    slicing: Probability = 0.0  # share of a series' steps that is left out at its ends (Le Guennec 2016)
    masking: Probability = 0.0  # at most this share of steps, in one stretch, is missing (Park 2019)
