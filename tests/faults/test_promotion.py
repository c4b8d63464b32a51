"""A promotion that was cut off, or whose record was lost: the gate decides again as it did, not from the new champion on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.evaluation.toy_shop import Shop

from whetstone.evaluation import assets
from whetstone.platform.asset import artifact_name


def decided(shop: Shop) -> str:
    """The artifact of the decision: named by who was compared with whom, and what came out."""
    assert shop.registry.require().champion.version == shop.serving().encoder.version
    return artifact_name(shop.instance, "models.champion")


def about_to_promote(home: Path) -> Shop:
    shop = Shop(home)
    shop.evaluate(base=(shop.base.version, 0.5))
    shop.build()
    shop.evaluate(base=(shop.base.version, 0.5), encoder_mnr=(shop.checkpoint("good"), 0.6))
    return shop


def test_a_promotion_is_decided_again_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, shop = about_to_promote(tmp_path / "undisturbed"), about_to_promote(tmp_path / "shop")
    undisturbed.build()
    wanted = decided(undisturbed)
    with monkeypatch.context() as patch:
        patch.delattr(assets, "result")  # the pointer is moved, and Dagster isn't told
        shop.build()
    assert shop.outcome.failed and shop.registry.require().champion.version == shop.checkpoint("good")
    shop.build()
    assert decided(shop) == wanted
    shutil.rmtree(shop.artifacts.root / wanted)
    shop.build()
    assert decided(shop) == wanted and not shop.artifacts.damage(wanted)
    assert shop.registry.require().previous == (shop.base,)
    assert shop.build() == []
