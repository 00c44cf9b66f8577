"""What is asked of the whole road, and how its time is divided."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

USUAL_SHARE = 0.2  # of the budget, at most, for the usual GRU
SEARCH_SHARE = 0.6  # of what is left then; the rest is for the best recipe's seeds
MOST_SEARCH_SHARE = 0.9  # where one whole trial needs more
WANTED_TRIALS = 5  # whole ones that should fit the search; pruning makes more of them
FEWEST_EPOCHS = 2 / 3  # of those of the space; fewer only where not even one trial fits otherwise
MOST_SEEDS = 5
CROSS_VALIDATION_MINUTES = 4.0  # from this budget on the audit looks for label errors
INT8_MOST_LOST = 0.003  # of validation accuracy, to recommend int8
CALIBRATION_FRACTION = 0.3  # of the validation examples, for temperature, sets and abstention
FEWEST_CALIBRATION = 100  # with fewer hardly an error rate can be promised, and validation needs them more
RESERVED_SECONDS = 2.0  # for the last evaluation


class UnlockSettings(BaseModel):
    """Plain, as in unlock.json.

    source, valid, test: absolute paths
    recipe: a search space, by name or path
    trials: of the search, at most
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    source: str
    valid: str | None = None
    test: str | None = None
    recipe: str = "search"
    overrides: tuple[str, ...] = ()
    minutes: float = Field(gt=0)
    trials: int | None = Field(default=None, gt=0)
    max_size: int | None = Field(default=None, gt=0)
    max_latency: float | None = Field(default=None, gt=0)
    workers: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
