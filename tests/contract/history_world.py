"""A warehouse that takes random histories load by load, compared after each with the brute-force answer."""

import logging
from collections import Counter, defaultdict
from dataclasses import astuple, dataclass, field
from pathlib import Path

from blocks.warehouse import SalesWarehouse
from tasks.dbt_build import dbt_command, dbt_environment, faults, read_results, run_dbt
from tests.contract.history_oracle import CUSTOMER, PRODUCT, Row, Rows, Telling, expected
from tests.contract.random_histories import History, Load, Plan, in_raw
from tests.contract.raw_rows import write

HISTORY = "select source, {}, {}, {}, valid_from, valid_to, is_current from {} where source <> 'unknown'"
QUERIES = {
    "int_sales_lines": f"select {', '.join(Telling.__dataclass_fields__)}, channel, arrived_at "
    "from INTERMEDIATE.INT_SALES_LINES",
    "int_sales_rejects": "select source, kafka_topic || '-' || kafka_partition, kafka_offset "
    "from INTERMEDIATE.INT_SALES_REJECTS",
    "int_customer_history": HISTORY.format(*CUSTOMER, "INTERMEDIATE.INT_CUSTOMER_HISTORY"),
    "int_product_history": HISTORY.format(*PRODUCT, "INTERMEDIATE.INT_PRODUCT_HISTORY"),
    "dim_customer": HISTORY.format(*CUSTOMER, "MARTS_CANDIDATE.DIM_CUSTOMER"),
    "dim_product": HISTORY.format(*PRODUCT, "MARTS_CANDIDATE.DIM_PRODUCT"),
    # A fact, and the versions of its customer and product that its keys lead to.
    "fct_sales": "select s.source, s.order_id, s.line_number, s.quantity, s.unit_price, s.ordered_at, s.updated_at, "
    "c.source, c.customer_id, c.customer_segment, c.country, c.valid_from, c.valid_to, c.is_current, "
    "p.source, p.product_id, p.product_name, p.product_category, p.valid_from, p.valid_to, p.is_current "
    "from MARTS_CANDIDATE.FCT_SALES s "
    "left join MARTS_CANDIDATE.DIM_CUSTOMER c on s.customer_key = c.customer_key "
    "left join MARTS_CANDIDATE.DIM_PRODUCT p on s.product_key = p.product_key",
}
# Seeds and all models; then what depends on the new rows (the staging views stay as they are).
FIRST = ("build", "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
NEXT = ("run", "--exclude", "path:models/staging")
# Loads whose build breaks off: at the facts' sources, and at the marts. What follows is built with the next load.
BROKEN_OFF = {
    4: ("run", "--select", "int_sales_events", "int_sales_lines"),
    8: (*NEXT, "path:models/marts+"),
}
# What by design tells of the builds, not of the sales: in which load dbt wrote a row, and how far a model has read.
LOAD_COLUMNS = ("LOAD_NUMBER",)
LOAD_TABLES = ("INT_WATERMARKS", "INT_CHANGED_LINES", "INT_CHANGED_TELLINGS")


@dataclass
class World:
    """The database after all loads: what differed after which load, and the tables before and after a refresh."""

    warehouse: SalesWarehouse
    folder: Path
    sources: dict[str, tuple[History, Plan]]
    loads: list[Load]
    differences: dict[str, dict[int, tuple[Rows, Rows]]] = field(default_factory=lambda: defaultdict(dict))
    found: dict[str, Rows] = field(default_factory=dict)
    incremental: dict[str, Rows] = field(default_factory=dict)
    refreshed: dict[str, Rows] = field(default_factory=dict)

    def live(self) -> None:
        """Take all loads, comparing after each whose build was whole; then build everything anew."""
        for load in self.loads:
            write(self.warehouse, load)
            self.dbt("target", *BROKEN_OFF.get(load.number, NEXT if load.number else FIRST))
            if load.number not in BROKEN_OFF:
                self.note(load.number)
        self.incremental = all_tables(self.warehouse)
        self.dbt("refresh", "run", "--full-refresh")
        self.refreshed = all_tables(self.warehouse)

    def compiled(self) -> dict[str, str]:
        """Give the SQL of the last incremental build, by model."""
        folder = self.folder / "target" / "compiled"
        return {path.stem: path.read_text() for path in folder.glob("*/models/**/*.sql")}

    def dbt(self, target: str, *arguments: str) -> None:
        path = self.folder / target
        command = dbt_command(*arguments, "--target-path", str(path))
        code = run_dbt(command, dbt_environment(self.warehouse), logging.getLogger(__name__))
        assert code == 0, "\n".join(faults(read_results(path))) or f"dbt ended with code {code}"

    def note(self, load: int) -> None:
        """Compare the tables with the brute-force answer after a load."""
        wanted = expected(in_raw(self.loads[: load + 1]))
        for table, query in QUERIES.items():
            found = self.found[table] = rows_of(self.warehouse, query)
            if found != wanted[table]:
                self.differences[table][load] = (wanted[table] - found, found - wanted[table])

    def smallest(self, missing: Rows, extra: Rows, last: int) -> str:
        """Tell of the shortest history that differs: how it arrived, what it should be and what it is."""
        arrived: dict[str, list[str]] = defaultdict(list)
        for load in self.loads[: last + 1]:
            for a in (*load.lines, *load.events):
                row = spelled((*astuple(a.telling), a.channel, a.arrived_at, a.place, a.position))
                arrived[a.telling.source].append(f"  load {load.number}: {row}")
        differing = {text for row in (*missing, *extra) for text in row if text in arrived}
        source = min(differing, key=lambda name: len(arrived[name]), default="")
        parts = [f"{len(differing)} histories differ, the shortest is {source or 'none by name'}:"]
        parts += arrived[source]
        for title, rows in (("missing", missing), ("too much", extra)):
            parts += [f"{title}:", *[f"  {spelled(row)}" for row in rows if source in ("", *row)][:10]]
        return "\n".join(parts)


def spelled(row: Row) -> str:
    return ", ".join(str(value) for value in row)


def rows_of(warehouse: SalesWarehouse, query: str) -> Rows:
    with warehouse.session() as connection, connection.cursor() as cursor:
        return Counter(tuple(row) for row in cursor.execute(query).fetchall())


def all_tables(warehouse: SalesWarehouse) -> dict[str, Rows]:
    """Read every table and view of the models, whole but for what tells of the build; the columns are in the name."""
    columns: dict[str, list[str]] = defaultdict(list)
    for row in warehouse.rows(
        "select table_schema || '.' || table_name as name, column_name from INFORMATION_SCHEMA.COLUMNS "
        "where table_schema in ('INTERMEDIATE', 'MARTS_CANDIDATE') order by 1, ordinal_position"
    ):
        if row["column_name"] not in LOAD_COLUMNS and not row["name"].endswith(LOAD_TABLES):
            columns[row["name"]].append(row["column_name"])
    return {
        f"{name} ({', '.join(its)})": rows_of(warehouse, f"select {', '.join(its)} from {name}")
        for name, its in columns.items()
    }
