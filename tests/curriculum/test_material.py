"""What training rows are made of: train pairs alone, trusted grades alone, synthetic and mined ones if wanted; `graded` as a tier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from whetstone.curriculum.instances import bce_instances, mnr_instances, triplet_instances
from whetstone.curriculum.lists import list_instances
from whetstone.curriculum.material import Material, load_material
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.warehouse import Warehouse

GRADES = ["query_id", "product_id", "category", "split", "grade", "label", "confidence", "settled_by"]
TIERS = ["query_id", "product_id", "split", "tier", "grade"]
BUILD = {"bce": bce_instances, "mnr": mnr_instances, "triplet": triplet_instances}


def pairs(frame: pd.DataFrame) -> set[tuple[Any, ...]]:
    return set(frame.itertuples(index=False, name=None))


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """One train query with four grades, a dev and a test query; p0-p7; a synthetic query and a hard sample."""
    tables = {
        "raw.queries": ([("q-train", "mug", "train"), ("q-dev", "cup", "dev"), ("q-test", "jug", "test")], ["query_id", "text", "split"]),
        "staging.products": ([(f"p{n}", f"text {n}") for n in range(8)], ["product_id", "text"]),
        "marts.corrected_grades": (
            [
                ("q-train", "p0", "a", "train", 4, 2, 1.0, "one"),
                ("q-train", "p0", "b", "train", 3, 1, 0.9, "one"),
                ("q-train", "p1", "a", "train", 0, 0, 0.7, "one"),
                ("q-train", "p2", "a", "train", 4, 2, 0.69, "one"),
                ("q-dev", "p3", "a", "dev", 4, 2, 1.0, "one"),
                ("q-test", "p4", "a", "test", 4, 2, 1.0, "one"),
            ],
            GRADES,
        ),
        "raw.judgments": ([("q-train", "p5", 4), ("q-train", "p6", 1), ("q-dev", "p7", 4)], ["query_id", "product_id", "grade"]),
        "marts.curriculum_tiers": (
            [("q-train", "p0", "train", "easy_positive", 4), ("q-train", "p1", "train", "hard_negative", 0)],
            TIERS,
        ),
        "marts.one_run": ([("q-train", "p0"), ("q-train", "p7")], ["query_id", "product_id"]),
        "marts.other_run": ([("q-train", "p0"), ("q-train", "p1")], ["query_id", "product_id"]),
        "marts.synthetic_queries": ([("s-1", "a made query", "p7"), ("s-1", "a made query", "p6")], ["query_id", "text", "product_id"]),
        "marts.synthetic_grades": (
            [("s-1", "p7", "a", 4, 2, 0.9), ("s-1", "p6", "a", 0, 0, 0.9), ("s-1", "p5", "a", 4, 2, 0.1)],
            [name for name in GRADES if name not in ("split", "settled_by")],
        ),
        "marts.hard_samples": (
            [("q-train", "p3", 3, 0, 0, "hard_negative"), ("q-train", "p4", 90, 4, 2, "hard_positive")],
            ["query_id", "product_id", "rank", "grade", "label", "kind"],
        ),
    }
    made = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    for name, (rows, columns) in tables.items():
        made.replace(name, pd.DataFrame(rows, columns=columns))
    return made


@pytest.fixture
def load(warehouse: Warehouse) -> Callable[..., Material]:
    def load(**changes: Any) -> Material:
        wanted: dict[str, Any] = {"relevant_grade": 3, "confidence": 0.7, "synthetic": False, "mined": False, **changes}
        return load_material(warehouse.read, ["marts.one_run", "marts.other_run"], **wanted)

    return load


def test_only_train_pairs_that_are_trusted_and_each_once(load: Callable[..., Material]) -> None:
    shop = load()
    assert shop.query_text == {"q-train": "mug"}
    assert pairs(shop.graded) == {("q-train", "p0", 4, 2), ("q-train", "p1", 0, 0)}  # two categories of a pair are one
    assert pairs(load(confidence=0.71).graded) == {("q-train", "p0", 4, 2)}
    assert ("q-train", "p2", 4, 2) in pairs(load(confidence=0.69).graded)
    assert len(shop.products) == 8
    assert pairs(shop.found) == {("q-train", product) for product in ("p0", "p1", "p7")}
    assert shop.mined.empty


def test_what_is_relevant_by_any_grade_or_judgment_is_never_a_negative(load: Callable[..., Material]) -> None:
    # untrusted grades too, and judgments of products that no category of the query has
    assert load().relevant_ids == {"q-train": {"p0", "p2", "p5"}}
    assert load(relevant_grade=1).relevant_ids == {"q-train": {"p0", "p2", "p5", "p6"}}


def test_other_splits_are_not_even_read(load: Callable[..., Material]) -> None:
    assert set(load().relevant["query_id"]) == {"q-train"}


def test_synthetic_queries_come_in_if_wanted(load: Callable[..., Material]) -> None:
    shop = load(synthetic=True)
    assert shop.query_text == {"q-train": "mug", "s-1": "a made query"}
    assert len(shop.queries) == 2  # once, whatever the number of its products
    assert pairs(shop.graded) - pairs(load().graded) == {("s-1", "p7", 4, 2), ("s-1", "p6", 0, 0)}
    assert shop.relevant_ids["s-1"] == {"p7"}
    assert shop.graded.index.is_unique and shop.queries.index.is_unique
    frame, _ = list_instances(shop, seed=1, lists="graded", list_size=4, lists_per_query=1)
    assert set(frame["query"]) == {"mug", "a made query"}


def test_hard_samples_come_in_if_wanted(load: Callable[..., Material]) -> None:
    shop = load(mined=True)
    assert pairs(shop.mined) == {("q-train", "p3", 0, 0), ("q-train", "p4", 4, 2)}
    assert shop.relevant_ids["q-train"] == load().relevant_ids["q-train"] | {"p4"}
    frame, _ = list_instances(shop, seed=1, lists="union", list_size=4, lists_per_query=1)
    assert set(frame["product_ids"].iloc[0]) == {"p0", "p1", "p3", "p4"}
    tiers = {"positives": ("graded", "mined_positive"), "negatives": ("mined_negative",), "negatives_per_positive": 1}
    rows, _ = mnr_instances(shop, seed=1, positive_grade=3, **tiers)
    assert set(zip(rows["product_id"], rows["tier"], rows["negative_id_1"], strict=True)) == {
        ("p0", "graded", "p3"),
        ("p4", "mined_positive", "p3"),
    }


@pytest.mark.parametrize("wanted", ["synthetic", "mined"])
def test_tables_that_are_not_wanted_need_not_exist(wanted: str, load: Callable[..., Material], warehouse: Warehouse) -> None:
    with warehouse.get_connection() as connection:
        for table in ("synthetic_queries", "synthetic_grades", "hard_samples"):
            connection.execute(f"drop table marts.{table}")
    assert load().query_text
    with pytest.raises(duckdb.CatalogException):
        load(**{wanted: True})


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_tier_row_of_another_split_is_refused(split: str, load: Callable[..., Material], warehouse: Warehouse) -> None:
    leaked = pd.DataFrame([(f"q-{split}", "p3", split, "easy_positive", 4)], columns=TIERS)
    warehouse.replace("marts.curriculum_tiers", leaked)
    with pytest.raises(WhetstoneError, match=f"first query 'q-{split}' of split '{split}'"):
        load()


@pytest.mark.parametrize("loss", BUILD)
def test_graded_is_a_tier_of_every_trusted_pair_of_that_grade(loss: str, load: Callable[..., Material]) -> None:
    settings: dict[str, Any] = {"seed": 1, "positives": ("graded",), "negatives": ("hard_negative",), "negatives_per_positive": 1}
    shop = load(confidence=0.69)
    frame, counts = BUILD[loss](shop, positive_grade=3, **settings)
    positives = frame if loss != "bce" else frame[frame["label"] == 1]
    assert list(zip(positives["product_id"], positives["tier"], strict=True)) == [("p0", "graded"), ("p2", "graded")]
    if loss == "bce":
        assert frame.loc[frame["label"] == 0, "product_id"].tolist() == ["p1"] and counts == {"negative_drawn_twice": 1}
    else:
        assert frame["negative_id_1"].tolist() == ["p1", "p1"] and not counts
    # the mined positives are among the graded, and a tier beside them adds nothing
    both, _ = BUILD[loss](shop, positive_grade=3, **{**settings, "positives": ("graded", "easy_positive")})
    pd.testing.assert_frame_equal(both, frame)
    trusted, _ = BUILD[loss](load(), positive_grade=3, **settings)
    assert set(trusted["product_id"]) == ({"p0", "p1"} if loss == "bce" else {"p0"})
