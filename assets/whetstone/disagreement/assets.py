"""Wiring of the disagreement room: token-similar pairs and the overlap of the channels (the sets themselves are SQL)."""

import dagster as dg

from whetstone.platform.asset import asset, result
from whetstone.platform.resources import Context, WithSettings
from whetstone.platform.warehouse import Warehouse
from whetstone.retrieval.channels import CHANNELS


@asset(
    schema="marts",
    group="disagreement",
    kinds={"scikitlearn", "duckdb"},
    deps=["staging.products", "staging.queries", "marts.disagreement_sets"],
    uses=["similar_low", "similar_high", "similar_per_query"],
)
def token_similar(context: Context, settings: WithSettings, warehouse: Warehouse) -> dg.MaterializeResult:
    """One row per query x product that share words (TF-IDF cosine 0.2-0.6) and that no channel found."""
    from whetstone.disagreement.token_similar import token_similar as similar_pairs

    category = context.partition_key
    train = "select query_id, text from staging.queries where category = $c and split = 'train' order by query_id"
    products, queries = warehouse.table("staging.products", category, "product_id, text"), warehouse.read(train, {"c": category})
    found = warehouse.table("marts.disagreement_sets", category, "query_id, product_id")
    limits = settings.similar_low, settings.similar_high, settings.similar_per_query
    pairs, dropped = similar_pairs(products, queries, found, *limits)
    written = warehouse.replace("marts.token_similar", pairs, category)
    return result(written, metadata={f"dropped_{rule}": count for rule, count in dropped.items()})


@asset(schema="marts", group="disagreement", kinds={"python", "duckdb"}, deps=["marts.disagreement_sets"])
def channel_overlap(context: Context, warehouse: Warehouse) -> dg.MaterializeResult:
    """One row per pair of channels: the share of their finds that both have. Low overlap is what mining lives on ([A]: 13-15 %)."""
    from whetstone.disagreement.overlap import heatmap, overlap
    from whetstone.platform.plots import embed, figure_png

    category = context.partition_key
    table = overlap(warehouse.table("marts.disagreement_sets", category), [channel.name for channel in CHANNELS])
    written = warehouse.replace("marts.channel_overlap", table, category)
    shares = {f"overlap_{row['left']}_{row['right']}": float(row["overlap"]) for _, row in table.iterrows() if row["count_queries"]}
    return result(written, metadata={**shares, "heat_map": dg.MetadataValue.md(embed(figure_png(heatmap(table)), "overlap"))})


ASSETS = [token_similar, channel_overlap]
