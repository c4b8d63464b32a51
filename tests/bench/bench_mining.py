"""Mining and encoding speed, each as a ratio against a named peer in the same run.

    python tests/bench/bench_mining.py

Mining: the top 500 of all registered channels for 100 queries over a category of 2,000 products, everything from the frames on (lexicon,
index, ranking), encoding aside; the goal is under 1 s. Peer: bm25s alone, its own tokenising, indexing and `retrieve`. Encoding: our
`encode` against plain `SentenceTransformer.encode` under bf16 autocast on the same texts; the goal is 0.9. The real catalog in
WHETSTONE_ESCI_DIR is used where it is set, generated titles otherwise. Seconds are the best of several rounds; cpu is processor time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import bm25s
import numpy as np
import pandas as pd
import Stemmer

from whetstone.platform.precision import half_precision
from whetstone.retrieval.channels import CHANNELS, ChannelInputs
from whetstone.retrieval.encode import encode, load_encoder

COUNT_PRODUCTS, COUNT_QUERIES, DEPTH, ROUNDS = 2_000, 100, 500, 5
COUNT_ENCODED = 512


def generated(rng: np.random.Generator) -> tuple[pd.DataFrame, list[str]]:
    """Products and queries with Zipf words, a brand, a path of three nodes and two attributes."""
    words = np.array([f"{a}{b}{c}" for a in "bcdfgklm" for b in "aeiou" for c in ("ster", "ning", "low", "rt", "x", "mp", "nd", "ck")])
    weights = 1 / np.arange(1, len(words) + 1)
    draw = lambda size: " ".join(rng.choice(words, size, p=weights / weights.sum()))  # noqa: E731
    products = pd.DataFrame(
        {
            "title": [f"{draw(5)} {draw(2)}, {draw(3)} for {draw(2)}" for _ in range(COUNT_PRODUCTS)],
            "brand": [f"Brand {number % 90}" for number in range(COUNT_PRODUCTS)],
            "category_path": [["Root", f"Node {number % 9}", f"Leaf {number % 60}"] for number in range(COUNT_PRODUCTS)],
            "attributes": [{"colour": draw(1), "size": f"{number % 12} cm"} for number in range(COUNT_PRODUCTS)],
        }
    )
    return products, [draw(3) for _ in range(COUNT_QUERIES)]


def real(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """The first products and queries of the ESCI slice."""
    source = pd.read_parquet(folder / "shopping_queries_dataset_products.parquet").head(COUNT_PRODUCTS)
    examples = pd.read_parquet(folder / "shopping_queries_dataset_examples.parquet", columns=["query"])
    products = pd.DataFrame(
        {
            "title": source["product_title"],
            "brand": source["product_brand"],
            "category_path": [[] if path is None else list(path) for path in source["category"]],
            "attributes": [{"color": color} if color else {} for color in source["product_color"]],
        }
    )
    return products, list(examples["query"].unique()[:COUNT_QUERIES])


def best_of(function: Callable[[], object], rounds: int = ROUNDS) -> dict[str, float]:
    """Least wall and processor seconds over the rounds, after one that isn't counted."""
    function()
    wall, cpu = [], []
    for _ in range(rounds):
        started = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    return {"seconds": round(min(wall), 4), "cpu": round(min(cpu), 4)}


def main() -> None:
    """Run both benches and write one JSON object to standard output."""
    folder = os.environ.get("WHETSTONE_ESCI_DIR")
    rng = np.random.default_rng(0)
    products, texts = real(Path(folder)) if folder else generated(rng)
    products["text"] = [
        f"{title} | {' > '.join(path[:2])}" for title, path in zip(products["title"], products["category_path"], strict=True)
    ]
    products.insert(0, "product_id", [f"p{number:05}" for number in range(len(products))])
    queries = pd.DataFrame({"query_id": [f"q{number:03}" for number in range(len(texts))], "text": texts})
    judgments = pd.DataFrame(
        {
            "query_id": queries["query_id"].repeat(20).to_numpy(),
            "text": queries["text"].repeat(20).to_numpy(),
            "product_id": rng.choice(products["product_id"], 20 * len(queries)),
            "grade": 4,
        }
    )
    vectors = rng.normal(size=(len(products), 384)).astype(np.float32)
    asked = rng.normal(size=(len(queries), 384)).astype(np.float32)
    settings = SimpleNamespace(depth=DEPTH, bm25_k1=1.2, bm25_b=0.5)
    inputs = ChannelInputs(products, queries, judgments, settings, SimpleNamespace(queries=lambda _: asked, products=lambda _: vectors))

    def peer() -> None:
        split = {"stopwords": "en", "stemmer": Stemmer.Stemmer("english"), "show_progress": False}
        index = bm25s.BM25(method="lucene", k1=1.2, b=0.5, backend="numpy")
        index.index(bm25s.tokenize(list(products["text"]), **split), show_progress=False)
        index.retrieve(bm25s.tokenize(texts, **split), k=DEPTH, show_progress=False)

    mining = {channel.name: best_of(lambda channel=channel: channel.search(inputs, DEPTH)) for channel in CHANNELS}  # type: ignore[misc]
    total = sum(each["seconds"] for each in mining.values())
    alone = best_of(peer)

    encoder = load_encoder("all-MiniLM-L6-v2", "cpu")
    sample = list(products["text"][:COUNT_ENCODED])

    def plain() -> None:
        with half_precision("cpu"):
            encoder.encode(sample, batch_size=32, show_progress_bar=False, normalize_embeddings=True)

    ours, theirs = best_of(lambda: encode(encoder, sample), 3), best_of(plain, 3)
    report = {
        "catalog": "esci" if folder else "generated",
        "mining": {
            **mining,
            "all_channels_seconds": round(total, 4),
            "bm25s_alone": alone,
            "bm25_against_bm25s_alone": round(mining["bm25"]["cpu"] / alone["cpu"], 3),
        },
        "encoding": {
            "texts": len(sample),
            "ours": ours,
            "sentence_transformers": theirs,
            "speed_ratio": round(theirs["seconds"] / ours["seconds"], 3),
            "speed_ratio_cpu": round(theirs["cpu"] / ours["cpu"], 3),
        },
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
