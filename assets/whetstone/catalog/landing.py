"""From a source's files to the landed tables `raw.catalog`, `raw.queries`, `raw.judgments` and `raw.engagement`.

Each SELECT runs once into a temporary table, the contracts' rules are checked on it, and one transaction replaces all four
tables: a feed lands whole or not at all. Rows never leave DuckDB; only counts, names and hashes do.

Versions are hashes of content: a row's is the MD5 of its JSON, a category's the SHA-256 over its sorted row hashes. So the
order of rows and of files, and columns that no contract names (a price), change nothing.
"""

from dataclasses import dataclass

import duckdb

from whetstone.catalog.contracts import CONTRACTS
from whetstone.catalog.reading import attached, bad_rows, read_table, schema_problems
from whetstone.catalog.slugs import UNCATEGORISED, assign_slugs
from whetstone.catalog.source import Source, fingerprint
from whetstone.catalog.text import blank_sql, collapse_sql, text_sql
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.warehouse import Step, columns_of, count_changed, exists, note_written

_EXAMPLES = 3


@dataclass(frozen=True)
class LandingReport:
    """What landed."""

    counts: dict[str, int]  # rows of catalog, queries, judgments, engagement
    category_counts: dict[str, dict[str, int]]  # rows of catalog, judgments and engagement by category slug
    category_versions: dict[str, dict[str, str]]  # their content versions
    category_names: dict[str, str]  # slug -> name as the shop writes it, levels joined by ` > `
    queries_version: str
    dropped: dict[str, int]  # `judgments of an unknown product` and the like -> rows left out; only those that happened


def land(connection: duckdb.DuckDBPyConnection, source: Source, before: str | None = None) -> LandingReport:
    """Replace the four `raw` tables by what the source's files hold now, on a connection outside a transaction.

    `before` is the fingerprint of the files that are meant (default: as they are now). WhetstoneError: a file can't be read or changed
    meanwhile, a SELECT or its rows break a contract; nothing is replaced then.
    """
    before = before or fingerprint(source)
    try:
        with attached(connection, source):
            for contract in CONTRACTS.values():
                if problems := schema_problems(connection, source, contract):
                    raise WhetstoneError("; ".join(f"{message} ({mend})" for _, message, mend in problems))
                read_table(connection, source, contract)
        dropped = _check_rows(connection, source)
        names = connection.execute(f"select distinct {_category_name(source)} from temp.landing_products").fetchall()
        slugs = assign_slugs(name for (name,) in names)
        select = "select unnest($names) as category_name, unnest($slugs) as category"
        bound = {"names": list(slugs), "slugs": list(slugs.values())}
        connection.execute(f"create or replace temp table landing_categories as {select}", bound)
        if fingerprint(source) != before:
            changed = f"the files of source {source.spec.name} changed while they were read"
            raise WhetstoneError(f"{changed}; build again when the feed is complete")
        connection.begin()
        try:
            connection.execute("create schema if not exists raw")
            edits = {table: _replace(connection, f"raw.{table}", select) for table, select in _landed_selects(source).items()}
            report = _report(connection, dropped)
            for table, versions in report.category_versions.items():
                for category, version in versions.items():
                    step = Step(version, report.category_counts[table][category], edits[table].get(category, 0))
                    note_written(connection, f"raw.{table}", category, step)
            step = Step(report.queries_version, report.counts["queries"], edits["queries"].get(None, 0))
            note_written(connection, "raw.queries", None, step)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        return report
    finally:
        for table in (*CONTRACTS, "categories"):
            connection.execute(f"drop table if exists temp.landing_{table}")


def _replace(connection: duckdb.DuckDBPyConnection, table: str, select: str) -> dict[str | None, int]:
    """Replace a table by the rows of a SELECT; how many rows changed, by category in a table that has them."""
    connection.execute(f"create or replace temp table landed_rows as {select}")
    columns = columns_of(connection, "landed_rows")
    category = "category" if "category" in columns else "null::varchar"
    is_comparable = exists(connection, table) and columns_of(connection, table) == columns
    changed = count_changed(connection, "landed_rows", table, category) if is_comparable else {}
    connection.execute(f"create or replace table {table} as select * from landed_rows")
    connection.execute("drop table temp.landed_rows")
    return changed


