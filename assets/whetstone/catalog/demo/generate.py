"""Writes the demo shop: products, queries, judgments, engagement, and the hidden truth, as five parquet files.

    generate(Path("demo"), products=3_000, queries=400, categories=6, seed=7)

Products are streamed in row groups, so a million of them fit in a few hundred MiB. Same arguments, same bytes.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whetstone.catalog.demo.engagement import simulate
from whetstone.catalog.demo.products import SCHEMA, Stock, draw_stock, write_products
from whetstone.catalog.demo.queries import draw_queries, zipf_frequencies
from whetstone.catalog.demo.ratings import PANEL_SHARE, draw_pools, rate
from whetstone.catalog.demo.truth import as_json, grade, intent_of
from whetstone.catalog.demo.vocabulary import load_vocabulary

JUDGED_TRAIN_SHARE = 0.35  # all dev and test queries are judged
SPLITS, SPLIT_ENDS = np.array(["train", "dev", "test"]), np.array([0.60, 0.75, 1.0])
CHUNK_ROWS = 50_000
JUDGMENTS = pa.schema({"query_id": pa.string(), "product_id": pa.string(), "grade": pa.int32(), "raters": pa.list_(pa.int32())})


def generate(out: Path, *, products: int, queries: int, categories: int, seed: int) -> None:
    """Generate a shop into a folder (made if missing), replacing files once all are complete; WhetstoneError: too few different queries."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=out) as scratch:
        _write(Path(scratch), products, queries, categories, seed)
        for name in ("queries", "truth", "judgments", "engagement", "products"):  # the presence of products means all
            Path(scratch, f"{name}.parquet").replace(out / f"{name}.parquet")


def _write(folder: Path, products: int, queries: int, categories: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = load_vocabulary(categories)
    stock = draw_stock(vocabulary, products, rng)
    asked = draw_queries(vocabulary, stock, queries, rng)
    ids = np.array([f"q{number:06d}" for number in range(queries)], dtype=object)
    split = SPLITS[np.searchsorted(np.round(SPLIT_ENDS * queries), rng.permutation(queries), side="right")]
    texts, frequency = [query.text for query in asked], zipf_frequencies(asked, rng)
    _save(pd.DataFrame({"query_id": ids, "text": texts, "frequency": frequency, "split": split}), folder / "queries.parquet")
    intents = [intent_of(stock.types[query.kind], query.wanted, query.text, query.spelt) for query in asked]
    _save(pd.DataFrame({"query_id": ids, "intent": [as_json(intent) for intent in intents]}), folder / "truth.parquet")

    pools = draw_pools(stock, asked, rng)
    pairs = pd.DataFrame({"query": np.repeat(np.arange(queries), [len(pool) for pool in pools]), "row": np.concatenate(pools)})
    shown = zip(pairs["query"], pairs["row"], strict=True)
    pairs["truth"] = [grade(intents[query], stock.types[stock.type_of[row]].name, stock.attributes(row)) for query, row in shown]
    is_judged = (split != "train") | (rng.random(queries) < JUDGED_TRAIN_SHARE)
    is_panel = rng.random(queries) < PANEL_SHARE
    judged = pairs[is_judged[pairs["query"]]]
    targets = np.array([query.target for query in asked])[judged["query"]]
    grades, raters = rate(judged["truth"].to_numpy(), is_panel[judged["query"]], judged["row"].to_numpy() == targets, rng)
    judged = judged[["query", "row"]].assign(grade=grades, raters=pd.Series(raters, judged.index, dtype=object))
    _save(_named(judged, ids, stock), folder / "judgments.parquet", JUDGMENTS)
    _save(_named(simulate(pairs, frequency, rng), ids, stock), folder / "engagement.parquet")

    with pq.ParquetWriter(folder / "products.parquet", SCHEMA, compression="zstd") as file:
        for first in range(0, products, CHUNK_ROWS):
            file.write_table(write_products(vocabulary, stock, range(first, min(first + CHUNK_ROWS, products)), rng))


def _named(pairs: pd.DataFrame, query_ids: np.ndarray, stock: Stock) -> pd.DataFrame:
    """Pairs with ids in place of a query's number and a product's row."""
    named = pairs.rename(columns={"query": "query_id", "row": "product_id"})
    return named.assign(query_id=query_ids[pairs["query"]], product_id=stock.ids[pairs["row"]])


def _save(frame: pd.DataFrame, path: Path, schema: pa.Schema | None = None) -> None:
    pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata(), path, compression="zstd")
