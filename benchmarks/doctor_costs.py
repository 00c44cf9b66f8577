"""What reading at the padding costs a plain nn.GRU: measured by the doctor, and by training it the right way.

Two GRUs of torch are trained on the same texts with the same seeds, one on packed sequences, one that reads
out[:, -1] of texts padded to a fixed length, as many repositories do. The doctor then examines the weights of
both on texts that neither has learned (a tenth of the training file; no test file is read), told that lengths
are used and that they are ignored. From the root of the repository:

    python benchmarks/doctor_costs.py DATA/train.tsv.gz --name trec6 --max-length 40

It adds a line for each seed to benchmarks/results/doctor_costs.jsonl.
"""

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from grunlock.data.sources import read_texts
from grunlock.doctor import Encoding, Examples, Report, Told, examine
from grunlock.machine import machine
from grunlock.recipe.text_options import TextDataOptions

RESULTS = Path("benchmarks/results/doctor_costs.jsonl")
SIZE, EPOCHS, BATCH = 64, 8, 64


class TextGru(nn.Module):
    def __init__(self, vocab_size: int, num_classes: int, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embedding = nn.Embedding(vocab_size, SIZE)
        self.gru = nn.GRU(SIZE, SIZE, batch_first=True)
        self.head = nn.Linear(SIZE, num_classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        vectors = self.embedding(ids)
        if not self.packed:
            return self.head(self.gru(vectors)[0][:, -1])
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.gru(packed)[1][-1])


def read(path: Path) -> tuple[list[str], list[str]]:
    texts, labels = [], []
    for chunk in read_texts(path, TextDataOptions(), labels="required").chunks():
        texts += [text or "" for text in chunk.texts]
        labels += [label or "" for label in chunk.labels or []]
    return texts, labels


def trained(
    rows: list[list[int]], targets: list[int], sizes: tuple[int, int], packed: bool, seed: int, steps: int
) -> TextGru:
    torch.manual_seed(seed)
    net = TextGru(*sizes, packed)
    ids = torch.zeros(len(rows), steps, dtype=torch.int64)
    for row, each in zip(ids, rows, strict=True):
        row[: len(each)] = torch.tensor(each)
    lengths, wanted = torch.tensor([len(each) for each in rows]), torch.tensor(targets)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(ids[batch], lengths[batch]), wanted[batch]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
    return net


def row_of(report: Report) -> dict[str, object]:
    found = {
        f.check: None if f.cost is None else asdict(f.cost) for f in report.findings if f.severity != "note"
    }
    return {"accuracy": report.measures["accuracy"], "ece": report.measures["ece"], "findings": found}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--max-length", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    texts, labels = read(options.data)
    order = np.random.default_rng(0).permutation(len(texts))
    held = order[: len(texts) // 10].tolist()
    learned = order[len(texts) // 10 :].tolist()
    words = Counter(word for i in learned for word in texts[i].lower().split())
    vocab = ["", "<unk>", *(word for word, _ in words.most_common(10_000))]
    ids, names = {word: i for i, word in enumerate(vocab)}, sorted(set(labels))
    rows = [[ids.get(w, 1) for w in texts[i].lower().split()][: options.max_length] or [1] for i in learned]
    targets = [names.index(labels[i]) for i in learned]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "vocab.json").write_text(json.dumps(ids))
        lines = [f"{labels[i]}\t{texts[i]}\n" for i in held]
        (folder / "held.tsv").write_text("label\ttext\n" + "".join(lines))
        encoding = Encoding(folder / "vocab.json", "whitespace", options.max_length)
        for seed in range(options.seeds):
            found: dict[str, object] = {"data": options.name, "seed": seed, "texts": len(held)}
            for way in ("packed", "padded"):
                net = trained(
                    rows, targets, (len(vocab), len(names)), way == "packed", seed, options.max_length
                )
                torch.save(net.state_dict(), folder / "w.pt")
                for lengths in ("used", "ignored"):
                    report = examine(
                        folder / "w.pt",
                        told=Told(pooling=("last",), lengths=lengths),
                        data=Examples(folder / "held.tsv", encoding, tuple(names)),
                    )
                    found[f"trained {way}, lengths {lengths}"] = row_of(report)
            found |= {"torch": torch.__version__, "processor": machine()["processor"]}
            with RESULTS.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
