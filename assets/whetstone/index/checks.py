"""Checks of the index: it must find what an exact search finds."""

import dagster as dg

from whetstone.platform.asset import artifact_name, key_of
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.registry import registry_of
from whetstone.platform.resources import WithArtifacts, WithSettings
from whetstone.platform.warehouse import Warehouse


@dg.asset_check(asset=key_of("models.search_index"), blocking=True, partitions_def=CATEGORIES)
def recall_at_10(
    context: dg.AssetCheckExecutionContext, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts
) -> dg.AssetCheckResult:
    """Recall@10 of the shard against exact search over its vectors, on the category's queries, is at the floor or above."""
    from whetstone.index.recall import probes, recall_at
    from whetstone.index.shard import load_vectors, open_shard
    from whetstone.retrieval.encode import Embedder

    category = context.partition_key
    vectors, product_ids = load_vectors(artifacts.open(artifact_name(context.instance, "models.product_vectors", category)).path)
    shard = open_shard(artifacts.open(artifact_name(context.instance, "models.search_index", category)))
    queries = warehouse.table("staging.queries", category, "query_id, text")["text"].tolist()
    embedder = Embedder(registry_of(settings).require().champion, settings.root / "vectors", settings.device)
    recall = recall_at(shard, vectors, product_ids, probes(embedder.queries(queries), vectors))
    said = f"recall@10 is {recall:.4f}, the floor is {settings.index_recall_floor}"
    shown = {"recall@10": recall, "count_queries": len(queries)}
    return dg.AssetCheckResult(passed=recall >= settings.index_recall_floor, description=said, metadata=shown)


CHECKS = [recall_at_10]
