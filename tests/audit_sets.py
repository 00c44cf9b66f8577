"""A generated text set with nothing wrong in it, to plant faults in."""

import numpy as np

LABELS = ["ALPHA", "BETA", "GAMMA", "DELTA"]
TOPIC_WORDS, FILLERS = 30, 300


def clean_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(label, text): three to five words of the class's own among ten fillers or so, in random order.

    No word is in more than a fifth of a class's texts, and length and order tell nothing.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in rng.permutation(count):
        k = int(i) % len(LABELS)
        topic = [f"t{k}{chr(97 + w % 26)}{w // 26}" for w in rng.choice(TOPIC_WORDS, 5, replace=False)]
        filler = [f"w{w}" for w in rng.choice(FILLERS, rng.integers(8, 13), replace=False)]
        words = rng.permutation([*topic, *filler]).tolist()
        rows.append((LABELS[k], " ".join(words)))
    return rows
