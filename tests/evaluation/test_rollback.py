"""Promotion, rebuild and rollback on the toy shop."""

import shutil

import pytest
from tests.evaluation.toy_shop import Shop

from whetstone.evaluation.jobs import hear_of_rollback, list_champions, roll_back
from whetstone.platform.asset import artifact_name, key_of
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.staleness import name_of

ALL = ["product_vectors[a]", "product_vectors[b]", "search_index[a]", "search_index[b]", "search_thresholds"]


def test_the_first_set_is_the_bases_and_rests(shop) -> None:
    assert shop.serving().encoder == shop.base and sorted(shop.serving().shards) == ["a", "b"]
    assert shop.build() == []


def test_a_promotion_serves_when_the_last_category_is_rebuilt_and_not_before(shop) -> None:
    good = shop.checkpoint("good")
    shop.evaluate(base=(shop.base.version, 0.5), encoder_mnr=(good, 0.6))
    shop.failing = {"product_vectors[b]"}
    before = shop.serving()
    shop.build()
    assert shop.registry.require().champion.version == good
    assert shop.serving() == before  # a is the new encoder's, b still the old one's
    shop.failing.clear()
    assert shop.build() == ["product_vectors[b]", "search_index[b]"]
    assert shop.serving().encoder.version == good and not shop.outcome.failed
    assert shop.build() == []


def test_a_dropped_category_leaves_the_set_and_a_new_one_enters(shop) -> None:
    shop.instance.delete_dynamic_partition("category", "a")
    shop.build()
    assert sorted(shop.serving().shards) == ["b"]
    shop.instance.add_dynamic_partitions("category", ["c"])
    shop.land("c", "1")
    shop.build()
    assert sorted(shop.serving().shards) == ["b", "c"]


def test_nothing_of_one_encoder_and_nothing_published_is_an_error(tmp_path) -> None:
    shop = Shop(tmp_path)
    shop.evaluate(base=(shop.base.version, 0.5))
    builder = shop.builder()
    for select in ("champion", "product_vectors", "search_index", "search_thresholds"):
        builder.run(select)
    good = shop.checkpoint("good")
    shop.evaluate(base=(shop.base.version, 0.5), encoder_mnr=(good, 0.6))
    shop.failing = {"product_vectors[b]"}
    shop.build()
    assert any("nothing to serve" in said and "b" in said for said in shop.outcome.failed.values())


def test_a_rollback_serves_the_set_before_at_once_and_the_next_build_follows(promoted) -> None:
    before = next(each for each in promoted.registry.require_state().sets if each.encoder == promoted.base)
    said = roll_back(promoted.builder(), promoted.settings, None)
    assert promoted.serving() == before and promoted.registry.require().champion == promoted.base
    assert "2 of 2 categories serve at once" in said and not any("rebuilt" in line for line in said)
    from whetstone.platform.checking import run_checks

    [check] = run_checks(promoted.builder(), "champion")
    assert check.status == "passed"
    stale = {name_of(each.place) for each in promoted.builder().stale()}
    assert stale == {"models.product_vectors[a]", "models.product_vectors[b]", "models.search_thresholds", "models.shard_set"}
    assert promoted.build() == ALL  # and the gate isn't asked
    assert promoted.serving() == before and promoted.build() == []


def test_what_was_rolled_back_is_not_promoted_again_but_another_may_be(promoted) -> None:
    roll_back(promoted.builder(), promoted.settings, "base")
    promoted.evaluate(base=(promoted.base.version, 0.5), encoder_mnr=(promoted.good, 0.7))
    promoted.build()
    assert promoted.registry.require().champion == promoted.base
    decision = promoted.artifacts.open(artifact_name(promoted.instance, "models.champion")).facts
    assert "encoder_mnr was rolled back, so it is no candidate" in decision["reason"]
    better = promoted.checkpoint("better")
    promoted.evaluate(base=(promoted.base.version, 0.5), encoder_bce=(better, 0.6), encoder_mnr=(promoted.good, 0.9))
    promoted.build()
    assert promoted.registry.require().champion.version == better == promoted.serving().encoder.version


def test_a_rollback_says_what_will_be_rebuilt(promoted) -> None:
    shards = next(each for each in promoted.registry.require_state().sets if each.encoder == promoted.base).shards
    shutil.rmtree(promoted.artifacts.root / shards["a"])
    promoted.land("b", "2")
    said = roll_back(promoted.builder(), promoted.settings, None)
    assert "1 of 2 categories serve at once" in said and any(line.endswith("rebuilt by `whetstone build`: a, b") for line in said)
    assert sorted(promoted.serving().shards) == ["b"]
    promoted.build()
    assert sorted(promoted.serving().shards) == ["a", "b"] and promoted.serving().encoder == promoted.base


def test_without_a_whole_shard_what_served_goes_on_until_the_build(promoted) -> None:
    for name in next(each for each in promoted.registry.require_state().sets if each.encoder == promoted.base).shards.values():
        shutil.rmtree(promoted.artifacts.root / name)
    said = roll_back(promoted.builder(), promoted.settings, None)
    assert any("what served goes on serving" in line for line in said)
    assert promoted.serving().encoder.version == promoted.good
    promoted.build()
    assert promoted.serving().encoder == promoted.base


def test_nothing_to_roll_back_to_names_the_mend(shop, promoted) -> None:
    with pytest.raises(WhetstoneError, match=r"'nonsense' is no previous champion; there are base \(base-"):
        roll_back(promoted.builder(), promoted.settings, "nonsense")
    roll_back(promoted.builder(), promoted.settings, None)
    with pytest.raises(WhetstoneError, match=r"nothing to roll back to.*once a build has promoted"):
        roll_back(promoted.builder(), promoted.settings, None)
    lines = list_champions(promoted.registry.require_state())
    assert lines[0].startswith("champion  base") and lines[0].endswith("serves") and lines[1:] == [f"rejected  {promoted.good}"]


def test_weights_that_are_gone_are_named(promoted) -> None:
    shutil.rmtree(promoted.base.path)
    with pytest.raises(WhetstoneError, match="the weights of base are gone"):
        roll_back(promoted.builder(), promoted.settings, None)


def test_a_kill_between_pointer_and_event_is_made_up_for(promoted) -> None:
    sets = promoted.registry.require_state().sets
    promoted.registry.roll_back(promoted.base, next(each for each in sets if each.encoder == promoted.base))
    assert {name_of(each.place) for each in promoted.builder().stale()} == set()
    with promoted.warehouse.get_connection() as connection:  # and even a lost warehouse doesn't keep Dagster from hearing
        connection.execute("drop schema marts cascade; drop schema meta cascade")
    for _ in range(2):
        hear_of_rollback(promoted.settings, promoted.instance, promoted.warehouse, promoted.artifacts)
        assert "models.product_vectors[a]" in {name_of(each.place) for each in promoted.builder().stale()}
    assert len(promoted.instance.fetch_materializations(key_of("models.champion"), limit=9).records) == 3


def test_a_champion_under_the_base_is_held_back(promoted) -> None:
    before = promoted.serving()
    promoted.evaluate(base=(promoted.base.version, 0.7), encoder_mnr=(promoted.good, 0.6))
    promoted.land("a", "2")
    ran = promoted.build()
    assert any("champion_at_floor" in said and "whetstone rollback" in said for said in promoted.outcome.failed.values())
    assert ran == [] and promoted.serving() == before
