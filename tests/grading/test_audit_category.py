"""A category's audit from end to end: conflicts are judged again, corrections are rows of their own, human grades stand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import pytest

from whetstone.grading.audit import audit_category, in_sample
from whetstone.grading.calibration import NONE, Calibration, Stage
from whetstone.grading.engagement import debiased, examination_exponent
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger, grade_through
from whetstone.platform.warehouse import Warehouse

HALVED = Calibration({}, ((0.0, 1.0), (0.0, 0.5)))
LIARS = {"hidden gem": 0, "dud": 4, "the raters'": 0, "odd but right": 4}
TRUTH = {"hidden gem": (4, 0.9), "dud": (0, 0.8), "the raters'": (4, 0.9), "odd but right": (4, 0.7)}
CLICKS = {"hidden gem": 50, "dud": 0, "the raters'": 60, "odd but right": 1}


class Shop(NamedTuple):
    """A category: its graded pairs, its engagement, and the whole shop's log with human grades."""

    graded: pd.DataFrame
    engagement: pd.DataFrame
    log: pd.DataFrame
    human: pd.DataFrame


@pytest.fixture
def shop(esci: Guideline) -> Shop:
    """Forty products each that shoppers treat as their grade says, at rank 1 with 100 impressions, and four that they contradict."""
    products = [*(f"good {n}" for n in range(40)), *(f"bad {n}" for n in range(40)), *LIARS]
    grades = [4] * 40 + [0] * 40 + list(LIARS.values())
    graded = pd.DataFrame(
        {"query_id": "q", "product_id": products, "category": "tools", "query": "hose", "text": products, "grade": grades}
    )
    graded["label"] = graded["grade"].map(esci.labels)
    graded["settled_by"] = ["human" if product == "the raters'" else "cheap" for product in products]
    clicks = [50] * 40 + [2] * 40 + list(CLICKS.values())
    engagement = graded[["query_id", "product_id"]].assign(impressions=100, clicks=clicks, mean_rank=1.0)
    ranks = range(1, 9)
    log = pd.DataFrame(
        {"query_id": "other", "product_id": [f"r{rank}" for rank in ranks], "impressions": 8400, "mean_rank": [*map(float, ranks)]}
    )
    log["clicks"] = [2520 // rank for rank in ranks]  # a click is 1 / rank as likely: eta is 1
    return Shop(graded, engagement, log, log[["query_id", "product_id"]].assign(grade=4))


@pytest.fixture
def judge(esci: Guideline, counting: Callable[..., Any]) -> Callable[..., tuple[Any, Stage]]:
    def make(calibration: Calibration = NONE, **changes: Any) -> tuple[Any, Stage]:
        annotator = counting(esci, **{"name": "dear", "gives": TRUTH, "cost_usd": 1.0, **changes})
        return annotator, Stage("dear", annotator.version, calibration, 0.75)

    return make


@pytest.fixture
def audit(ledger: Ledger, esci: Guideline, entry: Entry) -> Callable[..., tuple[pd.DataFrame, dict[str, Any]]]:
    def run(shop: Shop, judge: tuple[Any, Stage] | None, share: float = 1.0) -> tuple[pd.DataFrame, dict[str, Any]]:
        eta = examination_exponent(shop.log, shop.human)
        sampled = shop.graded.assign(is_sampled=in_sample(shop.graded, 0, share))
        audited, facts = audit_category(sampled, debiased(shop.engagement, eta), judge, ledger, esci, entry)
        return audited.set_index("product_id"), json.loads(json.dumps({**facts, "examination_exponent": eta}, allow_nan=False))

    return run


def test_a_conflict_is_judged_again_and_the_correction_supersedes(
    shop: Shop,
    judge: Callable[..., Any],
    audit: Callable[..., Any],
    ledger: Ledger,
    esci: Guideline,
    entry: Entry,
    counting: Callable[..., Any],
) -> None:
    cheap = counting(
        esci, name="cheap", gives={text: (grade, 0.5) for text, grade in shop.graded[["text", "grade"]].itertuples(index=False)}
    )
    grade_through(ledger, cheap, shop.graded, esci, entry)
    before = ledger.read("select * from ledger.grades order by sequence")
    dear = judge(HALVED)
    audited, facts = audit(shop, dear)
    assert sorted(text for _, text in dear[0].asked) == sorted(LIARS)  # nobody else is asked about
    assert audited["kind"].to_dict() == {
        "hidden gem": "engaged_irrelevant",
        "the raters'": "engaged_irrelevant",
        "dud": "ignored_relevant",
        "odd but right": "ignored_relevant",
    }
    assert audited.loc[list(LIARS), "old_grade"].tolist() == [0, 4, 0, 4]
    assert audited.loc[list(LIARS), "new_grade"].tolist() == [4, 0, 4, 4]
    assert audited.loc[list(LIARS), "new_label"].tolist() == [2, 0, 2, 2]
    assert audited.loc[list(LIARS), "new_confidence"].tolist() == pytest.approx([0.45, 0.4, 0.45, 0.35])  # calibrated
    assert audited.loc[list(LIARS), "is_changed"].tolist() == [True, True, True, False]
    assert audited.loc[list(LIARS), "supersedes"].tolist() == [True, True, False, False]  # a human's grade stands

    after = ledger.read("select * from ledger.grades order by sequence")
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)  # what was there stays as it was
    new = after.iloc[len(before) :]
    assert set(new["annotator"]) == {"dear"} and sorted(new["rationale"]) == sorted(f"because {text}" for text in LIARS)
    assert after["cost_usd"].sum() - before["cost_usd"].sum() == 4 * 1.0

    counts = {"graded": 84, "sampled": 84, "conflicts": 4, "rejudged": 4, "changed": 3, "superseded": 2, "disputed": 1}
    assert {name: facts[name] for name in counts} == counts
    assert facts["sampled_machine"] == 83
    assert facts["examination_exponent"] == pytest.approx(1.0, abs=0.01)
    # the two wrong grades cost p, the confirmed one 1 - p, over the machine's 83; afterwards each is wrong with 1 - p
    assert facts["sample_error_before"] == pytest.approx((0.45 + 0.4 + 0.65) / 83)
    assert facts["sample_error_after"] == pytest.approx((0.55 + 0.6 + 0.65) / 83)
    assert facts["reason"] is None and facts["why_unanswered"] is None


