"""Settling pairs: humans first, then stage after stage, failures nowhere but in the counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.errors import MergeError

from whetstone.grading import jobs
from whetstone.grading.calibration import NONE, Calibration, Stage
from whetstone.grading.grade import GRADE_COLUMNS, Graded, grade_pairs, left_out
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger
from whetstone.platform.errors import WhetstoneError

HALVED = Calibration({}, ((0.0, 1.0), (0.0, 0.5)))  # half as sure as it says
Gives = Mapping[str, tuple[int, float]]
Stages = Callable[..., list[tuple[Any, Stage]]]
Grade = Callable[..., Graded]
FIGURES = ["asked", "settled", "failed", "unanswered", "new", "new_usd"]


@pytest.fixture
def pairs(make_pairs: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return make_pairs(12).assign(category="tools")


@pytest.fixture
def judgments(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.iloc[[7, 2]][["query_id", "product_id"]].assign(grade=[0, 1], raters=3, source="survey")


@pytest.fixture
def grade(ledger: Ledger, esci: Guideline, entry: Entry) -> Grade:
    def run(pairs: pd.DataFrame, judgments: pd.DataFrame, cascade: list[tuple[Any, Stage]]) -> Graded:
        return grade_pairs(pairs, judgments, cascade, ledger, esci, entry)

    return run


def stage(annotator: Any, threshold: float = 0.5, calibration: Calibration = NONE) -> tuple[Any, Stage]:
    return annotator, Stage(annotator.name, annotator.version, calibration, threshold)


def figures(graded: Graded) -> dict[str, list[Any]]:
    return {row["stage"]: [row[name] for name in FIGURES] for row in graded.stages}


def test_humans_settle_and_the_annotator_does_the_rest(
    pairs: pd.DataFrame, judgments: pd.DataFrame, grade: Grade, esci: Guideline, counting: Callable[..., Any]
) -> None:
    annotator = counting(esci)
    graded = grade(pairs, judgments, [stage(annotator)])
    assert graded.rows.columns.tolist() == GRADE_COLUMNS
    assert graded.rows["product_id"].tolist() == pairs["product_id"].tolist()
    by_product = graded.rows.set_index("product_id")
    assert by_product.loc[["p2", "p7"], "grade"].tolist() == [1, 0]
    assert by_product.loc[["p2", "p7"], "settled_by"].eq("human").all()
    assert by_product.loc[["p2", "p7"], "annotator_version"].eq("survey").all()
    assert by_product.loc[["p2", "p7"], "confidence"].eq(1.0).all()
    assert by_product.loc[["p2", "p7"], "cost_usd"].eq(0.0).all()
    assert len(annotator.asked) == 10
    assert by_product.drop(["p2", "p7"])["settled_by"].eq("counting").all()
    assert by_product.drop(["p2", "p7"])["annotator_version"].eq("v1").all()
    assert graded.rows["label"].tolist() == [esci.labels[grade] for grade in graded.rows["grade"]]
    assert figures(graded) == {
        "human": [2, 2, 0, 0, 0, 0.0],
        "counting": [10, 10, 0, 0, 10, 2.5],
        "vote": [0, 0, 0, 0, 0, 0.0],
        "nobody": [0, 0, 0, 0, 0, 0.0],
    }


# by product text: what each of three stages says, with its raw confidence; (4, 2, 1, 0) are the grades
CHEAP: Gives = {"a": (4, 0.95), "b": (4, 0.60), "c": (2, 0.40), "d": (0, 0.30), "e": (1, 0.20), "f": (2, 0.10)}
MIDDLE: Gives = {"a": (0, 1.00), "b": (2, 0.90), "c": (2, 0.30), "d": (1, 0.20), "e": (0, 0.95), "f": (4, 0.10)}
DEAR: Gives = {"a": (0, 1.00), "b": (0, 1.00), "c": (4, 0.50), "d": (0, 0.40), "e": (0, 1.00), "f": (1, 0.10)}


@pytest.fixture
def six() -> pd.DataFrame:
    texts = list("abcdef")
    return pd.DataFrame({"query_id": "q", "product_id": texts, "query": "hose", "text": texts, "category": "tools"})


@pytest.fixture
def three(esci: Guideline, counting: Callable[..., Any]) -> Stages:
    """Cheap, middle and dear; the cheap one is half as sure as it says, so 0.95 is 0.475."""

    def make(**changes: Any) -> list[tuple[Any, Stage]]:
        given = {"cheap": (CHEAP, 0.01, HALVED, 0.45), "middle": (MIDDLE, 0.1, NONE, 0.9), "dear": (DEAR, 1.0, NONE, 0.99)}
        return [
            stage(counting(esci, name=name, gives=gives, cost_usd=usd, **changes.get(name, {})), threshold, calibration)
            for name, (gives, usd, calibration, threshold) in given.items()
        ]

    return make


def test_a_cascade_by_hand(six: pd.DataFrame, grade: Grade, three: Stages) -> None:
    cascade = three()
    graded = grade(six, six.iloc[:0].assign(grade=0, source=""), cascade)
    rows = graded.rows.set_index("product_id")
    # a: the cheap stage is sure (0.475). b, e: the middle one is. None is sure of c, d and f, so they are voted on:
    # c 2 2 4 -> 2, d 0 1 0 -> 0, f 2 4 1 -> a tie of three, to the highest
    assert rows["grade"].tolist() == [4, 2, 2, 0, 0, 4]
    assert rows["settled_by"].tolist() == ["cheap", "middle", "vote", "vote", "middle", "vote"]
    # a vote is as sure as the surest of its voters: c max(0.2, 0.3), d max(0.15, 0.4), f 0.1
    assert rows["confidence"].tolist() == pytest.approx([0.475, 0.9, 0.3, 0.4, 0.95, 0.1])
    assert rows["annotator_version"].fillna("-").tolist() == ["v1", "v1", "-", "-", "v1", "-"]
    assert rows["cost_usd"].tolist() == pytest.approx([0.01, 0.11, 1.11, 1.11, 0.11, 1.11])
    assert [len(annotator.asked) for annotator, _ in cascade] == [6, 5, 3]
    assert figures(graded) == {
        "human": [0, 0, 0, 0, 0, 0.0],
        "cheap": [6, 1, 0, 0, 6, pytest.approx(0.06)],
        "middle": [5, 2, 0, 0, 5, pytest.approx(0.5)],
        "dear": [3, 0, 0, 0, 3, pytest.approx(3.0)],
        "vote": [0, 3, 0, 0, 0, 0.0],
        "nobody": [0, 0, 0, 0, 0, 0.0],
    }


def test_the_least_sure_are_asked_first(six: pd.DataFrame, grade: Grade, three: Stages) -> None:
    cascade = three()
    grade(six.iloc[::-1], six.iloc[:0].assign(grade=0, source=""), cascade)
    texts = [[text for _, text in annotator.asked] for annotator, _ in cascade]
    assert texts == [list("fedcba"), list("fedcb"), list("fdc")]


def test_a_stage_that_is_sure_of_all_leaves_the_others_unasked_but_counted(six: pd.DataFrame, grade: Grade, three: Stages) -> None:
    cascade = three()
    cascade[0] = stage(cascade[0][0], threshold=0.0)
    graded = grade(six, six.iloc[:0].assign(grade=0, source=""), cascade)
    assert graded.rows["settled_by"].eq("cheap").all()
    assert [row["stage"] for row in graded.stages] == ["human", "cheap", "middle", "dear", "vote", "nobody"]
    assert figures(graded)["dear"] == [0, 0, 0, 0, 0, 0.0]


def test_failed_and_unanswered_pairs_go_on_and_end_with_nobody(six: pd.DataFrame, grade: Grade, three: Stages) -> None:
    # a: all fail. b: the cheap stage fails. c: the dear stage can't be asked. d: nobody can be asked
    cascade = three(
        cheap={"fail_on": ["a", "b"], "silent_on": ["d"]},
        middle={"fail_on": ["a"], "silent_on": ["d"]},
        dear={"silent_on": ["a", "c", "d"]},
    )
    graded = grade(six, six.iloc[:0].assign(grade=0, source=""), cascade)
    assert graded.rows["product_id"].tolist() == ["b", "c", "e", "f"]
    rows = graded.rows.set_index("product_id")
    assert rows["grade"].tolist() == [2, 2, 0, 4]
    assert rows["settled_by"].tolist() == ["middle", "vote", "middle", "vote"]
    assert rows["cost_usd"].tolist() == pytest.approx([0.11, 0.11, 0.11, 1.11])  # a failure was paid for, silence was not
    assert figures(graded) == {
        "human": [0, 0, 0, 0, 0, 0.0],
        "cheap": [6, 0, 2, 1, 5, pytest.approx(0.05)],
        "middle": [6, 2, 1, 1, 5, pytest.approx(0.5)],
        "dear": [4, 0, 0, 3, 1, pytest.approx(1.0)],
        "vote": [0, 2, 0, 0, 0, 0.0],
        "nobody": [0, 2, 0, 0, 0, 0.0],
    }
    assert [row["why"] for row in graded.stages] == [None, *["the money is spent"] * 3, None, None]


def test_a_second_time_costs_nothing(pairs: pd.DataFrame, judgments: pd.DataFrame, grade: Grade, three: Stages) -> None:
    pairs = pairs.assign(text=[*"abcdef", *"abcdef"])
    first = grade(pairs, judgments, three())
    again = three()
    second = grade(pairs.sample(frac=1, random_state=1), judgments, again)
    pd.testing.assert_frame_equal(first.rows, second.rows.set_index("product_id").loc[pairs["product_id"]].reset_index()[GRADE_COLUMNS])
    assert all(annotator.batches == [] for annotator, _ in again)
    assert sum(row["new"] for row in second.stages) == 0
    assert sum(row["new_usd"] for row in second.stages) == 0.0
    assert {row["stage"]: row["settled"] for row in second.stages} == {row["stage"]: row["settled"] for row in first.stages}


def test_all_human_asks_nobody(pairs: pd.DataFrame, grade: Grade, esci: Guideline, counting: Callable[..., Any]) -> None:
    everything = pairs[["query_id", "product_id"]].assign(grade=4, raters=1, source="survey")
    graded = grade(pairs, everything, [stage(counting(esci, break_at=0))])
    assert graded.rows["settled_by"].eq("human").all()
    assert graded.rows["grade"].dtype == "int64"


@pytest.mark.filterwarnings("error")
def test_no_judgments_no_stages_and_no_pairs(
    pairs: pd.DataFrame, judgments: pd.DataFrame, ledger: Ledger, grade: Grade, esci: Guideline, counting: Callable[..., Any]
) -> None:
    assert len(grade(pairs, judgments.iloc[:0], [stage(counting(esci))]).rows) == 12
    assert grade(pairs, judgments, []).rows["settled_by"].tolist() == ["human", "human"]
    assert figures(grade(pairs, judgments, []))["nobody"] == [0, 10, 0, 0, 0, 0.0]
    for pairs_left, judged in ((pairs.iloc[:0], judgments), (pairs, judgments.iloc[:0])):
        empty = grade(pairs_left, judged, [])
        assert empty.rows.columns.tolist() == GRADE_COLUMNS
        assert empty.rows.empty
    assert ledger.read("select 1 from ledger.grades limit 1").shape[0] == 1


def test_the_ledger_is_there_even_if_nobody_was_asked(connect: Any, pairs: pd.DataFrame, esci: Guideline, entry: Entry) -> None:
    fresh = Ledger(connect)
    grade_pairs(pairs, pairs[["query_id", "product_id"]].assign(grade=4, source="survey"), [], fresh, esci, entry)
    assert fresh.read("select * from ledger.grades").empty


def test_the_same_pair_twice_is_refused(
    pairs: pd.DataFrame, judgments: pd.DataFrame, grade: Grade, esci: Guideline, counting: Callable[..., Any]
) -> None:
    with pytest.raises(MergeError):
        grade(pd.concat([pairs, pairs.iloc[[3]]]), judgments, [stage(counting(esci))])


def test_judgments_of_other_pairs_do_not_matter_and_strange_ones_are_refused(
    pairs: pd.DataFrame, judgments: pd.DataFrame, grade: Grade
) -> None:
    assert grade(pairs.assign(grade=4, source="guess"), judgments.assign(query_id="elsewhere"), []).rows.empty
    with pytest.raises(MergeError):
        grade(pairs, pd.concat([judgments, judgments.iloc[[1]]]), [])
    with pytest.raises(WhetstoneError, match=r"human judgments of the pairs have grades \[3\]"):
        grade(pairs, judgments.assign(grade=[0, 3]), [])


ANSWERS = st.tuples(st.sampled_from([4, 2, 1, 0]), st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_counts_and_dollars_add_up(
    data: st.DataObject, six: pd.DataFrame, esci: Guideline, entry: Entry, counting: Callable[..., Any]
) -> None:
    """Whatever the stages say: every pair is settled once, and dollars of rows, counts and books are the same."""
    import duckdb

    texts = list("abcdef")
    cascade = []
    for number in range(data.draw(st.integers(1, 3))):
        gives = dict(zip(texts, data.draw(st.lists(ANSWERS, min_size=6, max_size=6)), strict=True))
        silent, failing = (data.draw(st.sets(st.sampled_from(texts), max_size=3)) for _ in range(2))
        made = counting(esci, name=f"stage {number}", gives=gives, cost_usd=2.0**number, silent_on=silent, fail_on=failing, batch=4)
        cascade.append(stage(made, data.draw(st.sampled_from([0.0, 0.5, 0.95, 2.0]))))
    judged = six.iloc[: data.draw(st.integers(0, 2))][["query_id", "product_id"]].assign(grade=1, source="survey")
    database = duckdb.connect()
    ledger = Ledger(database.cursor)
    graded = grade_pairs(six, judged, cascade, ledger, esci, entry)
    settled = {row["stage"]: row["settled"] for row in graded.stages}
    assert sum(settled.values()) == 6 and settled["nobody"] == 6 - len(graded.rows)
    assert graded.rows["settled_by"].value_counts().to_dict() == {name: n for name, n in settled.items() if n and name != "nobody"}
    booked = ledger.read("select sum(cost_usd) as usd, count(*) as answers from ledger.grades").iloc[0]
    assert sum(row["new"] for row in graded.stages) == booked["answers"]
    assert sum(row["new_usd"] for row in graded.stages) == (booked["usd"] if booked["answers"] else 0.0)
    by_nobody = sum(2.0**n * len({text for _, text in made.asked} - made._silent_on) for n, (made, _) in enumerate(cascade))
    assert by_nobody == sum(row["new_usd"] for row in graded.stages) >= graded.rows["cost_usd"].sum()
    assert np.isin(graded.rows["grade"], esci.grades).all()
    database.close()


def test_a_stage_that_was_left_out_is_told_with_what_nobody_was_sure_of() -> None:
    row = {"asked": 9, "failed": 0, "unanswered": 0, "why": None, "new": 0, "new_usd": 0.0}
    settled = {"human": 4, "cheap": 2, "vote": 5, "nobody": 1}
    graded = Graded(pd.DataFrame(), [{"stage": name, "settled": count, **row} for name, count in settled.items()])
    (told,) = left_out(graded, ["cheap", "dear"], ["cheap: late", "dear is left out: no key"])
    assert (told["stage"], told["unanswered"], told["why"], told["asked"]) == ("dear", 6, "dear is left out: no key", 0)
    assert left_out(graded, ["cheap"], []) == []


def test_a_calibration_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"stages": [asdict(Stage("cheap", "old", NONE, 0.5))], "warnings": []}
    monkeypatch.setattr(jobs, "artifact_name", lambda *_: "calibration/x")
    artifacts: Any = SimpleNamespace(open=lambda _: SimpleNamespace(facts=found))
    for version, room in (("old", None), ("new", None)):
        opened = [SimpleNamespace(name="cheap", version=version)]
        monkeypatch.setattr("whetstone.grading.annotators.open_annotators", lambda _, opened=opened: (opened, []))
        if version == "old":
            assert len(jobs.open_cascade(cast(Any, None), artifacts, room)[0]) == 1
        else:
            with pytest.raises(WhetstoneError, match="cheap changed since the calibration"):
                jobs.open_cascade(cast(Any, None), artifacts, room)
