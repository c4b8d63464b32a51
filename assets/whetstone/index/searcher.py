"""Queries in words to products with titles, by any system that we compare: what `whetstone search` calls.

- champion: the champion encoder over the categories' shards (approximate)
- base: the base encoder, exact search
- bm25: BM25 over product texts
- hybrid: reciprocal rank fusion of champion and bm25

Everything dear comes as a function and is called when a system first needs it: a search by bm25 loads no encoder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.index.search import search
from whetstone.index.shard import Shard
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.bm25 import bm25_run
from whetstone.retrieval.dense import exact_search
from whetstone.retrieval.fusion import rrf
from whetstone.retrieval.vectors import Vectors

SYSTEMS = ("champion", "base", "bm25", "hybrid")
COLUMNS = ("query_index", "rank", "product_id", "title", "category", "score")


@dataclass
class Searcher:
    """A catalog that answers queries. It keeps shards and vectors open; give it all queries of one kind in one call."""

    products: pd.DataFrame  # product_id, category, title, text; one row per product
    shards: Callable[[], Mapping[str, Shard]]  # opens the shards, category -> shard, made with the champion
    encode: Callable[[Sequence[str]], Vectors]  # the champion: texts to unit vectors (n, d)
    base_vectors: Callable[[], Vectors]  # the products' vectors by the base encoder, (n_products, d), row by row
    encode_base: Callable[[Sequence[str]], Vectors]
    bm25_k1: float
    bm25_b: float
    fusion_depth: int = 100  # least depth of the runs that hybrid fuses

    def search(self, texts: Sequence[str], k: int, system: str = "champion", category: str | None = None) -> pd.DataFrame:
        """The k best products of every text by one of `SYSTEMS`, in one category or all; a blank text finds nothing.

        Returns query_index (position in `texts`), rank, product_id, title, category, score; ordered by query_index, rank.
        WhetstoneError: an unknown system or category, k below 1, or an index that does not fit the catalog.
        """
        if system not in SYSTEMS:
            raise WhetstoneError(f"there is no system {system!r}: choose one of {', '.join(SYSTEMS)}")
        if k < 1:
            raise WhetstoneError(f"k is {k}: ask for at least one product")
        if category is not None and category not in (known := sorted(self.products["category"].unique())):
            raise WhetstoneError(f"there is no category {category!r}: choose one of {', '.join(map(repr, known[:40]))}")
        # Names whose order as text is that of the queries, because runs are ordered by query_id.
        asked = {f"{position:012d}": text for position, text in enumerate(texts) if text.strip()}
        if not asked:
            return pd.DataFrame(columns=list(COLUMNS))
        if system == "hybrid":
            depth = max(k, self.fusion_depth)
            run = rrf([self._run(part, asked, depth, category) for part in ("champion", "bm25")], depth=k)
        else:
            run = self._run(system, asked, k, category)
        rows = pd.Index(self.products["product_id"]).get_indexer(pd.Index(run["product_id"]))
        if (rows < 0).any():
            stranger = run["product_id"].iloc[int(np.argmin(rows))]
            raise WhetstoneError(f"the index holds product {stranger!r}, the catalog does not: run `whetstone build --select search_index`")
        run = run.assign(query_index=run["query_id"].astype(np.int64))
        run[["title", "category"]] = self.products[["title", "category"]].to_numpy()[rows]
        return run[list(COLUMNS)]

    @cached_property
    def _shards(self) -> Mapping[str, Shard]:
        return self.shards()

    @cached_property
    def _base_rows(self) -> Vectors:
        return self.base_vectors()

    def _run(self, system: str, asked: Mapping[str, str], k: int, category: str | None) -> pd.DataFrame:
        """The run of one system (not hybrid) for these texts by query_id."""
        query_ids, texts = list(asked), list(asked.values())
        if system == "champion":
            shards = self._shards
            if category is not None:
                if category not in shards:
                    raise WhetstoneError(f"category {category!r} has no index: run `whetstone build --select search_index`")
                shards = {category: shards[category]}
            run = search(shards, self.encode(texts), k)
            return run.assign(query_id=np.array(query_ids, dtype=object)[run["query_index"]])
        members: slice | npt.NDArray[np.intp] = slice(None)
        if category is not None:
            members = np.flatnonzero(self.products["category"] == category)
        product_ids = self.products["product_id"].iloc[members].tolist()
        if system == "base":
            return exact_search(self.encode_base(texts), self._base_rows[members], query_ids, product_ids, k)
        product_texts = self.products["text"].iloc[members].tolist()
        return bm25_run(product_texts, product_ids, texts, query_ids, k, k1=self.bm25_k1, b=self.bm25_b)
