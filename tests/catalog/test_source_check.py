from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pytest

from whetstone.catalog.landing import land
from whetstone.catalog.source_check import Problem, check_source, render
from whetstone.platform.errors import WhetstoneError

Rows = Callable[[str], list[dict[str, Any]]]
FILES = {
    table: {"path": f"{table}.ndjson", "optional": table == "engagement"} for table in ("products", "queries", "judgments", "engagement")
}


def check(shop: Any, **options: Any) -> list[Problem]:
    return check_source(shop.load(require_files=False), **options)


def brief(problems: list[Problem]) -> list[tuple[str, int | None, str | None, str]]:
    return [(problem.file, problem.row, problem.column, problem.kind) for problem in problems]


def test_a_good_folder_has_no_problem(shop: Any) -> None:
    assert check(shop) == []
    assert render([]) == "0 problems"


def test_every_kind_of_bad_row_is_found_in_one_folder_with_its_row(shop: Any, rows: Rows) -> None:
    shop.write(
        "products",
        [
            *rows("products"),
            {"id": "p1", "title": "again"},
            {"id": None, "title": "x"},
            {"id": "p9", "title": None},
            {"id": "p8", "title": " \u200b"},
            {"id": "p7", "title": "x", "path": ["Garden", None]},
            {"id": "p1", "title": "third"},
        ],
    )
    shop.write(
        "queries",
        [*rows("queries"), {"id": "q9", "text": "\t", "frequency": -1, "split": "valid"}, {"id": "", "text": None, "split": None}],
    )
    shop.write(
        "judgments",
        [
            *rows("judgments"),
            {"query": "q1", "product": "p1", "grade": 2},
            {"query": "q2", "product": "p1", "grade": 3},
            {"query": "q2", "product": "p3", "grade": None},
            {"query": "q2", "product": "gone", "grade": 0},
            {"query": "gone", "product": "p1", "grade": 0},
        ],
    )
    shop.write("engagement", [*rows("engagement"), {"query": "q1", "product": "nope", "shown": None, "clicks": -1, "rank": 0.5}])
    problems = check(shop, grades=(0, 2, 4))
    assert sorted(brief(problems), key=str) == sorted(
        [
            ("products.ndjson", 5, "product_id", "duplicate id"),
            ("products.ndjson", 10, "product_id", "duplicate id"),
            ("products.ndjson", 6, "product_id", "empty id"),
            ("products.ndjson", 7, "title", "null title"),
            ("products.ndjson", 8, "title", "null title"),
            ("products.ndjson", 9, "category_path", "unknown category"),
            ("queries.ndjson", 4, "text", "empty query"),
            ("queries.ndjson", 4, "split", "unknown split"),
            ("queries.ndjson", 4, "frequency", "negative number"),
            ("queries.ndjson", 5, "query_id", "empty id"),
            ("queries.ndjson", 5, "text", "null text"),
            ("queries.ndjson", 5, "split", "null split"),
            ("judgments.ndjson", 4, "product_id", "duplicate pair"),
            ("judgments.ndjson", 5, "grade", "grade outside the guideline"),
            ("judgments.ndjson", 6, "grade", "null grade"),
            ("judgments.ndjson", 7, "product_id", "unknown product"),
            ("judgments.ndjson", 8, "query_id", "unknown query"),
            ("engagement.ndjson", 2, "clicks", "negative number"),
            ("engagement.ndjson", 2, "impressions", "null impressions"),
            ("engagement.ndjson", 2, "mean_rank", "rank below 1"),
            ("engagement.ndjson", 2, "product_id", "unknown product"),
        ],
        key=str,
    )
    assert all(problem.mend for problem in problems)
    assert next(p.message for p in problems if p.kind == "unknown query") == (
        'row 8 of judgments.sql\'s output: unknown query: {"query_id":"gone","product_id":"p1"}'
    )


