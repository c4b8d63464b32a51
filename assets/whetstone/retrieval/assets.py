"""Wiring of the channels: one run asset for each entry of the registry."""

import dagster as dg

from whetstone.platform.asset import OWNERS, asset, result
from whetstone.platform.registry import registry_of
from whetstone.platform.resources import Context, WithSettings
from whetstone.platform.warehouse import Warehouse
from whetstone.retrieval.channels import CHANNELS, Channel

EXTERNAL = [
    dg.AssetSpec(
        ["models", "incumbent_encoder"],
        group_name="encoder",
        kinds={"torch"},
        owners=OWNERS,
        description="The encoder that this cycle mines with. `whetstone cycle` makes the champion the incumbent.",
    )
]


def _run_asset(channel: Channel) -> dg.AssetsDefinition:
    @asset(
        schema="marts",
        name=f"{channel.name}_run",
        group="retrieval",
        kinds={"torch" if channel.kind == "dense" else "python", "duckdb"},
        deps=["staging.products", "staging.queries", *channel.reads],
        uses=channel.settings,
        version=channel.version,
        description=f"One row per query x product that the channel found: {channel.description}",
    )
    def run(context: Context, settings: WithSettings, warehouse: Warehouse) -> dg.MaterializeResult:
        import pandas as pd

        from whetstone.catalog.source import open_source
        from whetstone.retrieval.channels import ChannelInputs
        from whetstone.retrieval.encode import Embedder

        category = context.partition_key
        products = warehouse.table("staging.products", category)
        queries = warehouse.table("staging.queries", category, "query_id, text, split")
        queries = queries.query("split != 'test'").drop(columns="split").reset_index(drop=True)  # those never reach mining
        judgments = pd.DataFrame(columns=["query_id", "text", "product_id", "grade"])
        if "staging.judgments" in channel.reads:  # what isn't declared isn't read: it may not be built yet
            judgments = warehouse.table("staging.judgments", category, "query_id, text, product_id, grade, split")
            judgments = judgments.query("split == 'train'").drop(columns="split").reset_index(drop=True)
        synonyms = open_source(settings).synonyms
        inputs = ChannelInputs(
            products=products,
            queries=queries,
            judgments=judgments,
            settings=settings,
            embedder=Embedder(registry_of(settings).require().incumbent, settings.root / "vectors", settings.device),
            synonyms=synonyms.read_text(encoding="utf-8").splitlines() if synonyms else (),
        )
        found = channel.search(inputs, settings.depth)
        written = warehouse.replace(channel.table, found, category)
        return result(written, metadata={"count_queries": len(queries), "mean_depth": len(found) / max(len(queries), 1)})

    return run


ASSETS = [_run_asset(channel) for channel in CHANNELS]