def test_a_second_audit_asks_nobody_and_writes_nothing(
    shop: Shop, judge: Callable[..., Any], audit: Callable[..., Any], ledger: Ledger
) -> None:
    first, facts = audit(shop, judge())
    again = judge()
    second, same = audit(shop, again)
    pd.testing.assert_frame_equal(first, second)
    assert facts == same and again[0].batches == []
    assert len(ledger.read("select * from ledger.grades")) == 4


def test_only_the_sample_is_looked_at(shop: Shop, judge: Callable[..., Any], audit: Callable[..., Any]) -> None:
    dear = judge()
    audited, facts = audit(shop, dear, share=0.0)
    assert audited.empty and dear[0].batches == []
    assert (facts["graded"], facts["sampled"], facts["conflicts"], facts["sampled_machine"]) == (84, 0, 0, 0)
    assert facts["sample_error_before"] is None


def test_without_a_judge_conflicts_are_only_told(shop: Shop, audit: Callable[..., Any], ledger: Ledger) -> None:
    audited, facts = audit(shop, None)
    assert len(audited) == facts["conflicts"] == 4 and facts["rejudged"] == 0
    assert audited["new_grade"].isna().all() and audited["new_label"].isna().all()
    assert not audited["supersedes"].any() and not audited["is_changed"].any()
    assert ledger.read("select * from ledger.grades").empty


def test_a_judge_that_cannot_be_asked_says_why(shop: Shop, judge: Callable[..., Any], audit: Callable[..., Any], ledger: Ledger) -> None:
    audited, facts = audit(shop, judge(silent_on=["dud"], fail_on=["hidden gem"]))
    assert audited.loc[["dud", "hidden gem"], "new_grade"].isna().all()
    assert not audited["supersedes"].any()
    assert (facts["conflicts"], facts["rejudged"], facts["superseded"]) == (4, 2, 0)
    assert facts["why_unanswered"] in ("the money is spent", "refusal")


@pytest.mark.parametrize("what", ["engagement", "log"])
def test_without_engagement_nobody_is_asked(shop: Shop, judge: Callable[..., Any], audit: Callable[..., Any], what: str) -> None:
    audited, facts = audit(shop._replace(**{what: getattr(shop, what).iloc[:0]}), judge(break_at=0))
    assert audited.empty
    assert facts["conflicts"] == 0 and facts["reason"]
    assert (facts["examination_exponent"] is None) == (what == "log")


def test_products_that_read_the_same_are_judged_once_and_corrected_both(
    shop: Shop, judge: Callable[..., Any], audit: Callable[..., Any], ledger: Ledger
) -> None:
    twin = shop.graded[shop.graded["product_id"] == "dud"].assign(product_id="dud's twin")
    clicks = shop.engagement[shop.engagement["product_id"] == "dud"].assign(product_id="dud's twin")
    dear = judge()
    audited, _ = audit(shop._replace(graded=pd.concat([shop.graded, twin]), engagement=pd.concat([shop.engagement, clicks])), dear)
    assert [text for _, text in dear[0].asked].count("dud") == 1
    assert audited.loc[["dud", "dud's twin"], "supersedes"].all()


def test_rows_have_the_same_types_whether_there_are_any_or_not(
    shop: Shop, judge: Callable[..., Any], audit: Callable[..., Any], tmp_path: Any
) -> None:
    warehouse = Warehouse(database=str(tmp_path / "types.duckdb"))
    shapes = []
    for case in (audit(shop, judge())[0], audit(shop, None)[0], audit(shop, judge(), 0.0)[0]):
        warehouse.replace("marts.grade_audit", case.reset_index(), "tools")
        with warehouse.get_connection() as connection:
            shapes.append({name: kind for name, kind, *_ in connection.execute("describe marts.grade_audit").fetchall()})
    assert shapes[0] == shapes[1] == shapes[2]
    assert shapes[0]["new_grade"] == shapes[0]["new_label"] == shapes[0]["old_grade"] == "BIGINT"
