"""Wiring of the catalog: what the feed lands (external assets) and which categories each query belongs to."""

from typing import Any

import dagster as dg

from whetstone.platform.asset import OWNERS, Contents, asset, changed_contents, key_of, result
from whetstone.platform.history import History
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse, replace_select

_LANDED = {
    "catalog": "Products as the feed landed them, by category. The feed reports a new version when a category's rows changed.",
    "queries": "Queries as the feed landed them, with their segment.",
    "judgments": "Human judgments as the feed landed them, by the product's category.",
    "engagement": "Clicks, carts and purchases as the feed landed them, by the product's category.",
    "synonyms": "The source's synonym file in Solr's format, if it has one.",
}
_OF_THE_SHOP = ("queries", "synonyms")
_ROUTED = "Which queries are routed to the category: query_routes decides it for all at once, and reports the categories where it changed."
_FEED: dict[str, Any] = {"kinds": {"duckdb"}, "owners": OWNERS}
EXTERNAL = [
    *(
        dg.AssetSpec(
            ["raw", name], description=said, group_name="sources", partitions_def=None if name in _OF_THE_SHOP else CATEGORIES, **_FEED
        )
        for name, said in _LANDED.items()
    ),
    dg.AssetSpec(
        ["staging", "routed_queries"],
        deps=[key_of("staging.query_routes")],
        description=_ROUTED,
        group_name="catalog",
        partitions_def=CATEGORIES,
        **_FEED,
    ),
]


@asset(
    schema="staging",
    group="catalog",
    kinds={"scikitlearn", "duckdb"},
    deps=["raw.catalog", "raw.queries", "raw.judgments", "raw.engagement"],
    uses=["route_neighbours"],
    version="2",
    by_category=False,
)
def query_routes(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], warehouse: Warehouse) -> dg.MaterializeResult:
    """One row per query x category that the query may belong to, at most three, with a probability.

    By the categories of its judged or engaged products where they are known, otherwise of its nearest products. Test queries
    never use their judgments. What it changes for a category is reported as `staging.routed_queries`, so that no other category runs again.
    """
    from whetstone.catalog.routing import route

    queries = warehouse.table("raw.queries", columns="query_id, text, split")
    judgments = warehouse.table("raw.judgments", columns="query_id, product_id, grade")
    engagement = warehouse.table("raw.engagement", columns="query_id, product_id, clicks, add_to_carts, purchases")
    products = warehouse.table("raw.catalog", columns="product_id, category, text")
    routes = route(queries, judgments, engagement, products, neighbours=settings.route_neighbours)
    written = warehouse.replace("staging.query_routes", routes)
    history, part = History(context.instance), "select query_id from staging.query_routes where category = $category"
    with warehouse.transaction() as connection:
        parts = {c: replace_select(connection, "staging.routed_queries", part, c, {"category": c}) for c in history.categories}
    contents: Contents = {
        ("staging.routed_queries", c): (made.version, {"dagster/row_count": made.count_rows}) for c, made in parts.items()
    }
    for event in changed_contents(history, contents):
        context.instance.report_runless_asset_event(event)
    methods = routes.drop_duplicates("query_id")["method"].value_counts().to_dict()
    return result(written, metadata={f"count_{method}": int(count) for method, count in methods.items()})


ASSETS = [query_routes]
