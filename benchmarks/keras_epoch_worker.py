"""The Keras side of epoch_vs_keras.py: trains the model of keras_seed_model.py by the epoch, on request.

Started by epoch_vs_keras.py with a Python that has Keras and TensorFlow. One JSON document a line: first
{"versions": ...}; then for {"do": "about"} the data's size, for {"do": "epoch", "seed": n} its seconds.
Imports nothing of grunlock.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import keras_seed_model


def answer(request: dict[str, Any], model: keras.Model, train: keras_seed_model.Examples) -> dict[str, Any]:
    if request["do"] == "about":
        return {"examples": len(train.labels), "tokens": sum(len(text) for text in train.tokens)}
    started = time.perf_counter()
    history = model.fit(keras_seed_model.batches(train, request["seed"]), shuffle=False, verbose=0)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "loss": float(history.history["loss"][0])}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)  # whatever a library prints stays out of the replies
        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
        keras.utils.set_random_seed(0)
        splits, num_classes, num_ids = keras_seed_model.load(arguments.data)
        model = keras_seed_model.build(num_classes, num_ids)
        print(
            json.dumps({"versions": {"keras": keras.__version__, "tensorflow": tf.__version__}}), file=replies
        )
        replies.flush()
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line), model, splits["train"])), file=replies, flush=True)


if __name__ == "__main__":
    main()
