"""What one set of marts would change in another: rows by key, totals by day; counted in the warehouse.

Each table is read once on each side, its key and a hash of its row joined in full: no row comes here. Two rows
that differ have the same 64-bit hash once in 1.8e19 comparisons.
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import yaml

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT
from blocks.warehouse import SalesWarehouse

MODELS = PROJECT / "dbt" / "models" / "marts"
# The day and the amount whose totals are compared: in euros, which may be added up over currencies.
DAYS = {
    "fct_sales": ("ordered_at", "amount_eur"),
    "mart_daily_sales": ("sales_date", "net_amount_eur"),
}

ROWS = """
select count(old_side.row_key) as rows_before, count(new_side.row_key) as rows_after,
    count_if(old_side.row_key is null) as added, count_if(new_side.row_key is null) as removed,
    count_if(old_side.row_hash <> new_side.row_hash) as changed
from (select {row} from {before}) old_side
full outer join (select {row} from {after}) new_side on old_side.row_key = new_side.row_key
"""
TOTALS = """
select coalesce(old_side.sales_day, new_side.sales_day) as sales_day, old_side.total as old_total,
    new_side.total as new_total
from (select {day}::date as sales_day, sum({amount}) as total from {before} group by 1) old_side
full outer join (select {day}::date as sales_day, sum({amount}) as total from {after} group by 1) new_side
    on old_side.sales_day = new_side.sales_day
where old_side.total is distinct from new_side.total
order by 1 desc
"""


@dataclass(frozen=True)
class DayTotal:
    """The total of a day on both sides, in euros; None where that side has no such day."""

    day: date
    before: Decimal | None
    after: Decimal | None


@dataclass(frozen=True)
class TableDiff:
    """Rows of a table on both sides and what became of them, by key; days are those whose total differs.

    Rows are compared by the columns that both sides have. status: same, changed, new, dropped.
    """

    table: str
    status: str
    rows_before: int = 0
    rows_after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns_added: list[str] = field(default_factory=list)
    columns_removed: list[str] = field(default_factory=list)
    days: list[DayTotal] = field(default_factory=list)


def mart_keys(models: Path = MODELS) -> dict[str, str]:
    """Read the key of each mart: the first column of its model that is tested to be unique."""
    keys: dict[str, str] = {}
    for path in sorted(models.rglob("*.yml")):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            for column in model.get("columns", []):
                if "unique" in column.get("data_tests", []):
                    keys.setdefault(model["name"], column["name"])
    return keys


def columns_of(warehouse: SalesWarehouse, schema: str) -> dict[str, list[str]]:
    """List the columns of each table of a schema, in lower case."""
    rows = warehouse.rows(
        "select table_name, column_name from information_schema.columns where table_schema = %s "
        "order by table_name, ordinal_position",
        (schema,),
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["table_name"].lower(), []).append(row["column_name"].lower())
    return found


def diff_schemas(
    warehouse: SalesWarehouse, before: str, after: str, table: str | None = None, max_days: int = 31
) -> list[TableDiff]:
    """Compare the tables of two schemas, or one table of both; at most `max_days` days, the newest, per table.

    Raises WillNotHeal if there is no such table on either side.
    """
    old, new = columns_of(warehouse, before), columns_of(warehouse, after)
    names = sorted(old.keys() | new.keys())
    if table and table.lower() not in names:
        raise WillNotHeal(f"There is no table {table} in {before} or {after}. There are: {', '.join(names)}.")
    keys = mart_keys()
    found = []
    for name in [table.lower()] if table else names:
        if name in old and name in new:
            found.append(_compare(warehouse, before, after, name, old[name], new[name], keys, max_days))
        else:
            found.append(_alone(warehouse, before if name in old else after, name, name in new))
    return found


def _alone(warehouse: SalesWarehouse, schema: str, table: str, is_new: bool) -> TableDiff:
    rows = int(warehouse.rows(f"select count(*) as n from {schema}.{table}")[0]["n"])  # noqa: S608
    if is_new:
        return TableDiff(table, "new", rows_after=rows, added=rows)
    return TableDiff(table, "dropped", rows_before=rows, removed=rows)


def _compare(
    warehouse: SalesWarehouse,
    before: str,
    after: str,
    table: str,
    old: list[str],
    new: list[str],
    keys: dict[str, str],
    max_days: int,
) -> TableDiff:
    """Compare a table that both sides have. Raises WillNotHeal if its model names no unique column."""
    key, common = keys.get(table), [column for column in old if column in new]
    if key not in common:
        raise WillNotHeal(f"{table} cannot be compared row by row: its model names no column that is unique.")
    counts = {
        name: int(value)
        for name, value in warehouse.rows(rows_query(before, after, table, key, common))[0].items()
    }
    added, removed = [c for c in new if c not in old], [c for c in old if c not in new]
    is_same = not (counts["added"] or counts["removed"] or counts["changed"] or added or removed)
    days = [] if is_same or table not in DAYS else _days(warehouse, before, after, table, common, max_days)
    return TableDiff(
        table,
        "same" if is_same else "changed",
        **counts,
        columns_added=added,
        columns_removed=removed,
        days=days,
    )


def rows_query(before: str, after: str, table: str, key: str, columns: list[str]) -> str:
    """Compose the count of rows before and after, added, removed and changed."""
    row = f"{key} as row_key, hash({', '.join(columns)}) as row_hash"
    return ROWS.format(row=row, before=f"{before}.{table}", after=f"{after}.{table}")


def _days(
    warehouse: SalesWarehouse, before: str, after: str, table: str, columns: list[str], max_days: int
) -> list[DayTotal]:
    day, amount = DAYS[table]
    if not {day, amount} <= set(columns):
        return []
    query = TOTALS.format(day=day, amount=amount, before=f"{before}.{table}", after=f"{after}.{table}")
    rows = warehouse.rows(f"{query} limit {int(max_days)}")
    return [DayTotal(row["sales_day"], row["old_total"], row["new_total"]) for row in rows]
