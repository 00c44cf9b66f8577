"""fastText as a contender of latency.py, in an environment of its own that needs fastText and numpy only."""

import json
import sys
import tempfile
import time
from pathlib import Path

import fasttext


def main() -> None:
    given = json.loads(sys.stdin.readline())
    names = {label: f"__label__{i}" for i, label in enumerate(sorted({label for label, _ in given["train"]}))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        lines = [f"{names[label]} {' '.join(text.lower().split())}\n" for label, text in given["train"]]
        path.write_text("".join(lines), encoding="utf-8")
        model = fasttext.train_supervised(str(path), thread=1, wordNgrams=2, epoch=25, verbose=0)
    print("true", flush=True)
    for _ in sys.stdin:
        seconds = []
        for text in given["texts"]:
            started = time.perf_counter()
            model.predict(" ".join(text.lower().split()), k=-1)
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"whole": seconds}), flush=True)


if __name__ == "__main__":
    main()
