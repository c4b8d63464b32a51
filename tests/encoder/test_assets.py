"""The wiring of training: what makes a checkpoint stale, what its address is, what the search for hard samples knows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from whetstone.encoder import assets as wiring
from whetstone.encoder import hard_samples
from whetstone.encoder.assets import RUNS, assets, catalog_texts
from whetstone.encoder.recipes import FOLDER, Recipe, Synthetic, Towers, load_recipe
from whetstone.grading import grade
from whetstone.grading.guideline import load_guideline
from whetstone.platform.artifacts import Artifact
from whetstone.platform.registry import Encoder
from whetstone.platform.settings import PROJECT, Settings
from whetstone.platform.sql_models import read_model
from whetstone.platform.warehouse import Warehouse


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
    assert tables >= {"marts.learning_set", "marts.judged_set"}
    read = {name: set(read_model(PROJECT / f"sql/marts/{name}.sql", {}).tables) for name in ("learning_set", "judged_set")}
    assert read["learning_set"] == {"marts.curriculum_tiers", "marts.corrected_grades", "staging.products", "raw.queries"}
    assert read["judged_set"] == {"raw.judgments", "raw.queries", "staging.products"}
    assert "models.incumbent_encoder" in tables
    assert dg.AssetKey(["models", "encoder_bce"]) in second.keys_by_input_name.values()


def test_hard_samples_lie_between_the_stages_of_a_recipe_that_mines_and_nowhere_else() -> None:
    for recipe in map(load_recipe, sorted(path.stem for path in FOLDER.glob("*.yml"))):
        read = inputs(recipe)
        assert ("hard_samples" in read) == (recipe.miner is not None)
        assert [name for name in read if name != "hard_samples"] == [stage.name for stage in recipe.stages]
        for stage in recipe.stages:
            assert ("marts.hard_samples" in read[stage.name]) == stage.needs_hard_samples
    read = inputs(load_recipe("supcon_circle"))
    assert read["hard_samples"] >= {"models.encoder_supcon", "marts.learning_set", "models.calibration", "marts.judged_set"}
    assert read["encoder_circle"] >= {"models.encoder_supcon", "marts.hard_samples"}
    assert "models.incumbent_encoder" in read["encoder_supcon"] and "models.incumbent_encoder" not in read["encoder_circle"]


def test_depth_of_the_search_makes_only_the_hard_samples_stale() -> None:
    recipe = load_recipe("supcon_circle")
    plain, deeper = code_versions(recipe), code_versions(recipe.model_copy(update={"mining_depth": 150}))
    assert {key.path[-1] for key in plain if plain[key] != deeper[key]} == {"hard_samples"}


def test_other_towers_make_every_stage_stale() -> None:
    recipe = load_recipe("supcon_circle")
    plain = code_versions(recipe)
    for towers in (Towers(kind="heads"), Towers(dimensions=64)):
        shaped = code_versions(recipe.model_copy(update={"towers": towers}))
        assert {key.path[-1] for key in plain if plain[key] != shaped[key]} == {"encoder_supcon", "encoder_circle"}


def test_synthetic_queries_are_read_by_every_stage_of_a_recipe_that_declares_them() -> None:
    tables = {"marts.synthetic_queries", "marts.synthetic_grades"}
    recipe = load_recipe("supcon_circle").model_copy(update={"synthetic": None})
    assert not any(tables & read for read in inputs(recipe).values())
    made = inputs(recipe.model_copy(update={"synthetic": Synthetic()}))
    assert all(tables <= made[stage.name] for stage in recipe.stages)
    assert not tables & made["hard_samples"]


@pytest.mark.parametrize("towers", [Towers(dimensions=64), Towers(kind="heads")])
def test_the_sample_of_texts_is_not_drawn_anew_for_one_product(towers: Towers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "SAMPLE", 10)
    recipe = load_recipe("curriculum").model_copy(update={"towers": towers})
    texts = {f"p{number}": f"text {number}" for number in range(100)}

    def sample(texts: dict[str, str], recipe: Recipe = recipe) -> set[str]:
        return set(catalog_texts(recipe, recipe.stages[0], texts))

    assert len(sample(texts)) == 10 and sample(dict(reversed(texts.items()))) == sample(texts)
    changes = [len(sample({**texts, f"new{number}": "new"}) - sample(texts)) for number in range(50)]
    assert max(changes) == 1 and changes.count(0) > 30
    assert sample(texts) != sample(texts, recipe.model_copy(update={"seed": 99}))


def test_only_the_librarys_miner_reads_the_whole_catalog_and_unshaped_towers_none() -> None:
    texts = {f"p{number}": f"text {number}" for number in range(wiring.SAMPLE + 1)}
    for name, count in (("mnr_baseline", len(texts)), ("curriculum", 0)):
        recipe = load_recipe(name)
        assert len(catalog_texts(recipe, recipe.stages[0], texts)) == count


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A train and a dev query; p0 graded and corrected."""
    pair = ["query_id", "product_id"]
    graded = ["grade", "label", "confidence", "settled_by"]
    tables: dict[str, tuple[list[tuple[Any, ...]], list[str]]] = {
        "raw.queries": ([("q", "mug", "train"), ("d", "cup", "dev")], ["query_id", "text", "split"]),
        "raw.judgments": ([("q", "p1", 4, 1), ("d", "p1", 4, 1)], [*pair, "grade", "raters"]),
        "staging.products": (
            [(f"p{n}", "a", f"text {n}", f"hash {n}") for n in range(3)],
            ["product_id", "category", "text", "text_hash"],
        ),
        "marts.corrected_grades": ([("q", "p0", "a", "train", 0, 0, 0.8, "audit")], [*pair, "category", "split", *graded]),
        "marts.curriculum_tiers": ([("q", "p1", "train", "easy_positive", 4)], [*pair, "split", "tier", "grade"]),
        **dict.fromkeys(RUNS, ([("q", "p1")], pair)),
    }
    made = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    for name, (rows, columns) in tables.items():
        made.replace(name, pd.DataFrame(rows, columns=columns))
    return made