def test_every_kind_of_bad_file_is_found_in_one_folder(shop: Any) -> None:
    shop.spec(files=FILES | {"judgments": {"path": "judgments.csv"}}, synonyms="synonyms.txt")
    (shop.data / "products.ndjson").write_bytes(b'{"id": "1", "title": "a"}\n{"id": "2", "title": "caf\xe9"}\n')
    (shop.data / "queries.ndjson").write_bytes(b"")
    lines = (shop.data / "engagement.ndjson").read_text()
    (shop.data / "engagement.ndjson").write_text(lines + '{"query": \n' + lines + '{"query": "q1", "prod')
    problems = check(shop)
    assert brief(problems) == [
        ("judgments.csv", None, None, "missing file"),
        ("synonyms.txt", None, None, "missing file"),
        ("queries.ndjson", None, None, "empty file"),
        ("products.ndjson", 2, None, "bad encoding"),
        ("engagement.ndjson", 2, None, "broken JSON"),
        ("engagement.ndjson", 4, None, "broken JSON"),
    ]
    assert "line 2: byte 51 is not UTF-8" in problems[3].message


def test_missing_columns_and_wrong_types_are_found_in_all_tables(shop: Any) -> None:
    shop.select("products", "select id as product_id, title from read_ndjson($products)")
    shop.select("queries", "select id as query_id, txt as text, frequency, split from read_ndjson($queries)")
    shop.select(
        "judgments",
        "select query as query_id, 1 as product_id, 'A' as grade, null::integer[] as raters, 'x' as source from read_ndjson($judgments)",
    )
    found = {(problem.file, problem.column) for problem in check(shop)}
    assert found == {
        *(("products.sql", column) for column in ("category_path", "brand", "description", "attributes")),
        ("queries.ndjson", None),
        ("judgments.sql", "product_id"),
        ("judgments.sql", "grade"),
    }
    assert next(p for p in check(shop) if p.file == "queries.ndjson").message.count("txt") == 1


def test_a_value_of_the_wrong_type_is_found_with_its_line(shop: Any) -> None:
    shop.spec(files=FILES | {"judgments": {"path": "judgments.csv"}})
    (shop.data / "judgments.csv").write_text("query,product,grade\nq1,p1,4\nq1,p2,good\n")
    shop.select(
        "judgments",
        "select query as query_id, product as product_id, grade, null::integer[] as raters, 'x' as source "
        "from read_csv($judgments, header = true, columns = {'query': 'varchar', 'product': 'varchar', 'grade': 'integer'})",
    )
    (problem,) = check(shop)
    assert (problem.file, problem.row, problem.kind) == ("judgments.csv", 3, "wrong type")
    assert "grade" in problem.message
    assert "good" in problem.message


def test_each_broken_file_of_a_glob_is_named(shop: Any, rows: Rows) -> None:
    shop.write("products", [])
    for number in (1, 2, 3):
        (shop.data / f"part{number}.parquet").write_bytes(b"PAR1 and no more")
    shop.spec(files=FILES | {"products": {"path": "part*.parquet"}})
    shop.select("products", "select * from read_parquet($products)")
    assert brief(check(shop)) == [(f"part{number}.parquet", None, None, "unreadable file") for number in (1, 2, 3)]


def test_a_file_without_rows_is_an_empty_file(shop: Any) -> None:
    shop.write("products", [])
    (shop.data / "products.ndjson").write_text("\n")
    shop.write("judgments", [])
    (shop.data / "judgments.ndjson").write_text("\n")
    shop.write("engagement", [])
    (shop.data / "engagement.ndjson").write_text("\n")
    assert brief(check(shop)) == [(f"{table}.ndjson", None, None, "empty file") for table in ("products", "judgments", "engagement")]


def test_references_to_a_table_that_cannot_be_read_are_not_reported(shop: Any) -> None:
    (shop.data / "products.ndjson").unlink()
    assert brief(check(shop)) == [("products.ndjson", None, None, "missing file")]


def test_an_encoding_that_the_sql_names_is_fine(shop: Any) -> None:
    shop.spec(files=FILES | {"queries": {"path": "queries.csv"}})
    (shop.data / "queries.csv").write_bytes("id,text\nq1,café\nq2,b\nq3,c\n".encode("latin-1"))
    sql = "select id as query_id, text, null::bigint as frequency, 'train' as split from read_csv($queries, header = true"
    shop.select("queries", f"{sql}, encoding = 'latin-1')")
    assert check(shop) == []
    shop.select("queries", f"{sql})")
    assert brief(check(shop)) == [("queries.csv", 2, None, "bad encoding")]


