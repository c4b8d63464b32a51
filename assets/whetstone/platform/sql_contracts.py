"""The `.yml` beside a table: its columns as a contract, and its tests in dbt's vocabulary, compiled to SQL and to asset checks.

```yaml
group: disagreement            # Dagster's asset group (default: the schema's name)
hold: retrain_share            # a setting: the table stays as it is while no more than this share of its rows would change (default: none)
columns:
  - {name: product_id, type: VARCHAR, description: the shop's own id, tests: [not_null]}
  - {name: "*_rank", type: BIGINT}                    # any number of columns of that form
tests:
  - unique: [query_id, product_id]
  - expression_is_true: rank >= 1
  - relationships: {column: product_id, to: staging.products, field: product_id}
  - accepted_values: {column: split, values: [train, dev, test]}
    severity: warn                                    # default: error, which blocks what depends on the table
unit_tests:                                           # run by the test-suite, see tests/sql
  - name: ...
    given: {staging.products: [{product_id: a, ...}]}
    expect: [{...}]
```
"""

import fnmatch
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from whetstone.platform.asset import key_of
from whetstone.platform.declared import Declared, read_declared
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.warehouse import Warehouse, columns_of

EXAMPLES = 5


class Column(Declared):
    """One column: name (or a pattern such as `*_rank`), DuckDB type, meaning, tests."""

    name: str
    type: str
    description: str = ""
    tests: tuple[Literal["not_null", "unique"], ...] = ()


class Relationship(Declared):
    """Every value of `column` is a value of `field` in table `to`."""

    column: str
    to: str
    field: str


class AcceptedValues(Declared):
    """Every value of `column` is one of `values`."""

    column: str
    values: tuple[str | int, ...]


class TableTest(Declared):
    """A test of the table; exactly one of its kinds is given."""

    unique: tuple[str, ...] | None = None
    expression_is_true: str | None = None
    relationships: Relationship | None = None
    accepted_values: AcceptedValues | None = None
    severity: Literal["error", "warn"] = "error"
    name: str | None = None


class UnitTest(Declared):
    """Rows given for the tables that a model reads, and the rows that it must then make."""

    name: str
    given: dict[str, list[dict[str, Any]]]
    parameters: dict[str, Any] = Field(default_factory=dict)
    expect: list[dict[str, Any]]


class Contract(Declared):
    """What a table promises."""

    group: str | None = None
    hold: str | None = None
    columns: tuple[Column, ...] = ()
    tests: tuple[TableTest, ...] = ()
    unit_tests: tuple[UnitTest, ...] = ()

    def table_schema(self, actual: dict[str, str] | None = None) -> dg.TableSchema:
        """The contract as Dagster shows it; with a table's actual columns, patterns are filled in."""
        named = [(name, c) for c in self.columns for name in (fnmatch.filter(actual, c.name) if actual else [c.name])]
        columns = [dg.TableColumn(name=n, type=c.type, description=c.description or None) for n, c in dict(named).items()]
        return dg.TableSchema(columns=columns)

    def violations(self, actual: dict[str, str]) -> list[str]:
        """How a table's columns differ from the contract, in words."""
        promised = [(column, fnmatch.filter(actual, column.name)) for column in self.columns]
        known = {name for _, found in promised for name in found}
        problems = [f"column {column.name} is missing" for column, found in promised if not found]
        typed = [(name, column.type) for column, found in promised for name in found]
        problems += [f"column {name} is {actual[name]}, the contract says {kind}" for name, kind in typed if actual[name] != kind]
        return problems + [f"column {name} is not in the contract" for name in actual if name not in known]

    def queries(self) -> dict[str, tuple[str, bool]]:
        """Every test as a SELECT of the rows that break it, by name, with whether it blocks."""
        unique = [TableTest(unique=(column.name,)) for column in self.columns if "unique" in column.tests]
        compiled = [(test, *_compile(test)) for test in (*unique, *self.tests)]
        found = {test.name or name: (query, test.severity == "error") for test, name, query in compiled}
        if filled := [f'"{column.name}"' for column in self.columns if "not_null" in column.tests]:  # one check: each costs a step events
            found["not_null"] = f"select {', '.join(filled)} from {{rows}} as t where {' is null or '.join(filled)} is null", True
        return found


def load_contract(path: Path) -> Contract:
    """Read a contract; WhetstoneError: the file is missing or says something that contracts don't know (file and field are named)."""
    if not path.exists():
        raise WhetstoneError(f"{path} is missing: every table has a contract (columns, types, tests) beside its SQL")
    return read_declared(Contract, path)


def contract_checks(table: str, contract: Contract, by_category: bool) -> dg.AssetChecksDefinition:
    """One Dagster check for the column contract and one for each test; blocking ones hold back what depends on the table."""
    key, partitions, queries = key_of(table), CATEGORIES if by_category else None, contract.queries()
    described = {"columns": ("The table's columns are those of its contract.", True)}
    described |= {name: (f"```sql\n{query}\n```", blocks) for name, (query, blocks) in queries.items()}
    specs = [
        dg.AssetCheckSpec(name, asset=key, blocking=blocks, description=text, partitions_def=partitions)
        for name, (text, blocks) in described.items()
    ]

    @dg.multi_asset_check(name=check_step(table), specs=specs, can_subset=True)
    def check_contract(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Any:
        parameters = {"category": context.partition_key} if context.has_partition_key else {}
        rows = f"(select * from {table} where category = $category)" if parameters else table
        with warehouse.get_connection() as connection:
            for name in sorted(check.name for check in context.selected_asset_check_keys):
                if name == "columns":
                    broken = contract.violations(columns_of(connection, table))
                    count, examples = len(broken), "; ".join(broken)
                else:
                    failing = connection.execute(queries[name][0].replace("{rows}", rows), parameters).df()
                    count, examples = len(failing), failing.head(EXAMPLES).to_json(orient="records")
                severity = dg.AssetCheckSeverity.ERROR if described[name][1] else dg.AssetCheckSeverity.WARN
                said = f"{count} rows break it, such as {examples}" if count else None
                passed, counted = count == 0, {"count_failing": count}
                yield dg.AssetCheckResult(
                    passed=passed, asset_key=key, check_name=name, metadata=counted, severity=severity, description=said
                )

    return check_contract


def check_step(table: str) -> str:
    """Name of the step that runs a table's checks."""
    return f"check_{table.replace('.', '__')}"


def _compile(test: TableTest) -> tuple[str, str]:
    if test.unique:
        names = ", ".join(f'"{column}"' for column in test.unique)
        twice = f"select {names}, count(*) as count_rows from {{rows}} as t group by {names} having count(*) > 1"
        return f"unique_{'_'.join(test.unique)}", twice
    if test.expression_is_true:
        words = "".join(c if c.isalnum() else "_" for c in test.expression_is_true)[:60].strip("_")
        return f"expression_{words}", f"select * from {{rows}} as t where not coalesce({test.expression_is_true}, false)"
    if test.relationships:
        r = test.relationships
        missing = f'select t."{r.column}" from {{rows}} as t anti join {r.to} as parent on t."{r.column}" = parent."{r.field}"'
        return f"relationships_{r.column}_{r.to.split('.')[-1]}", f'{missing} where t."{r.column}" is not null'
    if test.accepted_values:
        a = test.accepted_values
        values = ", ".join("'" + v.replace("'", "''") + "'" if isinstance(v, str) else str(v) for v in a.values)
        return f"accepted_values_{a.column}", f'select * from {{rows}} as t where "{a.column}" not in ({values})'
    raise WhetstoneError("a test in a contract needs one of unique, expression_is_true, relationships, accepted_values")
