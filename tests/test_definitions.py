"""The graph as Dagster sees it: it validates, and shows users what the architecture promises."""

import dagster as dg
import pytest

from whetstone.platform.settings import Settings
from whetstone.project import load_definitions


@pytest.fixture(scope="module")
def definitions(tmp_path_factory) -> dg.Definitions:
    return load_definitions(Settings(home=tmp_path_factory.mktemp("home"), source="demo"))


def test_definitions_are_loadable(definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    assert {sensor.name for sensor in definitions.sensors} == {"feed", "sweep", "default_automation_condition_sensor"}


def test_every_asset_has_group_kinds_owner_description_and_automation(definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.group_name and spec.group_name != "default", spec.key
        assert spec.kinds and spec.owners and spec.description, spec.key
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        assert graph.get(key).automation_condition is not None and graph.get(key).code_version, key


def test_the_picture_of_the_architecture_is_the_graph(definitions) -> None:
    names = {key.path[-1] for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    picture = {
        "catalog", "queries", "products", "judgments", "engagement", "query_routes", "dictionary_run", "bm25_run", "dense_run",
        "disagreement_sets", "token_similar", "channel_overlap", "grade_candidates", "grades", "curriculum_tiers", "encoder_bce",
        "encoder_mnr", "encoder_triplet", "evaluation", "champion", "product_vectors", "search_index", "shard_set", "incumbent_encoder",
    }  # fmt: skip
    assert picture <= names


def test_an_edit_reaches_what_learns_through_held_tables_alone(definitions) -> None:
    graph = definitions.resolve_asset_graph()
    held = {dg.AssetKey(name.split(".")) for name in ("marts.learning_set", "marts.judged_set", "staging.judged_pairs")}
    reached = frontier = {dg.AssetKey(["raw", name]) for name in ("catalog", "judgments", "engagement")}
    while frontier:
        frontier = {child for key in frontier for child in graph.get(key).child_keys} - reached - held
        reached = reached | frontier
    names = {key.path[-1] for key in reached}
    assert {"grades", "curriculum_tiers", "search_index"} <= names
    assert names.isdisjoint({"calibration", "encoder_bce", "encoder_mnr", "encoder_triplet", "evaluation", "champion"})


def test_every_table_has_blocking_checks(definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for name in (
        "staging.products",
        "staging.queries",
        "marts.bm25_run",
        "marts.disagreement_sets",
        "marts.grades",
        "marts.curriculum_tiers",
    ):
        checks = graph.get(dg.AssetKey(name.split("."))).check_keys
        assert {"columns"} <= {check.name for check in checks}, name
        assert any(check.name.startswith("unique") for check in checks), name
    for name in ("bm25_run", "dense_run", "disagreement_sets", "grade_candidates", "grades", "curriculum_tiers", "token_similar"):
        keys = {check.name for check in graph.get(dg.AssetKey(["marts", name])).check_keys}
        assert "no_test_query" in keys, name


def test_a_setting_makes_just_its_assets_stale(tmp_path) -> None:
    def versions(**changes) -> dict[str, str | None]:
        graph = load_definitions(Settings(home=tmp_path, source="demo", **changes)).resolve_asset_graph()
        return {key.path[-1]: graph.get(key).code_version for key in graph.materializable_asset_keys}

    before = versions()
    changed = {name for name, version in versions(bm25_k1=0.9).items() if version != before[name]}
    assert changed == {"bm25_run", "evaluation"}
    changed = {name for name, version in versions(positives_per_query=10).items() if version != before[name]}
    assert changed == {"curriculum_tiers"}


def test_unknown_settings_and_recipes_are_named(tmp_path) -> None:
    from whetstone.platform.errors import WhetstoneError

    with pytest.raises(WhetstoneError, match="nonsense"):
        load_definitions(Settings(home=tmp_path, source="demo", recipe="nonsense"))
    with pytest.raises(WhetstoneError, match="unknown source"):
        load_definitions(Settings(home=tmp_path, source="nonsense"))
