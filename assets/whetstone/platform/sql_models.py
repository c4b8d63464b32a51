"""Each `sql/<schema>/<model>.sql` becomes an asset, in dbt's spirit and without dbt.

Plain SQL, no `ref()`: sqlglot reads which tables a model selects from and the lineage of its columns. The leading comment is
the description (its first line tells the grain), `$category` makes it partitioned by category, every other `$name` is a value
of the settings or of the guideline and part of the code version, which is a hash of the SQL without comments and white space.
A table may also be *ephemeral*: a SELECT put in its place (dbt's word), which is how the channel registry feeds plain SQL.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import dagster as dg
import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError
from sqlglot.lineage import lineage
from sqlglot.schema import MappingSchema

from whetstone.platform.artifacts import fingerprint
from whetstone.platform.asset import asset, result, table_of
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.sql_contracts import Contract, contract_checks, load_contract
from whetstone.platform.warehouse import Warehouse, columns_of, replace_select


@dataclass(frozen=True)
class SqlModel:
    """One model: a SELECT whose rows are the table `schema.name`."""

    path: Path
    text: str  # of the file
    description: str
    query: str
    tables: tuple[str, ...]
    parameters: tuple[str, ...]
    contract: Contract

    @property
    def table(self) -> str:
        """`schema.name`."""
        return f"{self.path.parent.name}.{self.path.stem}"

    @property
    def by_category(self) -> bool:
        """Whether it is made a category at a time."""
        return "category" in self.parameters

    @property
    def code_version(self) -> str:
        """Hash of what the database executes: comments and layout don't count."""
        return hashlib.sha256(self.query.encode()).hexdigest()[:16]


