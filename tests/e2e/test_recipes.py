"""A second recipe beside the first: its own assets are built, nothing else is made anew, and the gate compares all checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import artifact_names
from whetstone.platform.staleness import name_of
from whetstone.retrieval.encode import encode

OWN = {"models.encoder_supcon", "models.encoder_circle", "marts.hard_samples", "marts.synthetic_queries", "marts.synthetic_grades"}
FOLLOW = {
    "marts.evaluation",
    "models.champion",
    "models.search_thresholds",
    "models.product_vectors",
    "models.search_index",
    "models.shard_set",
    "reports.report",
}


@pytest.fixture(scope="module")
def both(built_shop, tmp_path_factory: pytest.TempPathFactory):
    """The built shop with `supcon_circle` added, and what that build did."""
    shop = built_shop.copy(tmp_path_factory.mktemp("both") / "home")
    shop.settings = shop.settings.model_copy(update={"recipe": "curriculum,supcon_circle"})
    return shop, shop.builder().run()


def test_only_the_new_recipe_is_trained(both) -> None:
    shop, outcome = both
    assert not outcome.failed and not outcome.held_back
    built = {name_of(place).split("[")[0] for place in outcome.built}
    assert built >= OWN | {"marts.evaluation", "reports.report"} and built <= OWN | FOLLOW
    assert not shop.builder().run().built


def test_hard_samples_lie_on_the_wrong_side_of_the_middle_and_belong_to_train_queries(both) -> None:
    warehouse = both[0].warehouse()
    samples = warehouse.read("select s.*, q.split from marts.hard_samples as s join raw.queries as q using (query_id)")
    assert len(samples) and set(samples["split"]) == {"train"}
    assert ((samples["rank"] > 50) == (samples["label"] > 0)).all()
    assert (samples["kind"] == (samples["label"] == 0).map({True: "hard_negative", False: "hard_positive"})).all()


def test_synthetic_queries_are_for_products_that_no_train_query_wants_and_are_named_so(both) -> None:
    warehouse = both[0].warehouse()
    made = warehouse.table("marts.synthetic_queries")
    assert len(made) and set(made["generator"]) == {"template"}
    relevant = "select product_id from marts.grades where split = 'train' and grade >= 3"
    assert not set(made["product_id"]) & set(warehouse.read(relevant)["product_id"])
    shop_queries = warehouse.read("select lower(text) as text from raw.queries")["text"]
    assert not set(made["text"]) & set(shop_queries)
    graded = warehouse.table("marts.synthetic_grades")
    assert set(graded["query_id"]) <= set(made["query_id"]) and not set(graded["settled_by"]) & {"human"}


def test_every_checkpoint_is_an_ordinary_model_and_is_compared(both) -> None:
    shop, _ = both
    systems = shop.warehouse().read("select distinct system from marts.evaluation")["system"]
    assert {"encoder_triplet", "encoder_supcon", "encoder_circle", "hybrid_encoder_circle"} <= set(systems)
    artifacts = Artifacts(shop.settings.root / "artifacts")
    folder: Path = artifacts.open(artifact_names(shop.instance, "models.encoder_circle")[None]).path
    vectors = encode(SentenceTransformer(str(folder), device="cpu"), ["red mug", "blue lamp"])
    assert vectors.shape == (2, 32)
    assert not (shop.settings.root / "training" / "encoder_circle").exists()  # checkpoints of a training that is over
