"""What a source has to deliver: four tables as data, and the rules that their rows obey.

The same objects drive `whetstone source check`, the landing and the documentation, so that the three can't disagree.
A rule is a SQL condition that is true for a *bad* row of the table; duplicate keys and unknown references follow from `key`
and `references`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whetstone.catalog.text import blank_sql

_INTEGERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
_NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
_ACCEPTED = {
    "INTEGER": _INTEGERS,
    "BIGINT": _INTEGERS,
    "DOUBLE": _NUMBERS,
    "INTEGER[]": tuple(f"{t}[]" for t in _INTEGERS),
}

GRADES = (0, 1, 2, 3, 4)
"""Every grade there is ([A] section 3: 0 = embarrassing, 4 = excellent); a guideline may use fewer."""


@dataclass(frozen=True)
class Column:
    """A column: its DuckDB type, whether NULL is allowed, and what it means."""

    name: str
    type: str
    meaning: str
    nullable: bool = False

    def accepts(self, delivered: str) -> bool:
        """Whether a SELECT may deliver this DuckDB type here: the type itself, or a number that is cast without loss of meaning."""
        return delivered.split("(")[0] in _ACCEPTED.get(self.type, ()) if self.type in _ACCEPTED else delivered == self.type


@dataclass(frozen=True)
class Rule:
    """A condition that no row may meet: `condition` is SQL over the table's columns, true for a bad row (NULL counts as fine)."""

    kind: str
    column: str
    condition: str
    mend: str


@dataclass(frozen=True)
class Contract:
    """One table: its grain, columns, key, rules, and the table that each of its columns refers to."""

    table: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rules: tuple[Rule, ...]
    references: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    def column(self, name: str) -> Column:
        """The column of this name."""
        return next(column for column in self.columns if column.name == name)

    def all_rules(self, grades: Sequence[int] = GRADES) -> list[Rule]:
        """Every rule of the table, those that follow from types and nullability first; `grades` are the ones allowed in judgments."""
        empty = [
            Rule(
                "empty id",
                c.name,
                f"{c.name} is null or {blank_sql(c.name)}",
                "give every row an id, or leave the row out",
            )
            for c in self.columns
            if c.name in self.key
        ]
        null = [
            Rule(f"null {c.name}", c.name, f"{c.name} is null", f"fill {c.name}, or leave the row out")
            for c in self.columns
            if not c.nullable and c.name not in self.key
        ]
        keys = ", ".join(self.key)
        # Rows after the first of a key, in file order; rows with an empty id have their own rule.
        duplicate = Rule(
            "duplicate id" if len(self.key) == 1 else "duplicate pair",
            self.key[-1],
            f"{' and '.join(f'{k} is not null' for k in self.key)} "
            f"and rowid <> first_value(rowid) over (partition by {keys} order by rowid)",
            f"keep one row per {' and '.join(self.key)}",
        )
        allowed = ", ".join(str(grade) for grade in grades)
        graded = [
            Rule(
                "grade outside the guideline",
                "grade",
                f"grade not in ({allowed})",
                f"map the grade to one of {allowed} in judgments.sql",
            )
        ]
        return [*empty, *null, duplicate, *self.rules, *(graded if "grade" in self.names else [])]


def _pair_columns() -> tuple[Column, ...]:
    return (
        Column("query_id", "VARCHAR", "a query of queries"),
        Column("product_id", "VARCHAR", "a product of products"),
    )


def _count(name: str, meaning: str) -> Column:
    return Column(name, "BIGINT", meaning)


PRODUCTS = Contract(
    "products",
    "one row per product",
    (
        Column("product_id", "VARCHAR", "the shop's own id, unique"),
        Column(
            "category_path",
            "VARCHAR[]",
            "path from the root; NULL or empty: the product is `uncategorised`",
            nullable=True,
        ),
        Column("title", "VARCHAR", "what the product is called"),
        Column("brand", "VARCHAR", "brand name", nullable=True),
        Column("description", "VARCHAR", "long text without markup", nullable=True),
        Column(
            "attributes",
            "MAP(VARCHAR, VARCHAR)",
            "anything else that tells products apart: colour, size, material",
            nullable=True,
        ),
    ),
    ("product_id",),
    (
        Rule("null title", "title", blank_sql("title"), "fill title, or leave the row out"),
        Rule(
            "unknown category",
            "category_path",
            f"len(list_filter(category_path, lambda node: node is null or {blank_sql('node')})) > 0",
            "leave empty elements out of category_path; a product without a category has NULL or an empty list",
        ),
    ),
)

QUERIES = Contract(
    "queries",
    "one row per query",
    (
        Column("query_id", "VARCHAR", "unique"),
        Column("text", "VARCHAR", "what the shopper typed"),
        Column("frequency", "BIGINT", "how often it was searched; NULL everywhere if the shop doesn't know", nullable=True),
        Column("split", "VARCHAR", "train, dev or test"),
    ),
    ("query_id",),
    (
        Rule("empty query", "text", blank_sql("text"), "leave queries without text out"),
        Rule(
            "unknown split",
            "split",
            "split not in ('train', 'dev', 'test')",
            "map the split to train, dev or test in queries.sql",
        ),
        Rule("negative number", "frequency", "frequency < 0", "a frequency is a count"),
    ),
)

JUDGMENTS = Contract(
    "judgments",
    "one row per human-judged pair",
    (
        *_pair_columns(),
        Column("grade", "INTEGER", "0 (embarrassing) to 4 (excellent), one of the guideline's"),
        Column("raters", "INTEGER[]", "the grade of each rater, if known", nullable=True),
        Column("source", "VARCHAR", "where the judgment comes from"),
    ),
    ("query_id", "product_id"),
    (),
    (("product_id", "products"), ("query_id", "queries")),
)

ENGAGEMENT = Contract(
    "engagement",
    "one row per query and product that shoppers saw",
    (
        *_pair_columns(),
        _count("impressions", "times shown"),
        _count("clicks", "times clicked"),
        _count("add_to_carts", "times put into the cart"),
        _count("purchases", "times bought"),
        Column("mean_rank", "DOUBLE", "mean position when shown, 1 = first", nullable=True),
    ),
    ("query_id", "product_id"),
    (
        *(
            Rule("negative number", name, f"{name} < 0", f"{name} is a count")
            for name in ("impressions", "clicks", "add_to_carts", "purchases")
        ),
        Rule("rank below 1", "mean_rank", "not (isfinite(mean_rank) and mean_rank >= 1)", "count positions from 1"),
    ),
    (("product_id", "products"), ("query_id", "queries")),
)

CONTRACTS: dict[str, Contract] = {c.table: c for c in (PRODUCTS, QUERIES, JUDGMENTS, ENGAGEMENT)}
"""The four contracts by table, referred tables before those that refer to them."""
