from __future__ import annotations

from pathlib import Path

import pytest

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import Encoder, Registry


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
