"""Writes the demo shop: products, queries, judgments, engagement, and the hidden truth, as five parquet files.

    generate(Path("demo"), products=3_000, queries=400, categories=6, seed=7)

Products are streamed in row groups, so a million of them fit in a few hundred MiB. Same arguments, same bytes.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whetstone.catalog.demo.engagement import simulate
from whetstone.catalog.demo.products import SCHEMA, Stock, Writer, draw_stock
from whetstone.catalog.demo.queries import draw_queries, intent_of, zipf_frequencies
from whetstone.catalog.demo.ratings import PANEL_SHARE, Pools, rate
from whetstone.catalog.demo.truth import grade
from whetstone.catalog.demo.vocabulary import load_vocabulary
from whetstone.platform.errors import WhetstoneError

JUDGED_TRAIN_SHARE = 0.35  # all dev and test queries are judged
SPLIT_ENDS = {"train": 0.60, "dev": 0.75, "test": 1.0}
CHUNK_ROWS = 50_000
LIMITS = {"products": (1, 9_999_999), "queries": (1, 999_999), "categories": (1, 1_000), "seed": (0, 2**63 - 1)}
JUDGMENTS = pa.schema({"query_id": pa.string(), "product_id": pa.string(), "grade": pa.int32(), "raters": pa.list_(pa.int32())})


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What was written, in counts; `queries` by split."""

    products: int
    categories: int
    queries: dict[str, int]
    judgments: int


def generate(out: Path, *, products: int, queries: int, categories: int, seed: int) -> DemoSummary:
    """Generate a shop into a folder (made if missing); files of the same names are replaced, once all are complete.

    `LIMITS` has the ranges of the numbers; categories beyond the hand-written ones are derived. WhetstoneError: a number is out of its
    range, `out` is a file, or there are too many queries for the products.
    """
    for (name, (low, high)), value in zip(LIMITS.items(), (products, queries, categories, seed), strict=True):
        if not low <= value <= high:
            raise WhetstoneError(f"demo catalog: {name} is {value}; give a whole number from {low:,} to {high:,}")
    if out.exists() and not out.is_dir():
        raise WhetstoneError(f"demo catalog: {out} is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=out) as scratch:
        summary = _write(Path(scratch), products, queries, categories, seed)
        for name in ("queries", "truth", "judgments", "engagement", "products"):  # the presence of products means all
            Path(scratch, f"{name}.parquet").replace(out / f"{name}.parquet")
    return summary


def _write(folder: Path, products: int, queries: int, categories: int, seed: int) -> DemoSummary:
    rng = np.random.default_rng(seed)
    vocabulary = load_vocabulary(categories)
    stock = draw_stock(vocabulary, products, rng)
    asked = draw_queries(vocabulary, stock, queries, rng)
    ids = np.array([f"q{number:06d}" for number in range(queries)], dtype=object)
    ends = np.round(np.array(list(SPLIT_ENDS.values())) * queries)
    split = np.array(list(SPLIT_ENDS))[np.searchsorted(ends, rng.permutation(queries), side="right")]
    frequency = zipf_frequencies(asked, rng)
    intents = [intent_of(query, stock.types[query.kind]) for query in asked]
    texts = [query.text for query in asked]
    _save(pd.DataFrame({"query_id": ids, "text": texts, "frequency": frequency, "split": split}), folder / "queries.parquet")
    hidden = [json.dumps(intent, ensure_ascii=False, sort_keys=True) for intent in intents]
    _save(pd.DataFrame({"query_id": ids, "intent": hidden}), folder / "truth.parquet")

    pools = Pools(stock)
    rows = [pools.pool(query, rng) for query in asked]
    pairs = pd.DataFrame({"query": np.repeat(np.arange(queries), [len(pool) for pool in rows]), "row": np.concatenate(rows)})
    kinds = [stock.types[kind].name for kind in stock.type_of[pairs["row"]]]
    shown = zip(pairs["query"], pairs["row"], kinds, strict=True)
    pairs["truth"] = [grade(intents[query], kind, stock.attributes(row)) for query, row, kind in shown]
    is_judged = (split != "train") | (rng.random(queries) < JUDGED_TRAIN_SHARE)
    is_panel = rng.random(queries) < PANEL_SHARE
    judged = pairs[is_judged[pairs["query"]]]
    targets = np.array([query.target for query in asked])[judged["query"]]
    grades, raters = rate(judged["truth"].to_numpy(), is_panel[judged["query"]], judged["row"].to_numpy() == targets, rng)
    judged = judged[["query", "row"]].assign(grade=grades, raters=pd.Series(raters, judged.index, dtype=object))
    _save(_named(judged, ids, stock), folder / "judgments.parquet", JUDGMENTS)
    _save(_named(simulate(pairs, frequency, rng), ids, stock), folder / "engagement.parquet")

    writer = Writer(vocabulary, stock)
    with pq.ParquetWriter(folder / "products.parquet", SCHEMA, compression="zstd") as file:
        for first in range(0, products, CHUNK_ROWS):
            file.write_table(writer.write(range(first, min(first + CHUNK_ROWS, products)), rng))
    by_split = {name: int((split == name).sum()) for name in SPLIT_ENDS}
    return DemoSummary(products, categories, by_split, len(judged))


def _named(pairs: pd.DataFrame, query_ids: np.ndarray, stock: Stock) -> pd.DataFrame:
    """Pairs with ids in place of a query's number and a product's row."""
    named = pairs.assign(query=query_ids[pairs["query"]], row=[stock.product_id(row) for row in pairs["row"]])
    return named.rename(columns={"query": "query_id", "row": "product_id"})


def _save(frame: pd.DataFrame, path: Path, schema: pa.Schema | None = None) -> None:
    pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata(), path, compression="zstd")