def _check_rows(connection: duckdb.DuckDBPyConnection, source: Source) -> dict[str, int]:
    """How many rows refer to what is not there, by table and kind; any other broken rule is an error."""
    lines, dropped = [], {}
    for contract in CONTRACTS.values():
        for rule in contract.all_rules():
            found = bad_rows(connection, contract, rule)
            count = len(found)
            if count and rule.parent:
                dropped[f"{contract.table} of an {rule.kind}"] = count
            elif count:
                rows = "; ".join(f"row {row} {shown[:200]}" for row, shown in found.limit(_EXAMPLES).fetchall())
                lines.append(f"  {contract.table}.sql: {rule.kind} in {count} row{'s' * (count > 1)}: {rows}. {rule.mend}.")
    if lines:
        said = f"source {source.spec.name} breaks its contracts; nothing was changed. `whetstone source check` lists every row."
        raise WhetstoneError("\n".join([said, *lines]))
    return dropped


def _category_name(source: Source) -> str:
    levels = f"list_transform(category_path[:{source.spec.category_depth}], lambda node: {collapse_sql('node')})"
    return f"coalesce(nullif(array_to_string({levels}, ' > '), ''), '{UNCATEGORISED}')"


def _landed_selects(source: Source) -> dict[str, str]:
    """SELECT of each landed table from the temporary ones, ordered for reads by category; pairs join raw.catalog, which comes first."""
    pairs = {
        table: f"select pairs.*, category from temp.landing_{table} as pairs join raw.catalog using (product_id) "
        "semi join temp.landing_queries using (query_id) order by category, query_id, product_id"
        for table in ("judgments", "engagement")
    }
    # Maps are sorted by key, so that equal attributes are equal values; NULL values and blank texts say nothing and go.
    products = f"""
        with cleaned as (
            select
                product_id,
                coalesce(category_path, []) as category_path,
                {collapse_sql("title")} as title,
                if({blank_sql("brand")}, null, {collapse_sql("brand")}) as brand,
                if({blank_sql("description")}, null, replace(description, chr(0), ' ')) as description,
                map_from_entries(list_sort(list_filter(
                    map_entries(coalesce(attributes, map([]::varchar[], []::varchar[]))), lambda entry: entry.value is not null
                ))) as attributes,
                {_category_name(source)} as category_name,
            from temp.landing_products
        ),
        with_text as (
            select *, {text_sql(source.spec.text)} as text from cleaned
        )
        select product_id, category, category_name, category_path, title, brand, description, attributes, text, sha256(text) as text_hash
        from with_text
        join temp.landing_categories using (category_name)
        order by category, product_id
    """
    # Segments by traffic ([A] section 5 reports head, torso and tail): the head carries the first half of it, head and torso 80 %.
    # Without frequencies the number of words stands in: short queries are the frequent ones (broad needs, many shoppers), long ones rare.
    queries = f"""
        with ranked as (
            select
                * replace ({collapse_sql("text")} as text),
                coalesce(sum(frequency) over (
                    order by coalesce(frequency, 0) desc, query_id rows between unbounded preceding and 1 preceding
                ), 0) as traffic_before,
                sum(frequency) over () as traffic,
                len(string_split({collapse_sql("text")}, ' ')) as count_words,
            from temp.landing_queries
        )
        select
            query_id, text, frequency, split,
            case
                when traffic is null and count_words <= 2 or traffic_before * 10 < traffic * 5 then 'head'
                when traffic is null and count_words <= 4 or traffic_before * 10 < traffic * 8 then 'torso'
                else 'tail'
            end as segment,
        from ranked
        order by query_id
    """
    return {"catalog": products, "queries": queries, **pairs}


def _report(connection: duckdb.DuckDBPyConnection, dropped: dict[str, int]) -> LandingReport:
    versioned = "count(row_hash), sha256(coalesce(string_agg(row_hash, '' order by row_hash), ''))"
    # The text's own hash stands for it; so a new template or depth changes a version just where it changes a text or a category.
    product = "struct_pack(product_id, category_name, category_path, title, brand, description, attributes, text_hash)"
    counts, category_counts, versions = {}, {}, {}
    for table, content in (("catalog", product), ("judgments", "r"), ("engagement", "r")):
        found = connection.execute(f"""
            select category, {versioned}
            from (select distinct category from raw.catalog)
            left join (select category, md5(to_json({content})::varchar) as row_hash from raw.{table} as r) using (category)
            group by category
            order by category
        """).fetchall()
        category_counts[table] = {category: count for category, count, _ in found}
        versions[table] = {category: version for category, _, version in found}
        counts[table] = sum(category_counts[table].values())
    hashed = f"select {versioned} from (select md5(to_json(r)::varchar) as row_hash from raw.queries as r)"
    [(counts["queries"], queries_version)] = connection.execute(hashed).fetchall()
    names = dict(connection.execute("select distinct category, category_name from raw.catalog order by category").fetchall())
    return LandingReport(counts, category_counts, versions, names, queries_version, dropped)
