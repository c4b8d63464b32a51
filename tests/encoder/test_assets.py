"""The wiring of training: what makes a checkpoint stale."""

from __future__ import annotations

import dagster as dg

from whetstone.encoder.assets import assets
from whetstone.encoder.recipes import Recipe, load_recipe
from whetstone.grading.guideline import load_guideline


def code_versions(recipe: Recipe) -> dict[dg.AssetKey, str | None]:
    return {spec.key: spec.code_version for asset in assets(recipe, load_guideline("esci")) for spec in asset.specs}


def test_a_changed_stage_is_stale_alone_and_another_seed_makes_all_stale() -> None:
    recipe = load_recipe("curriculum")
    bce, *others = recipe.stages
    plain = code_versions(recipe)
    changed = code_versions(recipe.model_copy(update={"stages": (bce.model_copy(update={"epochs": 2}), *others)}))
    assert {key.path[-1] for key in plain if plain[key] != changed[key]} == {"encoder_bce"}
    reseeded = code_versions(recipe.model_copy(update={"seed": recipe.seed + 1}))
    assert not set(plain.values()) & set(reseeded.values())


def test_a_checkpoint_depends_on_everything_that_its_rows_and_its_dev_set_are_made_of() -> None:
    first, second, _ = assets(load_recipe("curriculum"), load_guideline("esci"))
    tables = {".".join(key.path) for key in first.keys_by_input_name.values()}
    assert tables >= {"marts.curriculum_tiers", "marts.grades", "marts.bm25_run", "raw.judgments", "raw.queries", "staging.products"}
    assert "models.incumbent_encoder" in tables
    assert dg.AssetKey(["models", "encoder_bce"]) in second.keys_by_input_name.values()
