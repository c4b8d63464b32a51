"""Queries in words to products with titles, by any system that we compare: what `whetstone search` calls.

- champion: the champion encoder over the categories' shards (approximate)
- base: the base encoder, exact search
- bm25: BM25 over product texts
- hybrid: reciprocal rank fusion of champion and bm25

Everything dear comes as a function and is called when a system first needs it: a search by bm25 loads no encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from whetstone.index.search import search
from whetstone.index.shard import Shard, Vectors
from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.bm25 import bm25_run
from whetstone.retrieval.dense import exact_search
from whetstone.retrieval.fusion import rrf

SYSTEMS = ("champion", "base", "bm25", "hybrid")
COLUMNS = ("query_index", "rank", "product_id", "title", "category", "score")

Encode = Callable[[Sequence[str]], Vectors]


class Searcher:
    """A catalog that answers queries. It keeps shards and vectors open; give it all queries of one kind in one call."""

    def __init__(
        self,
        products: pd.DataFrame,
        *,
        shards: Callable[[], Mapping[str, Shard]],
        encode: Encode,
        base_vectors: Callable[[], Vectors],
        encode_base: Encode,
        bm25_k1: float,
        bm25_b: float,
        fusion_depth: int = 100,
    ) -> None:
        """Take the catalog and the ways to reach its indexes.

        Args:
            products: product_id, category, title, text; one row per product.
            shards: opens the shards, category -> shard, made with the champion.
            encode: the champion: texts to unit vectors (n, d).
            base_vectors: the products' vectors by the base encoder, (n_products, d), row by row.
            encode_base: the base encoder.
            bm25_k1: saturation of term frequency.
            bm25_b: normalisation by length.
            fusion_depth: least depth of the runs that hybrid fuses.
        """
        self.products = products.reset_index(drop=True)
        self._open_shards, self._encode = shards, encode
        self._base_vectors, self._encode_base = base_vectors, encode_base
        self._k1, self._b, self._fusion_depth = bm25_k1, bm25_b, fusion_depth

    def search(self, texts: Sequence[str], k: int, system: str = "champion", category: str | None = None) -> pd.DataFrame:
        """The k best products of every text.

        Args:
            texts: the queries; a blank one finds nothing.
            k: most products a query.
            system: one of `SYSTEMS`.
            category: search this category only.

        Returns:
            query_index (position in `texts`), rank, product_id, title, category, score; ordered by query_index, rank.

        Raises:
            WhetstoneError: an unknown system or category, k below 1, or an index that does not fit the catalog.
        """
        systems = {"champion": self._champion, "base": self._base, "bm25": self._lexical, "hybrid": self._hybrid}
        if system not in systems:
            raise WhetstoneError(f"there is no system {system!r}: choose one of {', '.join(SYSTEMS)}")
        if k < 1:
            raise WhetstoneError(f"k is {k}: ask for at least one product")
        if category is not None and category not in self._categories:
            raise WhetstoneError(f"there is no category {category!r}: choose one of {', '.join(map(repr, self._categories[:40]))}")
        asked = [position for position, text in enumerate(texts) if text.strip()]
        if not asked:
            return pd.DataFrame(columns=list(COLUMNS))
        # Names whose order as text is that of the queries, because runs are ordered by query_id.
        run = systems[system]([texts[at] for at in asked], [f"{at:012d}" for at in asked], k, category)
        rows = self._rows.get_indexer(pd.Index(run["product_id"], dtype=object))
        if (rows < 0).any():
            stranger = run["product_id"].iloc[int(np.argmin(rows))]
            raise WhetstoneError(f"the index holds product {stranger!r}, the catalog does not: run `whetstone build --select search_index`")
        found = self.products.iloc[rows]
        run = run.assign(
            query_index=run["query_id"].astype(np.int64),
            title=found["title"].to_numpy(),
            category=found["category"].to_numpy(),
        )
        return run[list(COLUMNS)]

    @cached_property
    def _rows(self) -> pd.Index[str]:
        rows: pd.Index[str] = pd.Index(self.products["product_id"].tolist(), dtype=object)
        return rows

    @cached_property
    def _categories(self) -> list[str]:
        return sorted(self.products["category"].unique())

    @cached_property
    def _shards(self) -> Mapping[str, Shard]:
        return self._open_shards()

    @cached_property
    def _base_rows(self) -> Vectors:
        return self._base_vectors()

    def _members(self, category: str | None) -> np.ndarray:
        """Rows of the catalog to search."""
        everything = np.ones(len(self.products), dtype=bool)
        return np.flatnonzero(everything if category is None else self.products["category"] == category)

    def _champion(self, texts: Sequence[str], query_ids: Sequence[str], k: int, category: str | None) -> pd.DataFrame:
        shards = self._shards
        if category is not None:
            if category not in shards:
                raise WhetstoneError(f"category {category!r} has no index: run `whetstone build --select search_index`")
            shards = {category: shards[category]}
        run = search(shards, self._encode(texts), k)
        return run.assign(query_id=np.array(query_ids, dtype=object)[run["query_index"]])

    def _base(self, texts: Sequence[str], query_ids: Sequence[str], k: int, category: str | None) -> pd.DataFrame:
        rows = self._members(category)
        ids = self.products["product_id"].iloc[rows].tolist()
        return exact_search(self._encode_base(texts), self._base_rows[rows], query_ids, ids, k)

    def _lexical(self, texts: Sequence[str], query_ids: Sequence[str], k: int, category: str | None) -> pd.DataFrame:
        members = self.products.iloc[self._members(category)]
        product_texts, product_ids = members["text"].tolist(), members["product_id"].tolist()
        return bm25_run(product_texts, product_ids, texts, query_ids, k, k1=self._k1, b=self._b)

    def _hybrid(self, texts: Sequence[str], query_ids: Sequence[str], k: int, category: str | None) -> pd.DataFrame:
        depth = max(k, self._fusion_depth)
        return rrf([way(texts, query_ids, depth, category) for way in (self._champion, self._lexical)], depth=k)