class Address(Exception):
    """Raised instead of training."""


class FakeArtifacts:
    """Opens whatever it is asked for; remembers what a checkpoint would be made from, and makes none."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}

    def open(self, name: str) -> Artifact:
        return Artifact("checkpoint", name, Path(name), {})

    def make(self, kind: str, inputs: dict[str, Any], build: Callable[..., Any]) -> Artifact:
        self.inputs = inputs
        raise Address


@pytest.fixture
def run(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    encoders = SimpleNamespace(require=lambda: SimpleNamespace(incumbent=Encoder("base", "1", "base")))
    monkeypatch.setattr(wiring, "registry_of", lambda settings: encoders)
    monkeypatch.setattr(wiring, "artifact_name", lambda instance, table: table)
    monkeypatch.setattr(wiring, "open_room", lambda *_: SimpleNamespace(ledger=None, entry=None))
    monkeypatch.setattr(wiring, "open_cascade", lambda *_: ([], []))

    def run(recipe: Recipe, name: str) -> dict[str, Any]:
        """Make one asset of a recipe; what its checkpoint would be made from."""
        (made,) = (each for each in assets(recipe, load_guideline("esci")) if each.key.path[-1] == name)
        artifacts = FakeArtifacts()
        resources = {"settings": Settings(home=tmp_path, source="demo"), "warehouse": warehouse, "artifacts": artifacts}
        with suppress(Address):
            dg.materialize([made], resources=resources, instance=dg.DagsterInstance.ephemeral())
        return artifacts.inputs

    return run


def test_a_checkpoints_address_holds_the_code_and_the_texts_that_it_reads(
    run: Callable[..., dict[str, Any]], warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    curriculum, baseline = load_recipe("curriculum"), load_recipe("mnr_baseline")
    shaped = curriculum.model_copy(update={"towers": Towers(dimensions=8)})
    cases = [(curriculum, "encoder_bce"), (baseline, "encoder_mnr_baseline"), (shaped, "encoder_bce")]
    before = [run(*case) for case in cases]
    assert {each["code"] for each in before} == {wiring.CODE}
    products = warehouse.table("staging.products")
    warehouse.replace("staging.products", products.assign(text=products["text"].where(products["product_id"] != "p2", "edited")))
    after = [run(*case) for case in cases]
    assert [old["catalog"] == new["catalog"] for old, new in zip(before, after, strict=True)] == [True, False, False]
    assert [old["instances"] for old in before][1] == after[1]["instances"]
    monkeypatch.setattr(wiring, "CODE", 99)
    assert run(*cases[0])["code"] == 99


def test_the_search_for_hard_samples_knows_corrected_grades_and_says_what_was_not_graded(
    run: Callable[..., dict[str, Any]], warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stages = [{"stage": "claude_small", "why": "the budget is spent"}, {"stage": "claude_large", "why": None}]
    monkeypatch.setattr(grade, "grade_pairs", lambda *_: SimpleNamespace(stages=stages, rows=None))
    seen: list[pd.DataFrame] = []

    def mine(queries: Any, products: Any, encode: Any, vectors: Any, graded: pd.DataFrame, ask: Callable[..., Any], **_: Any) -> Any:
        seen.append(graded)
        ask(graded.head(0))
        return graded.assign(kind="hard_negative"), {}

    monkeypatch.setattr(hard_samples, "mine_hard_samples", mine)
    run(load_recipe("supcon_circle"), "hard_samples")
    known = {
        product: tuple(rest) for product, *rest in seen[0][["product_id", "grade", "confidence", "settled_by"]].itertuples(index=False)
    }
    assert known == {"p1": (4, 1.0, "human"), "p0": (0, 0.8, "audit")}
    assert "hard_samples: claude_small: the budget is spent" in caplog.messages and not any(
        "claude_large" in said for said in caplog.messages
    )
