"""Checks of evaluation: the champion is worth more than the encoder that it was trained from."""

import dagster as dg

from whetstone.platform.asset import key_of
from whetstone.platform.registry import registry_of
from whetstone.platform.resources import WithSettings
from whetstone.platform.warehouse import Warehouse


@dg.asset_check(asset=key_of("models.champion"), blocking=True)
def champion_at_floor(settings: WithSettings, warehouse: Warehouse) -> dg.AssetCheckResult:
    """The champion's NDCG@10 on dev queries is not under the base encoder's.

    It blocks the vectors and the index, so that what served goes on serving; it passes where no dev query is judged.
    """
    from whetstone.evaluation.contestants import encoders_of
    from whetstone.evaluation.gate import METRIC

    pointers = registry_of(settings).require()
    table = warehouse.read("select * from marts.evaluation where split = 'dev' and encoder_version is not null order by place")
    if table.empty:
        return dg.AssetCheckResult(passed=True, description="not measured: no dev query has a judgment")
    names = {version: name for name, version in encoders_of(table).items()}
    means = table.groupby("system")[METRIC].mean()
    floor, found = (means.get(names.get(each.version)) for each in (pointers.base, pointers.champion))
    if floor is None or found is None:
        said = f"evaluation has no {'base' if floor is None else pointers.champion.name}; run `whetstone build --select evaluation`"
        return dg.AssetCheckResult(passed=False, description=said)
    said = f"dev {METRIC} of {pointers.champion.name} is {found:.4f}, the base's {floor:.4f}"
    mend = "" if found >= floor else "; `whetstone rollback`, or train anew"
    figures = {"champion": float(found), "base": float(floor)}
    return dg.AssetCheckResult(passed=bool(found >= floor), description=said + mend, metadata=figures)


CHECKS = [champion_at_floor]
