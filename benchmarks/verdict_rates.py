"""How often each rule of comparison declares a difference where there is none, and where there is one.

    python -m benchmarks.verdict_rates --out benchmarks/results/verdict_rates.json

Some six minutes on one core. Answers are simulated: an example is hard for everybody, harder for one of
the systems, and a training has luck with all examples and with each. A system is right where the sum is
positive. Systems are equally good in all trainings taken together, unless `shift` favours the first.
`coupling` is the correlation of the luck of equal seeds of two systems.

The question asked of each rule is which system is better over all trainings and examples. McNemar's test of
two trained models and tests of one test set answer narrower ones rightly; the rates show what it costs to
take their answer for this one.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from grunlock import __version__
from grunlock.comparison.many import friedman_test, nemenyi_critical_difference, rank_systems
from grunlock.comparison.paired import mcnemar, paired_bootstrap, wilcoxon
from grunlock.comparison.stochastic_order import almost_stochastic_order
from grunlock.comparison.verdict import LEVEL, Comparison, verdict, verdicts
from grunlock.seeding import generator

Doubles = NDArray[np.float64]

MEAN, HARDNESS, OWN_HARDNESS, NOISE = 1.4, 1.0, 0.4, 0.6  # about 85 % right, as the latent normal's units
RESAMPLES = 200  # enough to tell a rate of 5 % from one of 8 %
NULL_DRAWS, POWER_DRAWS = 1000, 400  # 1,000 draws put a rate of 5 % within 1.4 points
SEEDS = (3, 5, 10)
SHIFT = {500: 0.2, 2000: 0.1}  # number of examples: lead of the first system where there is one
LUCK = ((0.0, 0.0), (0.04, 0.0), (0.04, 0.6), (0.15, 0.0))  # spread of trainings, coupling
NAMES = ("a", "b")


@dataclass(frozen=True)
class Setting:
    """What is simulated. seed_spread: standard deviation of a training's luck, in latent units."""

    num_seeds: int
    num_examples: int
    seed_spread: float
    coupling: float
    shift: float


def answers(random: np.random.Generator, setting: Setting, num_systems: int = 2) -> list[Doubles]:
    """Right (1) and wrong (0) answers [S, n] of each system."""
    by_seed, by_example = (setting.num_seeds, 1), (1, setting.num_examples)
    hardness = HARDNESS * random.normal(size=by_example)
    shared = random.normal(size=by_seed)
    systems = []
    for i in range(num_systems):
        own_luck = np.sqrt(1.0 - setting.coupling) * random.normal(size=by_seed)
        luck = setting.seed_spread * (np.sqrt(setting.coupling) * shared + own_luck)
        own = OWN_HARDNESS * random.normal(size=by_example)
        noise = NOISE * random.normal(size=(setting.num_seeds, setting.num_examples))
        mean = MEAN + (setting.shift if i == 0 else 0.0)
        systems.append((mean + hardness + own + luck + noise > 0.0).astype(np.float64))
    return systems


def two_level_bootstrap(a: Doubles, b: Doubles) -> bool:
    interval = paired_bootstrap(a, b, resamples=RESAMPLES)
    return interval.low > 0.0 or interval.high < 0.0


def stochastic_order(a: Doubles, b: Doubles) -> bool:
    scores = a.mean(axis=1), b.mean(axis=1)
    forth = almost_stochastic_order(*scores, resamples=RESAMPLES).better
    return forth or almost_stochastic_order(*scores[::-1], resamples=RESAMPLES).better


def paired_t(differences: Doubles) -> bool:
    reach = stats.t.isf(LEVEL / 2.0, len(differences) - 1) * differences.std(ddof=1)
    return bool(abs(differences.mean()) * np.sqrt(len(differences)) > reach)


RULES: dict[str, Callable[[Doubles, Doubles], bool]] = {
    "verdict": lambda a, b: verdict(a, b, names=NAMES).ahead is not None,
    "two-level bootstrap": two_level_bootstrap,
    "t of examples": lambda a, b: paired_t((a - b).mean(axis=0)),
    "t of seeds": lambda a, b: paired_t((a - b).mean(axis=1)),
    "Wilcoxon of seeds": lambda a, b: wilcoxon(a.mean(axis=1), b.mean(axis=1)).p_value <= LEVEL,
    "McNemar, first seed": lambda a, b: mcnemar(a[0], b[0]).p_value <= LEVEL,
    "stochastic order": stochastic_order,
}
SINGLE_RULES = ("verdict", "McNemar, first seed")
SLOW_RULES = ("two-level bootstrap", "Wilcoxon of seeds")


def rules_for(setting: Setting) -> tuple[str, ...]:
    """The slow rules where their false declarations can be seen; Wilcoxon where it can declare at all."""
    if setting.num_seeds == 1:
        return SINGLE_RULES
    slow = setting.shift == 0.0 and setting.num_examples == min(SHIFT)
    chosen = [rule for rule in RULES if slow or rule not in SLOW_RULES]
    if 2.0 * 0.5**setting.num_seeds > LEVEL and slow:
        chosen.remove("Wilcoxon of seeds")
    return tuple(chosen)


