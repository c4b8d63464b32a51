"""Writes the demo shop: products, queries, judgments, engagement, and the hidden truth, as five parquet files.

    generate(Path("demo"), products=3_000, queries=400, categories=6, seed=7)

Products are streamed in row groups, so a million of them fit in a few hundred MiB. Same arguments, same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from whetstone.catalog.demo.engagement import simulate
from whetstone.catalog.demo.products import SCHEMA, Stock, draw_stock, product_id, render_products
from whetstone.catalog.demo.queries import Query, assign_splits, draw_queries, intent_json, zipf_frequencies
from whetstone.catalog.demo.ratings import PANEL_SHARE, Pools, rate
from whetstone.catalog.demo.truth import grade_pairs
from whetstone.catalog.demo.vocabulary import load_vocabulary
from whetstone.platform.errors import WhetstoneError

JUDGED_TRAIN_SHARE = 0.35
CHUNK_ROWS = 50_000
MOST_PRODUCTS = 9_999_999
MOST_CATEGORIES = 1_000
JUDGMENTS = pa.schema([("query_id", pa.string()), ("product_id", pa.string()), ("grade", pa.int32()), ("raters", pa.list_(pa.int32()))])
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What was written, in counts; `queries` by split."""

    out: Path
    products: int
    categories: int
    product_types: int
    queries: dict[str, int]
    judged_queries: int
    judgments: int
    engagement: int


