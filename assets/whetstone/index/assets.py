"""Wiring of serving: the champion's vectors, each category's USearch shard, the hybrid's thresholds, and the set of these that serves."""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from whetstone.platform.artifacts import fingerprint
from whetstone.platform.asset import INPUT_TAG, artifact_name, artifact_names, asset, key_of, result
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write
from whetstone.platform.history import History
from whetstone.platform.registry import ShardSet, registry_of
from whetstone.platform.resources import Context, WithArtifacts, WithSettings
from whetstone.platform.warehouse import Warehouse

THRESHOLDS = "thresholds.json"


@asset(schema="models", group="index", kinds={"torch", "numpy"}, deps=["staging.products", "models.champion"])
def product_vectors(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
    """Unit vectors of the category's products by the champion; only texts that it never saw are encoded."""
    import numpy as np

    from whetstone.platform.artifacts import frame_version
    from whetstone.retrieval.encode import Embedder

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
    shown = {"dagster/row_count": len(products), "encoder": champion.name, "dimensions": made.facts["dimensions"]}
    return result(artifact=made, metadata=shown)


@asset(
    schema="models",
    group="index",
    kinds={"usearch"},
    deps=["models.product_vectors"],
    uses=["index_dtype", "index_connectivity", "index_expansion_add", "index_expansion_search", "index_recall_floor"],
    version="3",
)
def search_index(context: Context, settings: WithSettings, artifacts: WithArtifacts) -> dg.MaterializeResult:
    """The category's shard: the USearch index that was there before with what changed, or one from nothing."""
    from whetstone.index.shard import build_shard, load_vectors

    category = context.partition_key
    vectors = artifacts.open(artifact_name(context.instance, "models.product_vectors", category))
    names = ("dtype", "connectivity", "expansion_add", "expansion_search")
    parameters: dict[str, Any] = {name: getattr(settings, f"index_{name}") for name in names}
    inputs = {"category": category, "vectors": vectors.version, "format": 3, **parameters}
    last = artifact_names(context.instance, "models.search_index").get(category)
    anew = last == f"index/{fingerprint('index', inputs)}"  # made again although nothing changed: a check did not pass
    previous = artifacts.open(last) if last and not anew and not artifacts.damage(last) else None

    def write(folder: Path) -> dict[str, object]:
        rows, ids = load_vectors(vectors.path)
        how = {"encoder": vectors.facts["encoder"], "previous": previous, "compact_share": settings.index_compact_share}
        return build_shard(folder, rows, ids, **how, **parameters)

    made = artifacts.make("index", inputs, write, anew=anew)
    counts = {name: made.facts[name] for name in ("count_added", "count_removed")}
    size = sum(file.stat().st_size for file in made.path.iterdir())
    shown = {"dagster/row_count": made.facts["count"], **counts, "size_bytes": size, "path": dg.MetadataValue.path(str(made.path))}
    return result(artifact=made, metadata=shown)


@asset(schema="models", group="index", kinds={"python"}, deps=["marts.evaluation", "models.champion"], by_category=False)
def search_thresholds(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
    """The champion's cosine cuts and the weight of its cosines beside BM25, chosen on dev queries; WhetstoneError: it was not evaluated."""
    import pandas as pd

    champion = registry_of(settings).require().champion
    rows = warehouse.read("select thresholds from meta.thresholds where encoder = $encoder", {"encoder": champion.version})
    if rows.empty:
        raise WhetstoneError(f"evaluation has no thresholds for the champion {champion.version}; run `whetstone build --select evaluation`")
    text = str(rows["thresholds"][0])

    def write(folder: Path) -> dict[str, Any]:
        (folder / THRESHOLDS).write_text(text, encoding="utf-8")
        return dict(json.loads(text))

    made = artifacts.make("thresholds", {"thresholds": text}, write)
    atomic_write(settings.root / THRESHOLDS, text.encode())  # a copy for whoever takes the index along
    if reason := made.facts["reason"]:
        context.log.warning("the hybrid search goes by ranks (RRF): %s", reason)
    ndcg = pd.Series(made.facts["ndcg_by_weight"], dtype=float).to_string()
    table = f"```\n{pd.DataFrame(made.facts['cuts']).T}\n\ndev ndcg@10 by weight of the cosine\n{ndcg}\n```"
    shown = {"encoder": champion.name, "weight": made.facts["weight"], "reason": reason, "table": dg.MetadataValue.md(table)}
    return result(artifact=made, metadata={**shown, "path": dg.MetadataValue.path(str(made.path / THRESHOLDS))})


@asset(
    schema="models",
    group="index",
    kinds={"usearch"},
    deps=["models.search_index", "models.search_thresholds", "models.champion"],
    by_category=False,
)
def shard_set(context: Context, settings: WithSettings, artifacts: WithArtifacts) -> dg.MaterializeResult:
    """What `whetstone search` serves, published as one: the champion, its thresholds and every category's shard, all of this encoder.

    While a category or the thresholds are of another encoder, what was published last goes on serving; WhetstoneError: nothing was.
    """
    registry, history = registry_of(settings), History(context.instance)
    champion, shards = registry.require().champion, artifact_names(context.instance, "models.search_index")
    vectors = history.latest(key_of("models.product_vectors"))
    made = ShardSet(
        champion,
        artifact_name(context.instance, "models.search_thresholds"),
        {category: shards[category] for category in history.categories if category in shards},
        {c: vectors[c].tags.get(f"{INPUT_TAG}staging.products", "") for c in history.categories if c in vectors},
    )
    parts = {"search_thresholds": made.thresholds, **made.shards}
    waits = [part for part, name in parts.items() if artifacts.open(name).facts["encoder"] != champion.version]
    waits += sorted(set(history.categories) - set(made.shards))
    if waits:
        said = f"not of the champion {champion.name} ({champion.version}) yet: {', '.join(waits)}"
        if not (state := registry.state()) or not state.sets:
            raise WhetstoneError(f"there is nothing to serve: {said}; run `whetstone build`")
        context.log.warning("what served goes on serving: %s", said)
        made = state.sets[0]
    else:
        registry.publish(made)
    shown = {"encoder": made.encoder.name, "count_shards": len(made.shards), "waits_for": ", ".join(waits) or "nothing"}
    return result(version=fingerprint(made.encoder.version, made.thresholds, made.shards), metadata=shown)


ASSETS = [product_vectors, search_index, search_thresholds, shard_set]