def rates(setting: Setting) -> dict[str, object]:
    """Share of draws in which each rule declares one of the two systems ahead."""
    random = generator(0, "verdict rates", *(str(value) for value in asdict(setting).values()))
    draws = POWER_DRAWS if setting.shift else NULL_DRAWS
    rules = rules_for(setting)
    declared = dict.fromkeys(rules, 0)
    differences, spreads = [], []
    for _ in range(draws):
        a, b = answers(random, setting)
        differences.append(a.mean() - b.mean())
        spreads.append(a.mean(axis=1).var(ddof=1) if setting.num_seeds > 1 else 0.0)
        for rule in rules:
            declared[rule] += RULES[rule](a, b)
    return {
        **asdict(setting),
        "draws": draws,
        "mean_difference_points": round(100.0 * float(np.mean(differences)), 2),
        "seed_deviation_points": round(100.0 * float(np.sqrt(np.mean(spreads))), 2),
        "declared": {rule: count / draws for rule, count in declared.items()},
    }


def family_rate(num_seeds: int, num_others: int, draws: int = 500) -> dict[str, object]:
    """Share of families, one system against several others, with a false verdict, and uncorrected."""
    random = generator(0, "families", num_seeds, num_others)
    setting = Setting(num_seeds, 1000, 0.04, 0.0, 0.0)
    corrected, single = 0, 0
    for _ in range(draws):
        first, *others = answers(random, setting, num_others + 1)
        family = [Comparison("first", f"other {i}", first, other) for i, other in enumerate(others)]
        corrected += any(found.ahead for found in verdicts(family))
        single += any(verdict(each.a, each.b, names=NAMES).ahead for each in family)
    return {
        "num_seeds": num_seeds,
        "num_comparisons": num_others,
        "draws": draws,
        "any_false_with_holm": corrected / draws,
        "any_false_uncorrected": single / draws,
    }


def rank_rates(num_systems: int, num_data_sets: int, shift: float, draws: int = 1000) -> dict[str, object]:
    """Tests over data sets. shift: lead of the first system, in standard deviations of a score."""
    random = generator(0, "ranks", num_systems, num_data_sets, str(shift))
    difference = nemenyi_critical_difference(num_systems, num_data_sets)
    declared = {"Friedman, F": 0, "Friedman, chi-squared": 0, "Nemenyi, any pair": 0, "Wilcoxon, one pair": 0}
    for _ in range(draws):
        scores = random.normal(size=(num_data_sets, num_systems))
        scores[:, 0] += shift
        found = friedman_test(scores)
        spread = np.ptp(rank_systems(scores).mean(axis=0))
        declared["Friedman, F"] += found.p_value <= LEVEL
        declared["Friedman, chi-squared"] += found.chi_squared_p_value <= LEVEL
        declared["Nemenyi, any pair"] += bool(spread > difference)
        declared["Wilcoxon, one pair"] += wilcoxon(scores[:, 0], scores[:, 1]).p_value <= LEVEL
    return {
        "num_systems": num_systems,
        "num_data_sets": num_data_sets,
        "shift": shift,
        "draws": draws,
        "declared": {rule: count / draws for rule, count in declared.items()},
    }


def order_rates(num_scores: int, shift: float, draws: int = 1000) -> dict[str, object]:
    """Stochastic order of independent normal scores, as from seeds that each have a test set of their own."""
    random = generator(0, "order", num_scores, str(shift))
    forth, back = 0, 0
    for _ in range(draws):
        a, b = random.normal(shift, 1.0, num_scores), random.normal(0.0, 1.0, num_scores)
        forth += almost_stochastic_order(a, b, resamples=RESAMPLES).better
        back += almost_stochastic_order(b, a, resamples=RESAMPLES).better
    return {
        "num_scores": num_scores,
        "shift": shift,
        "draws": draws,
        "a_better": forth / draws,
        "b_better": back / draws,
    }


def two_systems_rates() -> list[dict[str, object]]:
    results = []
    for ahead, num_seeds, num_examples, luck in product((False, True), (1, *SEEDS), SHIFT, LUCK):
        if num_seeds == 1 and luck != LUCK[0]:
            continue  # one training each claims nothing about the luck of others
        shift = SHIFT[num_examples] if ahead else 0.0
        results.append(rates(Setting(num_seeds, num_examples, *luck, shift)))
        print(table_row(results[-1]), flush=True)
    return results


def table_row(result: dict[str, object]) -> str:
    declared = result["declared"]
    assert isinstance(declared, dict)
    setting = [f"{key} {value}" for key, value in result.items() if key not in ("declared", "draws")]
    return "  ".join([*setting, "|", *(f"{rule} {100 * rate:.1f}" for rule, rate in declared.items())])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.monotonic()
    print("declared in % of draws; at shift 0 every declaration is false")
    report = {
        "what": "share of simulated comparisons in which a rule declares a difference",
        "level": LEVEL,
        "latent": {"mean": MEAN, "hardness": HARDNESS, "own_hardness": OWN_HARDNESS, "noise": NOISE},
        "bootstrap_resamples": RESAMPLES,
        "version": __version__,
        "machine": platform.machine(),
        "two_systems": two_systems_rates(),
        "families": [family_rate(*case) for case in product((3, 5), (3, 8))],
        "data_sets": [rank_rates(*case) for case in product((4, 8), (6, 10, 20), (0.0, 1.0))],
    }
    report["stochastic_order"] = [order_rates(*case) for case in product((3, 5, 10, 20, 50), (0.0, 1.0))]
    report["seconds"] = round(time.monotonic() - start)
    for part in ("families", "data_sets", "stochastic_order"):
        print(part, json.dumps(report[part]))
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
