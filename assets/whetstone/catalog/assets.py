"""Wiring of the catalog: what the feed lands (external assets) and which categories each query belongs to."""

from typing import Any

import dagster as dg

from whetstone.platform.asset import OWNERS, asset, result
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse

_LANDED = {
    "catalog": "Products as the feed landed them, by category. The feed reports a new version when a category's rows changed.",
    "queries": "Queries as the feed landed them, with their segment.",
    "judgments": "Human judgments as the feed landed them.",
    "engagement": "Clicks, carts and purchases as the feed landed them.",
    "synonyms": "The source's synonym file in Solr's format, if it has one.",
}
_FEED: dict[str, Any] = {"group_name": "sources", "kinds": {"duckdb"}, "owners": OWNERS}
EXTERNAL = [
    dg.AssetSpec(["raw", name], description=said, partitions_def=CATEGORIES if name == "catalog" else None, **_FEED)
    for name, said in _LANDED.items()
]


@asset(
    schema="staging",
    group="catalog",
    kinds={"scikitlearn", "duckdb"},
    deps=["raw.catalog", "raw.queries", "raw.judgments", "raw.engagement"],
    uses=["route_neighbours"],
    by_category=False,
)
def query_routes(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], warehouse: Warehouse) -> dg.MaterializeResult:
    """One row per query x category that the query may belong to, at most three, with a probability.

    By the categories of its judged or engaged products where they are known, otherwise of its nearest products. Test queries
    never use their judgments.
    """
    from whetstone.catalog.routing import route

    queries, judgments, engagement = (warehouse.table(f"raw.{name}") for name in ("queries", "judgments", "engagement"))
    products = warehouse.table("raw.catalog", columns="product_id, category, text")
    routes = route(queries, judgments, engagement, products, neighbours=settings.route_neighbours)
    written = warehouse.replace("staging.query_routes", routes)
    methods = routes.drop_duplicates("query_id")["method"].value_counts().to_dict()
    return result(written, metadata={f"count_{method}": int(count) for method, count in methods.items()})


ASSETS = [query_routes]
