"""A stand-in server and buyers that are pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.grading.claude.shop import Shop, opened
from tests.grading.stand_in import StandIn

from whetstone.grading.claude import purchase


@pytest.fixture
def server() -> Iterator[StandIn]:
    """An Anthropic API on the loopback."""
    with StandIn() as running:
        yield running


@pytest.fixture
def make_shop(server: StandIn, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Opens buyers that share one ledger, as processes of one workspace do."""
    with opened() as connect:

        def make(**options: Any) -> Shop:
            return Shop(server.url, tmp_path, connect, **options)

        yield make


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """A buyer with money enough."""
    return make_shop()


@pytest.fixture
def portions_of_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are written in portions of 4."""
    monkeypatch.setattr(purchase, "PORTION", 4)