def read_model(path: Path, ephemeral: Mapping[str, str]) -> SqlModel:
    """Read one `.sql` file and the `.yml` beside it; WhetstoneError: no single SELECT, or no description (file and line are named)."""
    text = path.read_text()
    try:
        statements = [s for s in sqlglot.parse(text, dialect="duckdb") if s]
    except ParseError as error:
        place = error.errors[0] if error.errors else {"line": 1, "description": str(error)}
        raise WhetstoneError(f"{path}:{place['line']}: not valid SQL: {place['description']}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise WhetstoneError(f"{path}:1: a model is exactly one SELECT, this file has {len(statements)} statements")
    comment = [line[2:].strip() for line in takewhile(lambda line: line.startswith("--"), text.splitlines())]
    if not comment:
        raise WhetstoneError(f"{path}:1: say in a leading comment what one row is (`-- one row per ...`)")
    tree = statements[0]
    for table in list(_tables(tree)):
        if (select := ephemeral.get(f"{table.db}.{table.name}")) is not None:
            alias = table.args.get("alias") or exp.to_identifier(table.name)
            table.replace(exp.Subquery(this=sqlglot.parse_one(select, dialect="duckdb"), alias=alias))
    tables = {f"{t.db}.{t.name}" for t in _tables(tree)}
    if bare := sorted(name[1:] for name in tables if name.startswith(".")):
        raise WhetstoneError(f"{path}:{_line(text, bare[0])}: table {bare[0]} has no schema; write `schema.{bare[0]}`")
    parameters = sorted({str(p.this if isinstance(p.this, str) else p.this.name) for p in tree.find_all(exp.Parameter, exp.Placeholder)})
    contract = load_contract(path.with_suffix(".yml"))
    query = tree.sql(dialect="duckdb", comments=False)
    return SqlModel(path, text, "\n".join(comment), query, tuple(sorted(tables)), tuple(parameters), contract)


def read_models(folder: Path, ephemeral: Mapping[str, str], known: Iterable[str], names: Collection[str]) -> list[SqlModel]:
    """Every model of `folder/staging` and `folder/marts`.

    `ephemeral` are SELECTs that stand for tables, by `schema.name`; `known` are tables and artifacts that others make; `names` are what
    `$name` may stand for besides `category`. WhetstoneError: a model reads a table that nobody makes, or uses another parameter.
    """
    models = [read_model(path, ephemeral) for schema in ("staging", "marts") for path in sorted((folder / schema).glob("*.sql"))]
    tables = {model.table for model in models} | set(known)
    for model in models:
        if unknown := sorted({*model.tables} - tables):
            said = f"reads unknown table {unknown[0]}; known are {', '.join(sorted(tables))}"
            raise WhetstoneError(f"{model.path}:{_line(model.text, unknown[0])}: {said}")
        if unknown := [f"${name}" for name in model.parameters if name not in {"category", *names}]:
            raise WhetstoneError(f"{model.path}:{_line(model.text, unknown[0])}: {unknown[0]} is no setting and no word of the guideline")
        if (hold := model.contract.hold) and (hold not in names or model.by_category):
            raise WhetstoneError(f"{model.path.with_suffix('.yml')}: hold: name a setting ({hold}), in a model without $category")
    return models


def sql_definitions(
    folder: Path,
    *,
    made: Sequence[dg.AssetsDefinition | dg.AssetSpec],
    ephemeral: Mapping[str, str],
    values: Mapping[str, Any],
    contracts: Mapping[str, str],
) -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """Assets of all models, and checks of every table that has a contract.

    `made` is what Python makes or the feed reports; a contract `sql/<schema>/<name>.yml` checks those tables too (`contracts`: those whose
    contract lies elsewhere below `folder`). `values` are what parameters stand for, besides `category`; `ephemeral` as in `read_models`.
    """
    specs = [spec for each in made for spec in (each.specs if isinstance(each, dg.AssetsDefinition) else [each])]
    models = read_models(folder, ephemeral, known=[table_of(spec.key) for spec in specs], names=values)
    promised = {model.table: (model.contract, model.by_category) for model in models}
    for spec in specs:
        table = table_of(spec.key)
        path = folder / contracts.get(table, f"{table.replace('.', '/')}.yml")
        if path.exists():
            promised[table] = (load_contract(path), spec.partitions_def is not None)
    assets = [model_asset(model, values) for model in models]
    return assets, [contract_checks(table, contract, by_category) for table, (contract, by_category) in promised.items()]


def model_asset(model: SqlModel, values: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a model; `values` are what its parameters stand for, besides `category`."""
    bound = {name: values[name] for name in model.parameters if name != "category"}
    hold = float(values[model.contract.hold]) if model.contract.hold else 0.0
    described: dict[str, Any] = {}

    @asset(
        schema=model.path.parent.name,
        name=model.path.stem,
        group=model.contract.group or model.path.parent.name,
        kinds={"sql", "duckdb"},
        deps=model.tables,
        version=f"{model.code_version}-{fingerprint(bound, hold)[:8]}" if bound or hold else model.code_version,
        by_category=model.by_category,
        description=f"{model.description}\n\n```sql\n{model.text}```",
        metadata={"dagster/column_schema": model.contract.table_schema(), **{f"${name}": str(value) for name, value in bound.items()}},
    )
    def sql_model(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
        category = context.partition_key if model.by_category else None
        parameters = {**bound, **({"category": category} if category else {})}
        with warehouse.transaction() as connection:
            written = replace_select(connection, model.table, model.query, category, parameters, hold)
            if not described:  # sqlglot takes a while: once a process, not at load
                made = columns_of(connection, model.table)
                read = {table: columns_of(connection, table) for table in model.tables}
                described["dagster/column_schema"] = model.contract.table_schema(made)
                described["dagster/column_lineage"] = column_lineage(model, made, read)
        waiting = {"changed_rows_that_wait": written.count_held} if hold else {}
        return result(written, metadata={**described, **waiting})

    return sql_model


def column_lineage(model: SqlModel, made: Iterable[str], read: Mapping[str, Mapping[str, str]]) -> dg.TableColumnLineage:
    """Which columns of which tables each column that the model made comes from; `read` has the column types of every table it reads."""
    schema = MappingSchema(dialect="duckdb")
    for table, columns in read.items():
        schema.add_table(table, dict(columns))
    found: dict[str, list[dg.TableColumnDep]] = {}
    for name in made:
        leaves = {
            (leaf.expression.db, leaf.expression.name, leaf.name.split(".")[-1].strip('"'))
            for leaf in lineage(name, model.query, schema=schema, dialect="duckdb").walk()
            if isinstance(leaf.expression, exp.Table) and not leaf.downstream
        }
        found[name] = [dg.TableColumnDep(asset_key=dg.AssetKey([db, table]), column_name=column) for db, table, column in sorted(leaves)]
    return dg.TableColumnLineage(deps_by_column=found)


def _tables(tree: exp.Expression) -> Iterable[exp.Table]:
    ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
    return [t for t in tree.find_all(exp.Table) if isinstance(t.this, exp.Identifier) and not (t.name in ctes and not t.db)]


def _line(text: str, needle: str) -> int:
    return next((i for i, line in enumerate(text.splitlines(), start=1) if needle in line and not line.startswith("--")), 1)
