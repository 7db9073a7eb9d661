"""A random load written into RAW and the audit, as the loaders write them."""

import json
from collections import Counter, defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from blocks.warehouse import SalesWarehouse
from tasks.warehouse import transaction
from tests.contract.history_oracle import Arrival, Telling
from tests.contract.random_histories import STARTS, Load

BATCH = (*Telling.__dataclass_fields__, "batch_id", "file_name", "file_line", "loaded_at")
AUDIT = (
    *("load_id", "unit_kind", "unit_name", "source", "start_offset", "end_offset"),
    *("rows_read", "rows_loaded", "rows_quarantined", "rows_duplicate", "loaded_at"),
)
NUMBERS = {"line_number", "quantity", "file_line", "start_offset", "end_offset"} | {
    c for c in AUDIT if "rows_" in c
}


def write(warehouse: SalesWarehouse, load: Load) -> None:
    """Put a load's rows into RAW in one transaction; its batches first lose the rows they had."""
    with (
        warehouse.session(paramstyle="qmark") as connection,
        transaction(connection) as cursor,
    ):
        batches = json.dumps(sorted({arrival.place.split("/")[0] for arrival in load.lines}))
        for table, column in (("RAW.SALES_BATCH_RAW", "batch_id"), ("MONITORING.LOAD_AUDIT", "load_id")):
            cursor.execute(
                f"delete from {table} where {column} in "
                "(select f.value::varchar from table(flatten(input => parse_json(?))) f)",
                (batches,),
            )
        insert(cursor, "RAW.SALES_BATCH_RAW", BATCH, [batch_row(arrival) for arrival in load.lines])
        cursor.execute(
            "insert into RAW.SALES_RAW (RECORD_METADATA, RECORD_CONTENT) "
            "select f.value:m, f.value:c from table(flatten(input => parse_json(?))) f",
            (json.dumps([event_row(arrival) for arrival in load.events], default=str),),
        )
        insert(cursor, "MONITORING.LOAD_AUDIT", AUDIT, [*audited_files(load), *audited_partitions(load)])


def insert(cursor: Any, table: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    values = ", ".join(f"f.value:{column}::{column_type(column)}" for column in columns)
    cursor.execute(
        f"insert into {table} ({', '.join(columns)}) select {values} from table(flatten(input => parse_json(?))) f",
        (json.dumps(rows, default=str),),
    )


def column_type(column: str) -> str:
    if column in NUMBERS:
        return "number(38, 0)"
    return {"unit_price": "number(18, 4)"}.get(
        column, "timestamp_ntz" if column.endswith("_at") else "varchar"
    )


def batch_row(arrival: Arrival) -> dict[str, Any]:
    batch_id, _, file_name = arrival.place.partition("/")
    origin = {"batch_id": batch_id, "file_name": file_name, "file_line": arrival.position}
    return asdict(arrival.telling) | origin | {"loaded_at": arrival.arrived_at}


def event_row(arrival: Arrival) -> dict[str, Any]:
    """Give RECORD_METADATA and RECORD_CONTENT as the sink does; a message's creation time is its own for good."""
    topic, _, partition = arrival.place.rpartition("-")
    metadata = {"topic": topic, "partition": int(partition), "offset": arrival.position}
    times = {"CreateTime": arrival.position, "SnowflakeConnectorPushTime": milliseconds(arrival.arrived_at)}
    content = {name: value for name, value in asdict(arrival.telling).items() if value is not None}
    for name in ("ordered_at", "updated_at"):
        content[name] = f"{content[name].isoformat()}Z"
    content["unit_price"] = float(content["unit_price"])
    return {"m": metadata | times, "c": content}


def milliseconds(instant: datetime) -> int:
    return round(instant.replace(tzinfo=UTC).timestamp() * 1000)


def audited_files(load: Load) -> list[dict[str, Any]]:
    files = Counter((*a.place.split("/"), a.telling.source, a.arrived_at) for a in load.lines)
    return [
        {
            "load_id": batch_id,
            "unit_kind": "file",
            "unit_name": name,
            "source": source,
            "loaded_at": loaded_at,
        }
        | {"rows_read": rows, "rows_loaded": rows, "rows_quarantined": 0, "rows_duplicate": 0}
        for (batch_id, name, source, loaded_at), rows in files.items()
    ]


def audited_partitions(load: Load) -> list[dict[str, Any]]:
    """Account for the offsets that a load brings for the first time; they follow those of the load before."""
    offsets = defaultdict(set)
    for arrival in load.events:
        if (arrival.place, arrival.position) not in load.again:
            offsets[arrival.place].add(arrival.position)
    return [
        {
            "load_id": f"stream-{load.number}",
            "unit_kind": "partition",
            "unit_name": place,
            "source": "sales_events",
        }
        | {"start_offset": min(these), "end_offset": max(these) + 1, "loaded_at": STARTS[load.number]}
        | {"rows_read": len(these), "rows_loaded": len(these), "rows_quarantined": 0, "rows_duplicate": 0}
        for place, these in offsets.items()
    ]
