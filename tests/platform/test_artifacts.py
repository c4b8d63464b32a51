from __future__ import annotations

from pathlib import Path

import pytest

from whetstone.platform.artifacts import Artifacts, fingerprint
from whetstone.platform.errors import WhetstoneError


def write(folder: Path) -> dict[str, int]:
    (folder / "sub").mkdir()
    (folder / "sub" / "weights.bin").write_bytes(b"12345")
    return {"steps": 3}


def test_the_same_inputs_are_built_once(tmp_path) -> None:
    artifacts, calls = Artifacts(tmp_path), []

    def build(folder: Path) -> dict[str, int]:
        calls.append(folder)
        return write(folder)

    first = artifacts.make("checkpoint", {"seed": 1, "lr": 0.5}, build)
    again = artifacts.make("checkpoint", {"lr": 0.5, "seed": 1}, build)
    other = artifacts.make("checkpoint", {"seed": 2, "lr": 0.5}, build)
    assert len(calls) == 2 and first == again and first.version != other.version
    assert first.facts == {"steps": 3} and (first.path / "sub" / "weights.bin").read_bytes() == b"12345"


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "manifest"])
def test_damage_is_named_and_made_good(tmp_path, harm) -> None:
    artifacts = Artifacts(tmp_path)
    made = artifacts.make("index", {"a": 1}, write)
    file = made.path / "sub" / "weights.bin"
    if harm == "flip":
        file.write_bytes(b"12x45")
    elif harm == "truncate":
        file.write_bytes(b"12")
    elif harm == "remove":
        file.unlink()
    else:
        (made.path / "artifact.json").write_text("{")
    with pytest.raises(WhetstoneError, match=r"weights\.bin|artifact\.json"):
        artifacts.open(made.name)
    assert artifacts.damage(made.name)
    artifacts.make("index", {"a": 1}, write)
    assert artifacts.open(made.name).facts == {"steps": 3}


def test_a_build_that_fails_leaves_nothing(tmp_path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        Artifacts(tmp_path).make("index", {}, fail)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_wanted_anew_replaces_what_was_there(tmp_path) -> None:
    artifacts = Artifacts(tmp_path)
    artifacts.make("index", {"a": 1}, write)
    again = artifacts.make("index", {"a": 1}, lambda folder: (folder / "other").write_text("x") and {}, anew=True)
    assert sorted(path.name for path in again.path.iterdir()) == ["artifact.json", "other"]


def test_a_category_takes_its_artifacts_along_even_after_a_kill(tmp_path, monkeypatch) -> None:
    artifacts = Artifacts(tmp_path)
    for category in ("toys", "books"):
        made = [artifacts.make(kind, {"category": category, "n": n}, write) for kind in ("vectors", "index") for n in range(2)]
    checkpoint, damaged = artifacts.make("checkpoint", {"seed": 1}, write), artifacts.make("checkpoint", {"seed": 2}, write)
    (damaged.path / "artifact.json").write_text("{")
    with monkeypatch.context() as patch:
        patch.setattr("whetstone.platform.artifacts.shutil.rmtree", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            artifacts.drop_category("toys")
    artifacts.drop_category("toys")
    assert {path.name for path in tmp_path.glob("*/*")} == {each.version for each in (*made, checkpoint, damaged)}
    assert not any(artifacts.damage(each.name) for each in (*made, checkpoint))


def test_a_fingerprint_tells_values_apart() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert len({fingerprint(v) for v in ({"a": 1}, {"a": "1"}, {"a": [1]}, {"b": 1}, "a", ["a"])}) == 6
