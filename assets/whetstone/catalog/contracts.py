"""What a source has to deliver: four tables as data, and the rules that their rows obey.

The same objects drive `whetstone source check`, the landing and the documentation, so that the three can't disagree.
A rule is a SQL condition that is true for a *bad* row of the table; duplicate keys and unknown references follow from `key`
and `references`. Tables are named as `reading.py` reads them: `temp.landing_<table>`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from whetstone.catalog.text import blank_sql

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_CAST_SAFELY = {
    "INTEGER": _INTEGERS,
    "BIGINT": _INTEGERS,
    "DOUBLE": (*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL"),
    "INTEGER[]": tuple(f"{kind}[]" for kind in _INTEGERS),
}

GRADES = (0, 1, 2, 3, 4)  # every grade there is ([A] section 3: 0 = embarrassing, 4 = excellent); a guideline may use fewer


class Column(NamedTuple):
    """A column: its DuckDB type, and whether NULL is allowed."""

    name: str
    type: str
    nullable: bool

    def accepts(self, delivered: str) -> bool:
        """Whether a SELECT may deliver this DuckDB type here: the type itself, or a number that is cast without loss of meaning."""
        return delivered == self.type or delivered.split("(")[0] in _CAST_SAFELY.get(self.type, ())


class Rule(NamedTuple):
    """A condition that no row may meet: `condition` is SQL over the table's columns, true for a bad row (NULL counts as fine)."""

    kind: str
    column: str
    condition: str
    mend: str
    parent: str | None = None  # the table that the column refers to, of a rule about references


class Contract(NamedTuple):
    """One table: its grain, columns, key, own rules, and (column, table that it refers to)."""

    table: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    references: tuple[tuple[str, str], ...] = ()

    def all_rules(self, grades: Sequence[int] = GRADES) -> list[Rule]:
        """Every rule of the table, those that follow from types and keys first; `grades` are the ones allowed in judgments."""
        rules = []
        for name, kind, nullable in self.columns:
            if name in self.key:
                rules.append(Rule("empty id", name, f"{name} is null or {blank_sql(name)}", "give every row an id, or leave the row out"))
            elif not nullable:
                rules.append(Rule(f"null {name}", name, f"{name} is null", f"fill {name}, or leave the row out"))
            if kind == "VARCHAR" and name != "description":  # too long to check: the landing cleans it
                rules.append(Rule("NUL character", name, f"contains({name}, chr(0))", f"take the NUL characters out of {name}"))
        # Rows after the first of a key, in file order; rows with an empty id have their own rule.
        filled = " and ".join(f"{name} is not null" for name in self.key)
        repeated = f"{filled} and rowid <> first_value(rowid) over (partition by {', '.join(self.key)} order by rowid)"
        kind = "duplicate id" if len(self.key) == 1 else "duplicate pair"
        rules += [Rule(kind, self.key[-1], repeated, f"keep one row per {' and '.join(self.key)}"), *self.rules]
        if self.table == "judgments":
            allowed = ", ".join(map(str, grades))
            mend = f"map the grade to one of {allowed} in judgments.sql"
            rules.append(Rule("grade outside the guideline", "grade", f"grade not in ({allowed})", mend))
        for name, parent in self.references:
            known = f"select parent.{name} from temp.landing_{parent} as parent where {name} is not null"
            unknown = f"{name} is not null and {name} not in ({known})"
            mend = f"add it to {parent}, or leave the row out; a build drops such rows"
            rules.append(Rule(f"unknown {name.removesuffix('_id')}", name, unknown, mend, parent))
        return rules


def _columns(**types: str) -> tuple[Column, ...]:
    """Columns by name; a type that ends with `?` may be NULL. sql/sources/README.md says what they mean."""
    return tuple(Column(name, kind.removesuffix("?"), kind.endswith("?")) for name, kind in types.items())


_PAIR = ("query_id", "product_id")
_PAIR_COLUMNS = _columns(query_id="VARCHAR", product_id="VARCHAR")
_PAIR_REFERENCES = (("product_id", "products"), ("query_id", "queries"))
_COUNTS = ("impressions", "clicks", "add_to_carts", "purchases")
_TEXTS = _columns(product_id="VARCHAR", category_path="VARCHAR[]?", title="VARCHAR", brand="VARCHAR?", description="VARCHAR?")
_BAD_NODES = f"len(list_filter(category_path, lambda node: node is null or {blank_sql('node')} or contains(node, chr(0)))) > 0"
_NO_CATEGORY = "leave empty elements (and NUL characters) out of category_path; a product without a category has NULL or an empty list"

_PRODUCTS = Contract(
    "products",
    "one row per product",
    (*_TEXTS, *_columns(attributes="MAP(VARCHAR, VARCHAR)?")),
    ("product_id",),
    (
        Rule("null title", "title", blank_sql("title"), "fill title, or leave the row out"),
        Rule("unknown category", "category_path", _BAD_NODES, _NO_CATEGORY),
    ),
)
_QUERIES = Contract(
    "queries",
    "one row per query",
    _columns(query_id="VARCHAR", text="VARCHAR", frequency="BIGINT?", split="VARCHAR"),
    ("query_id",),
    (
        Rule("empty query", "text", blank_sql("text"), "leave queries without text out"),
        Rule("unknown split", "split", "split not in ('train', 'dev', 'test')", "map the split to train, dev or test in queries.sql"),
        Rule("negative number", "frequency", "frequency < 0", "a frequency is a count"),
    ),
)
_JUDGED = _columns(grade="INTEGER", raters="INTEGER[]?", source="VARCHAR")
_JUDGMENTS = Contract("judgments", "one row per human-judged pair", (*_PAIR_COLUMNS, *_JUDGED), _PAIR, (), _PAIR_REFERENCES)
_ENGAGEMENT = Contract(
    "engagement",
    "one row per query and product that shoppers saw",
    (*_PAIR_COLUMNS, *_columns(**dict.fromkeys(_COUNTS, "BIGINT"), mean_rank="DOUBLE?")),
    _PAIR,
    (
        *(Rule("negative number", name, f"{name} < 0", f"{name} is a count") for name in _COUNTS),
        Rule("rank below 1", "mean_rank", "not (isfinite(mean_rank) and mean_rank >= 1)", "count positions from 1"),
    ),
    _PAIR_REFERENCES,
)
CONTRACTS = {contract.table: contract for contract in (_PRODUCTS, _QUERIES, _JUDGMENTS, _ENGAGEMENT)}
"""The four contracts by table, referred tables before those that refer to them."""
