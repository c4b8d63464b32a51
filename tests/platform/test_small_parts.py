"""Files, maps over batches, settings, SQL models' errors: the small parts that everything stands on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whetstone.platform.compute import map_batches
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_folder, atomic_write
from whetstone.platform.settings import Settings, load_settings
from whetstone.platform.sql_models import read_model, read_models


@given(st.lists(st.integers()), st.integers(1, 7))
def test_batches_keep_order_and_number(items: list[int], size: int) -> None:
    seen: list[int] = []

    def double(batch) -> list[int]:
        seen.append(len(batch))
        return [2 * item for item in batch]

    assert map_batches(double, items, size) == [2 * item for item in items]
    assert all(0 < length <= size for length in seen) and sum(seen) == len(items)


def test_a_batch_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 items gave 1 results"):
        map_batches(lambda batch: batch[:1], [1, 2], 2)


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file.json"
    atomic_write(path, "old")
    with pytest.raises(TypeError):
        atomic_write(path, 3)  # type: ignore[arg-type]
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "artifact"
    for content in ("one", "two"):
        with atomic_folder(place) as folder:
            (folder / content).write_text(content)
    assert [file.name for file in place.iterdir()] == ["two"]
    with pytest.raises(RuntimeError, match="killed"), atomic_folder(place) as folder:
        (folder / "three").write_text("three")
        raise RuntimeError("killed")
    assert [file.name for file in place.iterdir()] == ["two"] and list(tmp_path.iterdir()) == [place]


def test_settings_come_from_the_environment_and_bad_ones_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHETSTONE_HOME", str(tmp_path))
    monkeypatch.setenv("WHETSTONE_SOURCE", "esci")
    monkeypatch.setenv("WHETSTONE_DATA", "")
    settings = load_settings()
    assert settings.root == tmp_path / "esci" and settings.data_dir == tmp_path / "esci" / "files"
    monkeypatch.setenv("WHETSTONE_BM25_B", "7")
    monkeypatch.setenv("WHETSTONE_SOURCE", "../../etc")
    with pytest.raises(WhetstoneError, match=r"(?s)WHETSTONE_SOURCE='../../etc'.*WHETSTONE_BM25_B='7'"):
        load_settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def model(folder: Path, sql: str) -> Path:
    path = folder / "marts" / "m.sql"
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "staging").mkdir(exist_ok=True)
    path.write_text(sql)
    path.with_suffix(".yml").write_text("columns: []")
    return path


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("-- One row.\nselect *\nfrom staging.nothing", r"m\.sql:3: reads unknown table staging\.nothing"),
        ("-- One row.\nselect * from nothing", r"m\.sql:2: table nothing has no schema"),
        ("-- One row.\nselect (", r"m\.sql:\d+: not valid SQL"),
        ("select 1 as a", r"m\.sql:1: say in a leading comment"),
        ("-- One row.\nselect 1; select 2", r"m\.sql:1: a model is exactly one SELECT"),
        ("-- One row.\nselect *\nfrom staging.known\nwhere a = $wrong", r"m\.sql:4: \$wrong is no setting"),
    ],
)
def test_a_broken_model_is_named_with_its_line(tmp_path: Path, sql: str, said: str) -> None:
    model(tmp_path, sql)
    with pytest.raises(WhetstoneError, match=said):
        read_models(tmp_path, {}, known=["staging.known"], names=["depth"])


def test_comments_and_layout_are_no_new_code(tmp_path: Path) -> None:
    plain = read_model(model(tmp_path, "-- One row.\nselect a from staging.known where category = $category"), {})
    other = read_model(
        model(tmp_path, "-- One row per a.\n-- More.\nselect\n    a -- why\nfrom staging.known\nwhere category = $category"), {}
    )
    changed = read_model(model(tmp_path, "-- One row.\nselect a + 1 as a from staging.known where category = $category"), {})
    assert plain.code_version == other.code_version != changed.code_version
    assert plain.by_category and plain.tables == ("staging.known",)


def test_an_ephemeral_select_takes_the_place_of_its_table(tmp_path: Path) -> None:
    found = read_model(
        model(tmp_path, "-- One row.\nselect r.a from marts.runs as r"),
        {"marts.runs": "select a from marts.one union all select a from marts.two"},
    )
    assert found.tables == ("marts.one", "marts.two")


def test_an_unknown_annotator_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHETSTONE_CASCADE", "cross_encoder,oracle")
    with pytest.raises(WhetstoneError, match=r"WHETSTONE_CASCADE='cross_encoder,oracle'.*no annotator 'oracle'"):
        load_settings()
    monkeypatch.setenv("WHETSTONE_CASCADE", "claude_small, claude_small")
    with pytest.raises(WhetstoneError, match="twice"):
        load_settings()


def test_the_cascade_is_read_in_order_and_only_a_key_lets_it_buy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("WHETSTONE_CASCADE", " claude_large , cross_encoder")
    assert load_settings().stages == ("claude_large", "cross_encoder")
    assert load_settings().cascade == "claude_large,cross_encoder"
    assert not load_settings().can_buy
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    assert load_settings().can_buy
    assert "a-key" not in repr(load_settings())
    monkeypatch.setenv("WHETSTONE_CASCADE", "cross_encoder")
    assert not load_settings().can_buy
