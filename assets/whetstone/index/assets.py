"""Wiring of serving: the champion's vectors and the USearch shard of each category."""

from pathlib import Path
from typing import Any

import dagster as dg

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import artifact_name, asset, result
from whetstone.platform.registry import registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse


@asset(schema="models", group="index", kinds={"torch", "numpy"}, deps=["staging.products", "models.champion"])
def product_vectors(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], warehouse: Warehouse, artifacts: dg.ResourceParam[Artifacts]
) -> dg.MaterializeResult:
    """Unit vectors of the category's products by the champion; only texts that it never saw are encoded."""
    import numpy as np

    from whetstone.platform.artifacts import frame_version
    from whetstone.retrieval.embedding import Embedder

    champion = registry_of(settings).require().champion
    products = warehouse.table("staging.products", context.partition_key, "product_id, text, text_hash")
    keys = products[["product_id", "text_hash"]]

    def write(folder: Path) -> dict[str, object]:
        vectors = Embedder(champion, settings.root / "vectors", settings.device).products(products)
        np.save(folder / "vectors.npy", vectors)
        keys.to_parquet(folder / "products.parquet", index=False)
        return {"encoder": champion.version, "count": len(products), "dimensions": int(vectors.shape[1])}

    inputs = {"category": context.partition_key, "encoder": champion.version, "products": frame_version(keys)}
    made = artifacts.make("vectors", inputs, write)
    return result(
        artifact=made, metadata={"dagster/row_count": len(products), "encoder": champion.name, "dimensions": made.facts["dimensions"]}
    )


@asset(
    schema="models",
    group="index",
    kinds={"usearch"},
    deps=["models.product_vectors"],
    uses=["index_dtype", "index_connectivity", "index_expansion_add", "index_expansion_search", "index_recall_floor"],
    version="2",
)
def search_index(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], artifacts: dg.ResourceParam[Artifacts]
) -> dg.MaterializeResult:
    """The category's shard: a USearch index built on one thread, so that the same vectors give the same bytes."""
    from whetstone.index.shard import build_shard, load_vectors

    vectors = artifacts.open(artifact_name(context.instance, "models.product_vectors", context.partition_key))
    parameters: dict[str, Any] = {
        "dtype": settings.index_dtype,
        "connectivity": settings.index_connectivity,
        "expansion_add": settings.index_expansion_add,
        "expansion_search": settings.index_expansion_search,
    }

    def write(folder: Path) -> dict[str, object]:
        return build_shard(folder, *load_vectors(vectors.path), encoder=vectors.facts["encoder"], **parameters)

    made = artifacts.make("index", {"vectors": vectors.version, "format": 2, **parameters}, write)
    size = sum(file.stat().st_size for file in made.path.iterdir())
    return result(
        artifact=made,
        metadata={"dagster/row_count": made.facts["count"], "size_bytes": size, "path": dg.MetadataValue.path(str(made.path))},
    )


ASSETS = [product_vectors, search_index]
