from __future__ import annotations

import os
from typing import Any

import pytest

from whetstone.catalog.source import fingerprint, load_source
from whetstone.platform.errors import WhetstoneError

FILES = {table: {"path": f"{table}.ndjson"} for table in ("products", "queries", "judgments", "engagement")}


def test_a_source_knows_its_files_and_binds_them(shop: Any) -> None:
    source = shop.load()
    assert source.missing == {}
    assert source.parameters("products") == {"products": str(shop.data / "products.ndjson")}
    assert source.spec.category_depth == 1


def test_an_unknown_source_lists_the_known_ones(shop: Any) -> None:
    with pytest.raises(WhetstoneError, match=r"unknown source '\.\./shop': there are shop"):
        load_source(shop.sql, "../shop", shop.data)


def test_a_missing_data_folder_or_file_is_named(shop: Any) -> None:
    with pytest.raises(WhetstoneError, match=r"nowhere.* is not there; set WHETSTONE_DATA"):
        load_source(shop.sql, "shop", shop.data / "nowhere")
    (shop.data / "queries.ndjson").unlink()
    with pytest.raises(WhetstoneError, match=r"queries: no file queries\.ndjson"):
        shop.load()
    assert shop.load(require_files=False).missing == {"queries": "queries.ndjson"}


def test_an_absent_optional_file_skips_its_table(shop: Any) -> None:
    (shop.data / "engagement.ndjson").unlink()
    source = shop.load()
    assert source.is_skipped("engagement")
    assert not source.is_skipped("products")


def test_globs_and_folders_bind_lists_without_hidden_and_unfinished_files(shop: Any) -> None:
    folder = shop.data / "parts" / "locale=us"
    folder.mkdir(parents=True)
    unfinished = ["c.ndjson.tmp", "d.PART", "e.ndjson.crdownload", "_temporary/f.ndjson", "g.tmp/h.ndjson"]
    for name in ("b.ndjson", "a.ndjson", ".a.ndjson.swp", "_SUCCESS", *unfinished):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    for path in ("parts", "parts/**/*", "parts/*/?.ndjson"):
        shop.spec(files=FILES | {"products": {"path": path}})
        assert shop.load().parameters("products") == {"products": [str(folder / "a.ndjson"), str(folder / "b.ndjson")]}
    shop.spec(files=FILES | {"products": {"path": "parts/locale=us/b.ndj*"}})
    assert shop.load().parameters("products") == {"products": [str(folder / "b.ndjson")]}


def test_the_locale_is_bound_where_it_is_used(shop: Any) -> None:
    shop.select("queries", "select $locale as query_id, '$locale' as text, null::bigint as frequency, 'train' as split")
    assert shop.load().parameters("queries") == {"locale": "en"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"locale": None}, "locale: Field required"),
        ({"files": FILES | {"products": {"path": "../secret"}}}, "without '..'"),
        ({"files": FILES | {"products": {"path": "/etc/passwd"}}}, "below the data folder"),
        ({"files": FILES | {"a-b": {"path": "x"}}}, "'a-b' can't be bound"),
        ({"text": "{tilte}"}, r"unknown placeholder \{tilte\}"),
        ({"category_depth": 0}, "category_depth"),
        ({"name": "other"}, "name is 'other', but the folder is 'shop'"),
        ({"synonyms": "synonyms.txt"}, r"synonyms: no file synonyms\.txt"),
    ],
)
def test_a_bad_source_yml_is_named_with_its_key(shop: Any, changes: dict[str, Any], said: str) -> None:
    shop.spec(**changes)
    with pytest.raises(WhetstoneError, match=said) as error:
        shop.load()
    assert "source" in str(error.value)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selec 1", "syntax error"),
        ("select 1; select 2", "must hold one SELECT"),
        ("drop table x", "must hold one SELECT"),
        ("select * from read_csv($nothing)", r"binds \$nothing, which source\.yml has not"),
    ],
)
def test_a_bad_select_is_named_with_its_file(shop: Any, sql: str, said: str) -> None:
    shop.select("judgments", sql)
    with pytest.raises(WhetstoneError, match=said) as error:
        shop.load()
    assert "judgments.sql" in str(error.value)


def test_the_fingerprint_follows_files_sql_and_yml(shop: Any) -> None:
    seen = {fingerprint(shop.load())}
    assert fingerprint(shop.load()) in seen

    path = shop.data / "products.ndjson"
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Spade", b"Spode"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size and time of change: the inode's own time tells
    seen.add(fingerprint(shop.load()))
    shop.select("judgments", (shop.sql / "sources/shop/judgments.sql").read_text().replace("editors", "experts"))
    seen.add(fingerprint(shop.load()))
    shop.spec(synonyms="synonyms.txt")
    for text in ("a, b", "a, b, c"):
        (shop.data / "synonyms.txt").write_text(text)
        seen.add(fingerprint(shop.load()))
    (shop.data / "engagement.ndjson").unlink()
    seen.add(fingerprint(shop.load()))
    assert len(seen) == 6

    gone = shop.load()
    path.unlink()
    with pytest.raises(WhetstoneError, match=r"products\.ndjson of source shop vanished"):
        fingerprint(gone)
