"""Queries in words to products with titles, by any system that we compare: what `whetstone search` calls.

It serves the shard set that was published last, whatever is being built: one encoder, its thresholds, and a shard for each category.
Products that left the catalog since, or that moved away from the category asked for, are left out.

`champion` searches the categories' shards (approximate) with its encoder, `base` all products with the base encoder (exact), `bm25` their
texts; `hybrid` blends champion and bm25 by the thresholds and the weight that were measured for the champion, `rrf` fuses them by ranks.
Encoders, shards and vectors are opened when a system first needs them: a search by bm25 loads no encoder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import TypeAdapter

from whetstone.index.shard import Shard, open_shard, search
from whetstone.index.thresholds import Thresholds
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.vectors import Vectors
from whetstone.retrieval.bm25 import bm25_run
from whetstone.retrieval.dense import exact_search
from whetstone.retrieval.encode import Embedder
from whetstone.retrieval.fusion import rrf

SYSTEMS = ("champion", "base", "bm25", "hybrid", "rrf")
COLUMNS = ("query_index", "rank", "product_id", "title", "category", "score")


@dataclass
class Searcher:
    """A catalog that answers queries. It keeps shards and vectors open; give it all queries of one kind in one call."""

    products: pd.DataFrame  # product_id, category, title, text, text_hash; one row per product
    open_shards: Callable[[], Mapping[str, Shard]]  # category -> shard
    champion: Embedder
    base: Embedder
    settings: Settings
    open_thresholds: Callable[[], Thresholds]

    def search(self, texts: Sequence[str], k: int, system: str = "champion", category: str | None = None) -> pd.DataFrame:
        """The k best products of every text by one of `SYSTEMS`, in one category or all; a blank text finds nothing.

        Returns `COLUMNS`, ordered by query_index (position in `texts`) and rank. WhetstoneError: an unknown system or category, k below 1.
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
        if system in ("hybrid", "rrf"):
            lexical, dense = (self._run(part, asked, max(k, self.settings.depth), category) for part in ("bm25", "champion"))
            run = self.open_thresholds().fuse(lexical, dense, k) if system == "hybrid" else rrf([lexical, dense], k)
        else:
            run = self._run(system, asked, k, category)
        rows = pd.Index(self.products["product_id"]).get_indexer(pd.Index(run["product_id"]))
        run = run.assign(query_index=run["query_id"].astype(np.int64))
        run[["title", "category"]] = self.products[["title", "category"]].to_numpy()[rows]
        return run[list(COLUMNS)]

    @cached_property
    def _base_rows(self) -> Vectors:
        return self.base.products(self.products)

    def _run(self, system: str, asked: Mapping[str, str], k: int, category: str | None) -> pd.DataFrame:
        """The run of one system (hybrids aside) for these texts by query_id."""
        query_ids, texts = list(asked), list(asked.values())
        members: slice | npt.NDArray[np.intp] = slice(None) if category is None else np.flatnonzero(self.products["category"] == category)
        product_ids = self.products["product_id"].iloc[members].tolist()
        if system == "champion":
            if not (shards := [shard for name, shard in self.open_shards().items() if category in (None, name)]):
                what = "the catalog's categories" if category is None else f"category {category!r}"
                raise WhetstoneError(f"the published set has no shard of {what}: run `whetstone build --select +shard_set`")
            held = [product for shard in shards for product in shard.product_ids]
            others = len(held) - len({*held} & {*product_ids})  # gone, or twice: with so many more, k remain
            run = search(shards, self.champion.queries(texts), query_ids, k + others)
            run = run[run["product_id"].isin(product_ids)].drop_duplicates(["query_id", "product_id"]).groupby("query_id").head(k)
            return run.assign(rank=run.groupby("query_id").cumcount() + 1).reset_index(drop=True)
        if system == "base":
            return exact_search(self.base.queries(texts), self._base_rows[members], query_ids, product_ids, k)
        product_texts = self.products["text"].iloc[members].tolist()
        return bm25_run(product_texts, product_ids, texts, query_ids, k, k1=self.settings.bm25_k1, b=self.settings.bm25_b)


def open_searcher(settings: Settings, read: Callable[[str], pd.DataFrame]) -> Searcher:
    """A searcher over the published set; `read` maps a SELECT of the warehouse to its rows. WhetstoneError: nothing was published yet."""
    artifacts, state = Artifacts(settings.root / "artifacts"), registry_of(settings).state()
    if state is None or not state.sets:
        raise WhetstoneError(f"no search index was published for source {settings.source} in {settings.home}; run `whetstone build`")
    served, base = state.sets[0], state.bases[state.current].base
    products = read("select product_id, category, title, text, text_hash from staging.products order by product_id")
    known = set(products["category"])  # a dropped category's shard may be gone
    return Searcher(
        products,
        cache(lambda: {c: open_shard(artifacts.open(name)) for c, name in sorted(served.shards.items()) if c in known}),
        Embedder(served.encoder, settings.root / "vectors", settings.device),
        Embedder(base, settings.root / "vectors", settings.device),
        settings,
        cache(lambda: TypeAdapter(Thresholds).validate_python(artifacts.open(served.thresholds).facts)),
    )
