"""The models that scripts/fuzz_c_export.sh asks: every way that the C front end can go."""

import sys
from dataclasses import replace
from pathlib import Path

from grunlock.compression.coarse import with_coarse_rows
from tests.parity.c_models import CONTEXT, exported, some_texts, text_artifact

WIDE = ["wide.characters=true"]
MIDDLE = ["text.max_tokens=2", "text.cut=middle"]
MODELS = {
    "words": [*WIDE, "text.max_tokens=off"],
    "words_cut": [*WIDE, *MIDDLE, "data.empty_texts=keep", "embedding.ngrams.buckets=64"],
    "characters": [*CONTEXT, *WIDE, "encoder.num_layers=2", "text.max_tokens=off"],
    "characters_cut": [*CONTEXT, *MIDDLE, "encoder.bidirectional=false", "stem.widths=[4, 3]"],
}


def write_models(folder: Path) -> None:
    """For each model a folder with its sources, their names in sources.txt, and texts to start from."""
    for i, (name, overrides) in enumerate(MODELS.items()):
        artifact = text_artifact(overrides)
        if int8 := i % 2 == 1:
            artifact = replace(artifact, weights=with_coarse_rows(artifact.weights))
        export = exported(artifact, folder / name, max_steps=40, int8=int8)
        (folder / name / "sources.txt").write_text("\n".join(export.sources) + "\n")
        (folder / name / "texts").mkdir()
        for place, text in enumerate(some_texts([1, 3, 8])):
            (folder / name / "texts" / str(place)).write_bytes(b"\2" + text.encode())


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
