"""The only Dagster entry point: merges what the rooms and `sql/` declare, and adds the resources."""

import dagster as dg

from whetstone.catalog import assets as catalog
from whetstone.catalog import checks as catalog_checks
from whetstone.catalog import jobs as catalog_jobs
from whetstone.catalog.source import load_spec
from whetstone.curriculum import assets as curriculum
from whetstone.disagreement import assets as disagreement
from whetstone.disagreement import checks as disagreement_checks
from whetstone.encoder import assets as encoder
from whetstone.encoder.recipes import load_recipes
from whetstone.evaluation import assets as evaluation
from whetstone.evaluation import checks as evaluation_checks
from whetstone.grading import assets as grading
from whetstone.grading import checks as grading_checks
from whetstone.grading.guideline import load_guideline
from whetstone.index import assets as index
from whetstone.index import checks as index_checks
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import with_settings
from whetstone.platform.automation import automation_sensor, sweep_sensor
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.settings import Settings, load_settings
from whetstone.platform.sql_models import sql_definitions
from whetstone.platform.sqlite import without_waiting
from whetstone.platform.warehouse import Warehouse
from whetstone.retrieval import assets as retrieval
from whetstone.retrieval.channels import CHANNELS, run_ranks_sql

CHECKED = (catalog_checks, disagreement_checks, grading_checks, index_checks, evaluation_checks)


def build(settings: Settings) -> dg.Definitions:
    """The definitions of one source under these settings."""
    guideline = load_guideline(load_spec(settings.sql_dir, settings.source).guideline)
    recipes = load_recipes(settings.recipe)
    external = [*catalog.EXTERNAL, *retrieval.EXTERNAL]
    made = [
        *catalog.ASSETS,
        *retrieval.ASSETS,
        *disagreement.ASSETS,
        *grading.assets(settings, guideline),
        *(made for recipe in recipes if recipe.synthetic for made in curriculum.assets(guideline, **recipe.synthetic.model_dump())),
        *(made for recipe in recipes for made in encoder.assets(recipe, guideline)),
        *index.ASSETS,
        *evaluation.assets([stage.name for recipe in recipes for stage in recipe.stages], guideline),
    ]
    words = {
        "count_channels": len(CHANNELS),
        "relevant_grade": guideline.relevant_grade,
        "irrelevant_grade": guideline.irrelevant_grade,
        "top_grade": guideline.top_grade,
    }
    models, checks = sql_definitions(
        settings.sql_dir,
        made=[*external, *made],
        ephemeral={"marts.run_ranks": run_ranks_sql()},
        values={**settings.model_dump(), **words},
        contracts={channel.table: "marts/run.yml" for channel in CHANNELS},
    )
    assets = [*models, *(with_settings(asset, settings) for asset in made)]
    of_a_category = [asset for asset in assets if asset.partitions_def == CATEGORIES]
    backfill = dg.define_asset_job("category", of_a_category, description="All that is made for each category: the job to backfill with.")
    return dg.Definitions(
        assets=[*external, *assets],
        asset_checks=[*checks, *(each for room in CHECKED for each in room.CHECKS)],
        jobs=[backfill],
        sensors=[catalog_jobs.feed_sensor, automation_sensor(), sweep_sensor()],
        resources={
            "settings": settings,
            "warehouse": Warehouse(database=str(settings.warehouse_path)),
            "artifacts": Artifacts(settings.root / "artifacts"),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev`, `dg dev` and `dg check defs` load."""
    settings = load_settings()
    without_waiting(settings.dagster_home)
    return build(settings)
