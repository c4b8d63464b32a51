"""A clock that goes backwards: what is stale is known by order and content, never by time."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from tests.e2e.conftest import World
from tests.faults.conftest import MINED, edit
from tests.faults.states import State, state

from whetstone.platform.asset import key_of


def test_a_build_in_the_past_is_a_build(shop: World, wanted: State, monkeypatch: pytest.MonkeyPatch) -> None:
    a_day_ago, now = 86_400.0, time.time

    def newest() -> dg.EventLogRecord:
        return shop.instance.fetch_materializations(key_of("staging.products"), limit=1).records[0]

    before = newest()
    edit(shop)
    os.utime(shop.files / "products.parquet", (now() - a_day_ago, now() - a_day_ago))
    monkeypatch.setattr(time, "time", lambda: now() - a_day_ago)
    past = lambda: datetime.now(UTC) - timedelta(days=1)  # noqa: E731
    monkeypatch.setattr("dagster._time._mockable_get_current_datetime", past)
    shop.build(MINED)
    after = newest()
    assert after.storage_id > before.storage_id and after.timestamp < before.timestamp  # the past came later
    assert state(shop) == wanted
    assert shop.build(MINED) == set()
    monkeypatch.undo()
    assert shop.build(MINED) == set()
