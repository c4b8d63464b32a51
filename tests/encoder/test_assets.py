"""The wiring of training: what makes a checkpoint stale."""

from __future__ import annotations

import dagster as dg

from whetstone.encoder.assets import assets
from whetstone.encoder.recipes import FOLDER, Recipe, Synthetic, Towers, load_recipe
from whetstone.grading.guideline import load_guideline


def code_versions(recipe: Recipe) -> dict[dg.AssetKey, str | None]:
    return {spec.key: spec.code_version for asset in assets(recipe, load_guideline("esci")) for spec in asset.specs}


def inputs(recipe: Recipe) -> dict[str, set[str]]:
    """What each asset of a recipe reads, by its name."""
    made = assets(recipe, load_guideline("esci"))
    return {asset.key.path[-1]: {".".join(key.path) for key in asset.keys_by_input_name.values()} for asset in made}


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


def test_hard_samples_lie_between_the_stages_of_a_recipe_that_mines_and_nowhere_else() -> None:
    for recipe in map(load_recipe, sorted(path.stem for path in FOLDER.glob("*.yml"))):
        read = inputs(recipe)
        assert ("hard_samples" in read) == (recipe.miner is not None)
        assert [name for name in read if name != "hard_samples"] == [stage.name for stage in recipe.stages]
        for stage in recipe.stages:
            assert ("marts.hard_samples" in read[stage.name]) == stage.needs_hard_samples
    read = inputs(load_recipe("mine_and_refine"))
    assert read["hard_samples"] >= {"models.encoder_supcon", "marts.grades", "models.calibration", "raw.judgments"}
    assert read["encoder_circle"] >= {"models.encoder_supcon", "marts.hard_samples"}
    assert "models.incumbent_encoder" in read["encoder_supcon"] and "models.incumbent_encoder" not in read["encoder_circle"]


def test_depth_of_the_search_makes_only_the_hard_samples_stale() -> None:
    recipe = load_recipe("mine_and_refine")
    plain, deeper = code_versions(recipe), code_versions(recipe.model_copy(update={"mining_depth": 150}))
    assert {key.path[-1] for key in plain if plain[key] != deeper[key]} == {"hard_samples"}


def test_other_towers_make_every_stage_stale() -> None:
    recipe = load_recipe("mine_and_refine")
    plain = code_versions(recipe)
    for towers in (Towers(kind="heads"), Towers(dimensions=64)):
        shaped = code_versions(recipe.model_copy(update={"towers": towers}))
        assert {key.path[-1] for key in plain if plain[key] != shaped[key]} == {"encoder_supcon", "encoder_circle"}


def test_synthetic_queries_are_read_by_every_stage_of_a_recipe_that_declares_them() -> None:
    tables = {"marts.synthetic_queries", "marts.synthetic_grades"}
    recipe = load_recipe("mine_and_refine")
    assert not any(tables & read for read in inputs(recipe).values())
    made = inputs(recipe.model_copy(update={"synthetic": Synthetic()}))
    assert all(tables <= made[stage.name] for stage in recipe.stages)
    assert not tables & made["hard_samples"]
