"""From seconds to figures: medians, ratios round by round, rates."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Rounds = Sequence[Sequence[float]]  # per round, the samples of one contender's turn


@dataclass(frozen=True)
class Summary:
    """Median and quartiles over rounds."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    num_rounds: int


def summarize(values: Sequence[float]) -> Summary | None:
    if not values:
        return None
    if len(values) == 1:
        return Summary(values[0], values[0], values[0], 1)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Summary(middle, low, high, len(values))


def round_values(rounds: Rounds) -> list[float]:
    """One number per round: the median of its turn's samples."""
    return [statistics.median(samples) for samples in rounds]


def ratio(other: Rounds, subject: Rounds) -> Summary | None:
    """other / subject in each round that both have, so that what slows a whole round cancels."""
    pairs = zip(round_values(other), round_values(subject), strict=False)
    return summarize([a / b for a, b in pairs])


def rate_share(
    rounds: Rounds, gflop: float | None, ceiling: Rounds, ceiling_gflop: float | None
) -> Summary | None:
    """A contender's rate as a fraction of the ceiling's, round by round."""
    if gflop is None or ceiling_gflop is None:
        return None
    pairs = zip(round_values(rounds), round_values(ceiling), strict=False)
    return summarize([(gflop / own) / (ceiling_gflop / top) for own, top in pairs])
