"""Wiring of the curriculum: synthetic queries and their grades, for recipes that ask for them."""

import dagster as dg

from whetstone.grading.assets import PAYING, warn
from whetstone.grading.guideline import Guideline
from whetstone.grading.jobs import build_of, open_cascade, open_room
from whetstone.platform.asset import asset, result
from whetstone.platform.registry import registry_of
from whetstone.platform.resources import Context, WithArtifacts, WithSettings
from whetstone.platform.warehouse import Warehouse
from whetstone.retrieval.channels import channel

NEAR = ("bm25", "dense")  # channels that find likely negatives
_PRODUCTS = """
select
    product_id, category, text, title, coalesce(brand, '') as brand, coalesce(category_path[-1], '') as kind,
    coalesce(attributes, map([]::varchar[], []::varchar[])) as attributes
from staging.products where category = $category order by product_id
"""
_POSITIVES = """
select product_id from marts.corrected_grades where category = $category and split = 'train' and grade >= $grade
union
select product_id from raw.judgments join raw.queries using (query_id) where split = 'train' and grade >= $grade
"""


def assets(guideline: Guideline, restricted: bool, share: float) -> list[dg.AssetsDefinition]:
    """Queries for a `share` of the products (`restricted`: of those without a positive query), and the grades of their pairs."""
    return [_synthetic_queries(guideline, restricted, share), _synthetic_grades(guideline)]


def _synthetic_queries(guideline: Guideline, restricted: bool, share: float) -> dg.AssetsDefinition:
    from whetstone.grading.claude.queries import QueryPrompt

    @asset(
        schema="marts",
        group="curriculum",
        kinds={"duckdb", "anthropic"},
        deps=["marts.corrected_grades", "staging.products", "raw.judgments", "raw.queries"],
        uses=PAYING,
        version=f"2-{restricted}-{share}-{guideline.version}-{QueryPrompt().version}",
    )
    def synthetic_queries(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """One row per product that gets a synthetic query: by Claude where it can be bought, else from a template ([B] augmentation)."""
        from whetstone.curriculum.synthetic import choose_products, synthetic_queries
        from whetstone.grading.annotators import open_writer
        from whetstone.grading.claude.queries import write_queries

        category = context.partition_key
        products = warehouse.read(_PRODUCTS, {"category": category})
        positives = warehouse.read(_POSITIVES, {"category": category, "grade": guideline.relevant_grade})["product_id"]
        chosen = choose_products(products, set(positives), share, settings.seed, restricted)
        room = open_room(context.instance, settings, warehouse, artifacts, guideline, build_of(context))
        writer = open_writer(room)
        written, why = write_queries(writer, chosen, room.ledger, room.entry) if writer else ({}, "")
        queries = synthetic_queries(chosen, settings.seed, written, warehouse.read("select text from raw.queries")["text"])
        by_template = int((queries["generator"] == "template").sum())
        if why and by_template:
            warn([f"synthetic_queries[{category}]: {by_template} by template: {why}"])
        without = len(products) - int(products["product_id"].isin(positives).sum())
        counts = {"products": len(products), "without_positive": without, "chosen": len(chosen), "by_template": by_template}
        return result(warehouse.replace("marts.synthetic_queries", queries, category), metadata=counts)

    return synthetic_queries


def _synthetic_grades(guideline: Guideline) -> dg.AssetsDefinition:
    @asset(
        schema="marts",
        group="curriculum",
        kinds={"duckdb", "anthropic"},
        deps=["marts.synthetic_queries", "models.calibration", "staging.products", "models.incumbent_encoder"],
        uses=[*PAYING, "bm25_k1", "bm25_b"],
        version="-".join(["1", guideline.version, *(channel(name).version for name in NEAR)]),
    )
    def synthetic_grades(context: Context, settings: WithSettings, warehouse: Warehouse, artifacts: WithArtifacts) -> dg.MaterializeResult:
        """One row per graded pair of a synthetic query: its own product and likely negatives, settled by the cascade alone."""
        import pandas as pd

        from whetstone.curriculum.synthetic import NEGATIVES, pairs_to_grade
        from whetstone.grading.grade import grade_pairs
        from whetstone.retrieval.channels import ChannelInputs
        from whetstone.retrieval.encode import Embedder

        category = context.partition_key
        queries = warehouse.table("marts.synthetic_queries", category)
        products = warehouse.table("staging.products", category)
        asked = queries.drop_duplicates("query_id")[["query_id", "text"]]
        embedder = Embedder(registry_of(settings).require().incumbent, settings.root / "vectors", settings.device)
        nothing = pd.DataFrame(columns=["query_id", "text", "product_id", "grade", "source"])
        inputs = ChannelInputs(products, asked, nothing, settings, embedder)
        runs = [channel(name).search(inputs, 2 * NEGATIVES) for name in NEAR] if len(asked) else []
        pairs = pairs_to_grade(queries, runs).merge(asked.rename(columns={"text": "query"})).merge(products[["product_id", "text"]])
        room = open_room(context.instance, settings, warehouse, artifacts, guideline, build_of(context))
        cascade, _ = open_cascade(context.instance, artifacts, room._replace(synthetic=queries))
        graded = grade_pairs(pairs.assign(category=category), nothing, cascade, room.ledger, guideline, room.entry)
        warn([f"synthetic_grades[{category}]: {row['stage']}: {row['why']}" for row in graded.stages if row["why"]])
        rows = graded.rows.merge(pairs[["query_id", "product_id", "query"]], on=["query_id", "product_id"], validate="one_to_one")
        table = dg.MetadataValue.md(f"```\n{pd.DataFrame(graded.stages).to_string(index=False)}\n```")
        written = warehouse.replace("marts.synthetic_grades", rows, category)
        return result(written, metadata={"stages": table, "new_usd": sum(row["new_usd"] for row in graded.stages)})

    return synthetic_grades
