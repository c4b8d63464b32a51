"""The budget: the bill never exceeds it, whatever goes wrong, and the first pairs are the ones that are bought."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.grading.claude.child import start
from tests.grading.claude.shop import Shop, check_books, check_doubt, opened, pairs_of
from tests.grading.stand_in import Reply, StandIn, graded

MANY = pairs_of(24)  # their requests can cost the same
CREATE, MESSAGES, RESULTS = "/batches$", "/v1/messages$", "/results$"
FAULTS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("POST", CREATE, "status_after_acceptance", {"status": 500}),
    ("POST", CREATE, "status", {"status": 500}),
    ("POST", CREATE, "status", {"status": 429}),
    ("POST", CREATE, "late_acceptance", {"n": 2}),
    ("POST", CREATE, "late_acceptance", {"n": 14}),
    ("POST", CREATE, "cut", {"accepted": True}),
    ("POST", CREATE, "expire", {"done": 2}),
    ("POST", MESSAGES, "status_after_acceptance", {"status": 500}),
    ("POST", MESSAGES, "cut", {"accepted": True}),
    ("GET", RESULTS, "status", {"status": 404}),
    ("GET", RESULTS, "cut_midway", {}),
]


def unit_usd(is_batch: bool = True) -> float:
    """The most that one of `MANY`'s requests can cost."""
    with StandIn() as server, opened() as connect:
        annotator = Shop(server.url, Path("/nowhere"), connect).annotator
        return annotator.at_most_usd(annotator.requests(MANY.head(1)), is_batch)[0]


UNIT = unit_usd()


def dear(params: dict[str, Any]) -> Reply:
    """An answer that thinks for as long as it may, so that the bill comes near to its bound."""
    return graded(2, usage={"output_tokens": params["max_tokens"]})


def usd_by_category(server: StandIn, shop: Shop) -> pd.Series:
    """The bill of batches, by the category of the request."""
    categories = shop.ledger.read("select request, category from ledger.requests").set_index("request")["category"]
    charges = [(categories.get(charge.custom_id), float(charge.cost)) for charge in server.bill if charge.custom_id]
    return pd.DataFrame(charges, columns=["category", "usd"]).groupby("category")["usd"].sum()


@pytest.fixture(scope="module")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("locks")


@settings(max_examples=20, deadline=None)
@given(
    budget=st.floats(0, 20),
    cap=st.one_of(st.just(float("inf")), st.floats(0, 12)),
    faults=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 2)), max_size=3),
    batch_from=st.sampled_from([1, 5, 100]),
)
def test_the_bill_never_exceeds_the_budget(budget: float, cap: float, faults: list[Any], batch_from: int, locks: Path) -> None:
    pairs = MANY.assign(category=["garden", "toys", "garden"] * 8)
    with StandIn() as server, opened() as connect:
        server.answer = dear
        for (method, path, kind, rest), after in faults:
            server.fault(method, path, kind, after=after, **rest)
        shop = Shop(server.url, locks, connect, budget=budget * UNIT, category_cap=cap * UNIT, batch_from=batch_from)
        answers = shop.grade(pairs)
        check_doubt(server, shop)
        assert float(server.total_usd) <= budget * UNIT + 1e-12
        assert (usd_by_category(server, shop) <= cap * UNIT + 1e-12).all()
        assert answers["failure"][~answers["is_answered"]].str.startswith("over budget: ").all()


@pytest.mark.parametrize("units", [1.01, 3.5, 7.0])
def test_the_first_pairs_are_the_ones_that_are_bought(server: StandIn, make_shop: Callable[..., Shop], units: float) -> None:
    server.answer = dear
    shuffled = MANY.sample(frac=1.0, random_state=5).reset_index(drop=True)
    shop = make_shop(budget=units * UNIT)
    answers = shop.grade(shuffled)
    count = int(answers["is_answered"].sum())
    assert answers["is_answered"].tolist() == [True] * count + [False] * (24 - count)
    assert int(units) - 1 <= count <= 3 * units  # the last few are not worth a batch of their own
    (why,) = set(answers["failure"].dropna())
    assert why.startswith(f"over budget: {24 - count} more requests to claude_small may take up to $")
    assert f"this build has spent ${shop.usd():.4f} of WHETSTONE_BUDGET_USD={units * UNIT:g}" in why
    more = float(why.split("up to $")[1].split(";")[0])
    assert more == pytest.approx((24 - count) * (UNIT if 24 - count >= 10 else 2 * UNIT), rel=0.05)
    check_books(server, shop)
    assert make_shop(budget=more + units * UNIT + 1e-4).grade(shuffled)["grade"].notna().all()  # it was told what it takes


def test_no_budget_buys_nothing_and_sends_nothing(server: StandIn, make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(budget=0.0)
    assert not shop.grade(MANY)["is_answered"].any() and not shop.grade(MANY.head(2))["is_answered"].any()
    assert not server.requests("POST", CREATE) and not server.requests("POST", MESSAGES)
    assert shop.events() == []


def test_a_category_that_has_spent_its_share_leaves_the_others_theirs(server: StandIn, make_shop: Callable[..., Shop]) -> None:
    server.answer = dear
    pairs = MANY.assign(category=["garden"] * 20 + ["toys"] * 4)
    shop = make_shop(category_cap=5 * UNIT, batch_from=1)
    answers = shop.grade(pairs)
    assert answers["is_answered"][20:].all() and not answers["is_answered"][:20].all()
    assert "WHETSTONE_CATEGORY_BUDGET_USD=" in answers["failure"].dropna().iloc[0]
    check_books(server, shop)


def test_money_in_doubt_is_not_spent_again(server: StandIn, make_shop: Callable[..., Shop]) -> None:
    """A server that may have taken the batch leaves no room for another one, and says so."""
    server.fault("POST", CREATE, "status", status=500)
    shop = make_shop(budget=24.5 * UNIT)
    answers = shop.grade(MANY)
    assert not answers["is_answered"].any() and len(server.requests("POST", CREATE)) == 1
    assert f"(${24 * UNIT:.4f} of it in doubt)" in answers["failure"].iloc[0]
    assert make_shop(budget=24.5 * UNIT, build="next").grade(MANY)["grade"].notna().all()


def test_each_build_has_its_own_budget(server: StandIn, make_shop: Callable[..., Shop]) -> None:
    assert make_shop(budget=12 * UNIT).grade(MANY.head(12))["grade"].notna().all()
    assert make_shop(budget=12 * UNIT, build="next").grade(MANY)["grade"].notna().all()


@pytest.mark.parametrize("units", [7.0, 1000.0])
def test_two_processes_at_once_share_budget_and_answers(tmp_path: Path, units: float) -> None:
    with StandIn() as server:
        server.polls_to_end, server.answer = 2, dear
        options = {"budget": units * UNIT}
        both = [start(tmp_path, server.url, pairs, None, True, options) for pairs in (MANY, MANY[::-1].reset_index(drop=True))]
        for process in both:
            process.join(60)
        assert [process.exitcode for process in both] == [0, 0]
        with opened(tmp_path / "books.duckdb") as connect:
            shop = Shop(server.url, tmp_path, connect, **options)
            check_books(server, shop)
            assert not server.bought_twice() and shop.owed() == 0
            assert float(server.total_usd) <= units * UNIT
            assert len(shop.rows()) == 24 or units == 7.0
