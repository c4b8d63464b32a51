"""A channel that suddenly finds other products shows in its overlap with the others."""

import dagster as dg
import pytest

from whetstone.disagreement.checks import overlap_is_steady
from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import key_of
from whetstone.platform.build import Builder
from whetstone.platform.checking import run_checks
from whetstone.platform.partitions import CATEGORIES


@pytest.mark.parametrize(
    ("shares", "status", "said"),
    [
        ([{"a_b": 0.4}], "passed", "nothing to compare with"),
        (
            [{"a_b": 0.1}, {"a_b": 0.4, "a_c": 0.3}, {"a_b": 0.45, "a_c": 0.3}],
            "passed",
            "overlap_a_b 0.40 -> 0.45, overlap_a_c 0.30 -> 0.30",
        ),
        ([{"a_b": 0.4, "a_c": 0.3}, {"a_b": 0.4, "a_c": 0.0, "b_c": 0.9}], "failed", "overlap_a_c 0.30 -> 0.00"),
    ],
)
def test_an_overlap_that_moves_is_told(tmp_path, shares, status, said) -> None:
    instance, key = dg.DagsterInstance.ephemeral(), key_of("marts.channel_overlap")
    instance.add_dynamic_partitions("category", ["toys"])
    for each in shares:
        metadata = {"rows": 3, **{f"overlap_{pair}": share for pair, share in each.items()}}
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="toys", metadata=metadata))
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="books", metadata={"overlap_a_b": 0.99}))

    @dg.asset(key=key, partitions_def=CATEGORIES)
    def overlap() -> None:
        raise AssertionError("a check makes no asset")

    definitions = dg.Definitions([overlap], asset_checks=[overlap_is_steady])
    [found] = run_checks(Builder(definitions, instance, Artifacts(tmp_path)))
    assert (found.status, found.said, found.severity) == (status, said, "WARN") and not found.stops
