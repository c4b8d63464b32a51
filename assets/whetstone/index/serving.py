"""From what a build left behind to a searcher: the champion's shards, the products' titles, and the other systems to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from whetstone.index.searcher import Searcher
from whetstone.index.shard import Shard, open_shard
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import registry_of
from whetstone.platform.settings import Settings
from whetstone.retrieval.embedding import Embedder


def open_searcher(settings: Settings, read: Callable[[str], pd.DataFrame], shard_names: Mapping[str, str]) -> Searcher:
    """A searcher over the last build; shards, vectors and the BM25 index are opened when a system first needs them.

    Args:
        settings: which source.
        read: SELECT -> frame, of its warehouse.
        shard_names: category -> artifact `index/<version>`.

    Raises:
        WhetstoneError: nothing was built yet.
    """
    if not shard_names:
        raise WhetstoneError(f"no search index was built for source {settings.source} in {settings.home}; run `whetstone build`")
    products = read("select product_id, category, title, text, text_hash from staging.products order by product_id")
    artifacts = Artifacts(settings.root / "artifacts")
    pointers = registry_of(settings).require()
    champion = Embedder(pointers.champion, settings.root / "vectors", settings.device)
    base = Embedder(pointers.base, settings.root / "vectors", settings.device)

    def shards() -> Mapping[str, Shard]:
        opened = {category: open_shard(artifacts.open(name).path, category) for category, name in sorted(shard_names.items())}
        for category, shard in opened.items():
            if len(shard) and shard.info.encoder_version != pointers.champion.version:
                raise WhetstoneError(
                    f"the index of {category!r} was made by encoder {shard.info.encoder_version}, the champion is "
                    f"{pointers.champion.version}; run `whetstone build`"
                )
        return opened

    return Searcher(
        products,
        shards=shards,
        encode=champion.texts,
        base_vectors=lambda: base.products(products),
        encode_base=base.texts,
        bm25_k1=settings.bm25_k1,
        bm25_b=settings.bm25_b,
        fusion_depth=settings.depth,
    )