def test_a_file_in_another_encoding_that_fails_for_its_values_is_not_called_badly_encoded(shop: Any) -> None:
    shop.spec(files=FILES | {"queries": {"path": "queries.csv"}})
    (shop.data / "queries.csv").write_bytes("id,text,frequency\nq1,café,many\n".encode("latin-1"))
    columns = "columns = {'id': 'varchar', 'text': 'varchar', 'frequency': 'bigint'}"
    sql = f"from read_csv($queries, header = true, encoding = 'latin-1', {columns})"
    shop.select("queries", f"select id as query_id, text, frequency, 'train' as split {sql}")
    assert brief(check(shop))[0] == ("queries.csv", 2, None, "wrong type")


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_bad_byte_is_found_with_its_place(shop: Any, is_packed: bool) -> None:
    name = "queries.csv.gz" if is_packed else "queries.csv"
    shop.spec(files=FILES | {"queries": {"path": name}})
    text = "é\n🍵🍵\nab".encode() + b"\xe2\x82" + b"\n"  # a euro sign without its last byte
    (shop.data / name).write_bytes(gzip.compress(text) if is_packed else text)
    problem = next(problem for problem in check(shop) if problem.kind == "bad encoding")
    assert problem.row == 3
    assert f"byte {text.index(bytes([0xE2]))} " in problem.message


def test_nul_characters_in_ids_names_and_texts_are_found_and_refused(shop: Any, rows: Rows) -> None:
    shop.write("products", [*rows("products"), {"id": "p\0", "title": "Spade\0", "brand": "\0A", "path": ["Gar\0den"]}])
    shop.write("queries", [*rows("queries"), {"id": "q9", "text": "a\0b", "split": "train"}])
    assert brief(check(shop)) == [
        ("products.ndjson", 5, "product_id", "NUL character"),
        ("products.ndjson", 5, "title", "NUL character"),
        ("products.ndjson", 5, "brand", "NUL character"),
        ("products.ndjson", 5, "category_path", "unknown category"),
        ("queries.ndjson", 4, "text", "NUL character"),
    ]
    with pytest.raises(WhetstoneError, match=r"NUL character in 1 row: row 5.*take the NUL characters out of title"):
        land(duckdb.connect(":memory:"), shop.load())


def test_render_caps_rows_but_counts_all() -> None:
    problems = [Problem("a.csv", i, "title", f"row {i}", "fill it", "null title") for i in range(1, 33)]
    problems.append(Problem("b.csv", None, None, "gone", "bring it", "missing file"))
    lines = render(problems, per_kind=20).splitlines()
    assert lines[0] == "a.csv: null title"
    assert lines[20:23] == ["  row 20", "  ... and 12 more", "  mend: fill it"]
    assert lines[-1] == "33 problems"


@pytest.mark.parametrize("seed", range(8))
def test_damaged_files_never_raise_but_in_the_landing(shop: Any, seed: int) -> None:
    """Bytes cut, overwritten and inserted: the check reports whatever the landing refuses, and the landing refuses in words."""
    random = np.random.default_rng(seed)
    for table in FILES:
        path = shop.data / f"{table}.ndjson"
        content = bytearray(path.read_bytes())
        for _ in range(random.integers(0, 3)):
            place = int(random.integers(len(content)))
            content[place : place + int(random.integers(0, 3))] = random.bytes(int(random.integers(0, 3)))
        path.write_bytes(content[: len(content) - int(random.choice([0, 0, 7]))])
    problems = check(shop)
    try:
        report = land(duckdb.connect(":memory:"), shop.load())
    except WhetstoneError:
        assert problems
    else:
        assert {p.kind for p in problems} <= {"unknown product", "unknown query", "bad encoding"} and bool(report.dropped) <= bool(problems)
