"""A tiny shop on disk: a source folder and its files, for tests of sources, landing and checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from whetstone.catalog.source import Source, load_source

PRODUCTS = [
    {"id": "p1", "path": ["Garden", "Tools"], "title": "Spade", "brand": "Acme", "attributes": {"color": "red", "size": "M"}, "price": 9.5},
    {"id": "p2", "path": ["Garden"], "title": "Rake", "brand": None, "attributes": {}, "price": 7},
    {"id": "p3", "path": ["Toys"], "title": "Toy  spade", "brand": " ", "attributes": {"color": None}, "price": 3},
    {"id": "p4", "path": [], "title": "Voucher", "brand": None, "attributes": None, "price": 1},
]
QUERIES = [
    {"id": "q1", "text": " spade  red", "frequency": 50, "split": "train"},
    {"id": "q2", "text": "rake", "frequency": 30, "split": "dev"},
    {"id": "q3", "text": "toys", "frequency": 20, "split": "test"},
]
JUDGMENTS = [
    {"query": "q1", "product": "p1", "grade": 4},
    {"query": "q1", "product": "p2", "grade": 0},
    {"query": "q2", "product": "p2", "grade": 4},
]
ENGAGEMENT = [{"query": "q3", "product": "p3", "shown": 5, "clicks": 2, "rank": 1.5}]

COLUMNS = {
    "products": "{'id': 'varchar', 'path': 'varchar[]', 'title': 'varchar', 'brand': 'varchar', 'attributes': 'map(varchar, varchar)'}",
    "queries": "{'id': 'varchar', 'text': 'varchar', 'frequency': 'bigint', 'split': 'varchar'}",
    "judgments": "{'query': 'varchar', 'product': 'varchar', 'grade': 'integer'}",
    "engagement": "{'query': 'varchar', 'product': 'varchar', 'shown': 'bigint', 'clicks': 'bigint', 'rank': 'double'}",
}
SELECTS = {
    "products": "select id as product_id, path as category_path, title, brand, null::varchar as description, attributes",
    "queries": "select id as query_id, text, frequency, split",
    "judgments": "select query as query_id, product as product_id, grade, null::integer[] as raters, 'editors' as source",
    "engagement": "select query as query_id, product as product_id, shown as impressions, clicks, 0 as add_to_carts, 0 as purchases, "
    "rank as mean_rank",
}


@dataclass
class Shop:
    """A source `shop` under `sql`, with its files under `data`; both can be edited between loads."""

    sql: Path
    data: Path

    def write(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Replace a table's file."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.data / f"{table}.ndjson").write_text(text, encoding="utf-8")

    def select(self, table: str, sql: str) -> None:
        """Replace a table's SELECT."""
        (self.sql / "sources" / "shop" / f"{table}.sql").write_text(sql, encoding="utf-8")

    def spec(self, **changes: Any) -> None:
        """Write source.yml, with some keys changed; a value of None takes the key out."""
        files = {table: {"path": f"{table}.ndjson", "optional": table == "engagement"} for table in COLUMNS}
        spec = {"name": "shop", "description": "A test.", "files": files, "guideline": "esci", "locale": "en"} | changes
        path = self.sql / "sources" / "shop" / "source.yml"
        path.write_text(yaml.safe_dump({key: value for key, value in spec.items() if value is not None}), encoding="utf-8")

    def load(self, **options: Any) -> Source:
        """Load the source as it lies."""
        return load_source(self.sql, "shop", self.data, **options)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop without any problem."""
    made = Shop(tmp_path / "sql", tmp_path / "data")
    (made.sql / "sources" / "shop").mkdir(parents=True)
    made.data.mkdir()
    made.spec()
    for table, rows in {"products": PRODUCTS, "queries": QUERIES, "judgments": JUDGMENTS, "engagement": ENGAGEMENT}.items():
        made.write(table, rows)
        made.select(table, f"-- one row each\n{SELECTS[table]} from read_ndjson(${table}, columns = {COLUMNS[table]});\n-- end")
    return made


@pytest.fixture
def rows() -> Callable[[str], list[dict[str, Any]]]:
    """Copies of a table's rows as the fixture `shop` wrote them, for editing."""
    tables = {"products": PRODUCTS, "queries": QUERIES, "judgments": JUDGMENTS, "engagement": ENGAGEMENT}
    return lambda table: json.loads(json.dumps(tables[table]))
