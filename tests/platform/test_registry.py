from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import Encoder, Registry, ShardSet


def model(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    return folder


def test_everything_points_to_the_base_until_a_promotion(tmp_path) -> None:
    registry, base = Registry(tmp_path / "encoders.json"), model(tmp_path / "base", b"1")
    assert registry.read() is None
    pointers = registry.start("base-name", lambda: base)
    assert pointers.base == pointers.incumbent == pointers.champion and pointers.cycle == 1
    after = registry.promote(Encoder("encoder_mnr", "v2", "/x"))
    assert after.champion.name == "encoder_mnr" and after.incumbent == pointers.base
    assert registry.next_cycle().incumbent.version == "v2"
    assert Registry(registry.path).require().cycle == 2


def test_a_cycle_needs_a_new_champion(tmp_path) -> None:
    registry = Registry(tmp_path / "encoders.json")
    with pytest.raises(WhetstoneError, match="whetstone build"):
        registry.next_cycle()
    registry.start("b", lambda: model(tmp_path / "base", b"1"))
    with pytest.raises(WhetstoneError, match="already is the mining encoder"):
        registry.next_cycle()


def test_the_same_base_is_not_resolved_again_and_another_one_has_a_state_of_its_own(tmp_path) -> None:
    registry, base = Registry(tmp_path / "encoders.json"), model(tmp_path / "base", b"1")
    registry.start("b", lambda: base)
    registry.promote(Encoder("encoder_mnr", "v2", "/x"))
    assert registry.start("b", lambda: pytest.fail("resolved again")).champion.name == "encoder_mnr"
    other = registry.start("c", lambda: model(tmp_path / "other", b"2"))
    assert other.champion == other.base and other.base.path.endswith("other")
    assert registry.start("b", lambda: base).champion.name == "encoder_mnr"  # and comes back as it was


def test_the_line_of_champions_goes_back_as_far_as_is_kept(tmp_path) -> None:
    registry = Registry(tmp_path / "encoders.json")
    registry.start("b", lambda: model(tmp_path / "base", b"1"))
    one, two, three = (Encoder(name, name, "/x") for name in ("one", "two", "three"))
    for each in (one, two, three):
        registry.promote(each)
    assert registry.require().previous == (two, one)  # the base is older than what is kept
    registry.roll_back(one, None)
    after = registry.require()
    assert (after.champion, after.previous, after.rejected) == (one, (), ("three", "two"))
    registry.promote(three)  # by hand: the gate doesn't
    assert registry.require().previous == (one,)


def test_a_set_serves_until_another_is_published_whatever_the_champion_is(tmp_path) -> None:
    registry = Registry(tmp_path / "encoders.json")
    base = registry.start("b", lambda: model(tmp_path / "base", b"1")).base
    one, two = (Encoder(name, name, str(tmp_path / name)) for name in ("one", "two"))
    of_base, of_one = (ShardSet(each, "thresholds/x", {"a": f"index/{each.name}"}, {"a": "1"}) for each in (base, one))
    registry.publish(of_base)
    registry.promote(one)
    assert registry.require_state().sets == (of_base,)
    registry.publish(of_one)
    newer = ShardSet(one, "thresholds/x", {"a": "index/newer"}, {"a": "2"})
    registry.publish(newer)  # one for each encoder
    assert registry.require_state().sets == (newer, of_base)
    registry.start("c", lambda: model(tmp_path / "other", b"2"))  # another base forgets nothing
    assert registry.require_state().sets == (newer, of_base)
    registry.start("b", lambda: tmp_path / "base")
    for each in (two, Encoder("three", "three", "/x")):
        registry.promote(each)
    assert registry.require_state().sets == (newer,)  # nobody can roll back to the base any more
    registry.roll_back(two, None)
    assert registry.require_state().sets == (newer,)  # what served goes on serving


def test_a_file_of_before_there_were_sets_is_read(tmp_path) -> None:
    registry = Registry(tmp_path / "encoders.json")
    registry.start("b", lambda: model(tmp_path / "base", b"1"))
    old = json.loads(registry.path.read_text())
    for state in (old, *old["bases"].values()):
        for later in ("sets", "previous", "rejected"):
            state.pop(later, None)
    registry.path.write_text(json.dumps(old))
    assert registry.require().previous == () and registry.require_state().sets == ()


def test_two_processes_change_it_one_after_the_other(tmp_path) -> None:
    registry = Registry(tmp_path / "encoders.json")
    base = registry.start("b", lambda: model(tmp_path / "base", b"1")).base

    def change(number: int) -> None:
        if number % 2:
            Registry(registry.path).promote(Encoder("one", f"{number}", "/x"))
        else:
            Registry(registry.path).publish(ShardSet(base, f"thresholds/{number}", {}, {}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(24)))
    state = registry.require_state()
    assert state.bases[state.current].champion.name == "one" and len(state.sets) == 1


def test_a_moved_home_finds_its_checkpoints(tmp_path) -> None:
    first, base = tmp_path / "first", model(tmp_path / "base", b"1")
    Registry(first / "encoders.json").start("b", lambda: base)
    Registry(first / "encoders.json").promote(Encoder("encoder_mnr", "v2", str(first / "artifacts" / "checkpoint" / "v2")))
    first.rename(tmp_path / "second")
    assert Registry(tmp_path / "second" / "encoders.json").require().champion.path == str(tmp_path / "second/artifacts/checkpoint/v2")


def test_a_damaged_file_is_named(tmp_path) -> None:
    (tmp_path / "encoders.json").write_text('{"base": 3}')
    with pytest.raises(WhetstoneError, match=r"encoders\.json is damaged"):
        Registry(tmp_path / "encoders.json").read()


def test_a_folder_without_weights_is_refused(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WhetstoneError, match="no model weights"):
        Registry(tmp_path / "encoders.json").start("b", lambda: tmp_path / "empty")