def generate(
    out: Path,
    *,
    products: int,
    queries: int,
    categories: int,
    seed: int,
    judged_train_share: float = JUDGED_TRAIN_SHARE,
    progress: Progress | None = None,
) -> DemoSummary:
    """Generate a shop into a folder.

    Args:
        out: Folder, made if missing; files of the same names are replaced, each only once all are complete.
        products: Number of products, 1 to 9,999,999.
        queries: Number of queries, from 1.
        categories: Number of root categories, 1 to 1,000; beyond the hand-written ones further lines are derived.
        seed: Seed, not negative; same arguments, same bytes.
        judged_train_share: Share of the train queries that humans judged; all dev and test queries are judged.
        progress: Called with (step, done, total).

    Returns:
        Counts of what was written.

    Raises:
        WhetstoneError: An argument is out of range, `out` is a file, or there are too many queries for the products.
    """
    _check("products", products, 1, MOST_PRODUCTS)
    _check("queries", queries, 1, MOST_PRODUCTS)
    _check("categories", categories, 1, MOST_CATEGORIES)
    _check("seed", seed, 0, 2**63 - 1)
    if not 0.0 <= judged_train_share <= 1.0:
        raise WhetstoneError(f"demo catalog: judged_train_share is {judged_train_share}; give a share between 0 and 1")
    if out.exists() and not out.is_dir():
        raise WhetstoneError(f"demo catalog: {out} is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    tell = progress or _silent
    scratch = Path(tempfile.mkdtemp(prefix=".demo-", dir=out))
    try:
        summary = _write(out, scratch, (products, queries, categories, seed), judged_train_share, tell)
        for file in sorted(scratch.iterdir()):
            file.replace(out / file.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return summary


def _write(out: Path, folder: Path, shape: tuple[int, int, int, int], judged_train_share: float, tell: Progress) -> DemoSummary:
    products, queries, categories, seed = shape
    rng = np.random.default_rng([seed, 1])
    vocabulary = load_vocabulary(categories)
    stock = draw_stock(vocabulary, products, rng)
    asked = draw_queries(vocabulary, stock, queries, rng)
    ids = pd.Series([f"q{number:06d}" for number in range(queries)])
    frequency = zipf_frequencies(asked, rng)
    split = np.array(assign_splits(ids.tolist(), seed))
    intents = pd.DataFrame({"query_id": ids, "intent": [intent_json(query, stock) for query in asked]})
    texts = [query.text for query in asked]
    _save(
        pd.DataFrame({"query_id": ids, "text": texts, "frequency": frequency, "split": split}),
        folder / "queries.parquet",
    )
    _save(intents, folder / "truth.parquet")

    pairs = _pool(stock, asked, rng, tell)
    pairs["query_id"] = ids.to_numpy()[pairs["query"]]
    pairs["product_id"] = [product_id(number) for number in pairs["product"]]
    pairs["truth"] = grade_pairs(pairs, intents, _codes_as_products(stock, pairs["row"].to_numpy()))

    is_judged = (split != "train") | (rng.random(queries) < judged_train_share)
    judged = pairs[is_judged[pairs["query"]]]
    is_panel = rng.random(queries) < PANEL_SHARE
    grades, raters = rate(judged["truth"].to_numpy(), is_panel[judged["query"]], judged["is_target"].to_numpy(dtype=bool), rng)
    columns = {"query_id": judged["query_id"], "product_id": judged["product_id"], "grade": grades, "raters": raters}
    _save(
        pa.table({name: pa.array(list(values), JUDGMENTS.field(name).type) for name, values in columns.items()}),
        folder / "judgments.parquet",
    )

    log = simulate(pairs["query"].to_numpy(), pairs["product"].to_numpy(), pairs["truth"].to_numpy(), frequency, rng)
    log.insert(0, "query_id", ids.to_numpy()[log.pop("query")])
    log.insert(1, "product_id", [product_id(number) for number in log.pop("product")])
    _save(log, folder / "engagement.parquet")

    row_of = np.empty(products, dtype=np.int64)
    row_of[stock.rows] = np.arange(products)
    with pq.ParquetWriter(folder / "products.parquet", SCHEMA, compression="zstd") as writer:
        for first in range(0, products, CHUNK_ROWS):
            last = min(first + CHUNK_ROWS, products)
            writer.write_table(render_products(vocabulary, stock, row_of, first, last, seed))
            tell("products", last, products)
    return DemoSummary(
        out=out,
        products=products,
        categories=categories,
        product_types=len(stock.types),
        queries={name: int((split == name).sum()) for name in ("train", "dev", "test")},
        judged_queries=int(is_judged.sum()),
        judgments=len(judged),
        engagement=len(log),
    )


def _pool(stock: Stock, asked: list[Query], rng: np.random.Generator, tell: Progress) -> pd.DataFrame:
    """Candidate pairs of every query: query, row (in `stock.codes`), product (number), is_target."""
    pools = Pools(stock)

    def each() -> Iterator[npt.NDArray[np.int64]]:
        for number, query in enumerate(asked, start=1):
            yield pools.pool(query, rng)
            if number % 1_000 == 0 or number == len(asked):
                tell("queries", number, len(asked))

    rows = list(each())
    sizes = [len(part) for part in rows]
    row = np.concatenate(rows)
    query = np.repeat(np.arange(len(asked)), sizes)
    target = np.repeat([query.target for query in asked], sizes)
    return pd.DataFrame({"query": query, "row": row, "product": stock.rows[row], "is_target": row == target})


def _codes_as_products(stock: Stock, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """The frame that `grade_pairs` reads, for some rows of `stock.codes`."""
    rows = np.unique(rows)
    numbers = stock.rows[rows]
    kinds = [stock.types[number] for number in stock.type_of[numbers]]
    return pd.DataFrame(
        {
            "product_id": [product_id(number) for number in numbers],
            "category_path": [[kind.category, kind.family, kind.name] for kind in kinds],
            "attributes": [stock.attributes(row) for row in rows.tolist()],
        }
    )


def _save(table: pd.DataFrame | pa.Table, path: Path) -> None:
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
    pq.write_table(table, path, compression="zstd")


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise WhetstoneError(f"demo catalog: {name} is {value}; give a whole number from {low:,} to {high:,}")


def _silent(step: str, done: int, total: int) -> None:
    """Progress nobody wants to hear of."""
