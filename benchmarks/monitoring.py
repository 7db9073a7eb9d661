"""What a look of `monitor-pipeline` costs the warehouse as RAW grows: `python -m benchmarks.monitoring [ROWS …]`.

Rows are added to RAW.SALES_BATCH_RAW and RAW.SALES_RAW of an embedded Snowflake of its own; then every query of
the look is run three times, and the best one counts.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prefect_snowflake import SnowflakeCredentials

from blocks.warehouse import SalesWarehouse
from local.service import ready_file
from tasks.capacity import QUERIES, SIZES_BEFORE, TABLES
from tasks.error_rates import WINDOWS
from tasks.freshness import AGES
from tasks.migrations import migrate
from tasks.pipeline_news import EARLIER

FILL = """
insert into RAW.SALES_BATCH_RAW
select 'store_sales', 'O' || seq4(), 1, 'P', null, null, null, null, null, 1, 1, 'EUR', sysdate(), sysdate(), 'b', 'f',
    seq4(), sysdate()
from table(generator(rowcount => {rows}))
"""
EVENTS = """
insert into RAW.SALES_RAW
select object_construct('topic', 'sales_events', 'partition', 0, 'offset', seq4()), object_construct('n', seq4())
from table(generator(rowcount => {rows}))
"""
LOOK = {
    "freshness": (AGES, None),
    "error rates": (WINDOWS, {"windows": "[3600, 21600, 86400]", "widest": 86400}),
    "storage": (TABLES, None),
    "storage before": (SIZES_BEFORE, None),
    "queries": (QUERIES, {"seconds": 3600}),
    "trend": (EARLIER, None),
}


def execute(warehouse: SalesWarehouse, sql: str) -> None:
    with warehouse.session() as connection, connection.cursor() as cursor:
        cursor.execute(sql)


def seconds(warehouse: SalesWarehouse, name: str) -> float:
    """Time one query of the look, sign-in included; the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.monotonic()
        warehouse.rows(*LOOK[name])
        best = min(best, time.monotonic() - began)
    return best


def main(sizes: list[int]) -> None:
    home = Path(tempfile.mkdtemp(prefix="monitoring-"))
    server = subprocess.Popen(
        [sys.executable, "-m", "local.snowflake", "--home", str(home), "--memory", "2GB"]
    )
    try:
        while not ready_file(home).exists():
            time.sleep(0.1)
        credentials = SnowflakeCredentials(account="local", user="u", password="p")
        warehouse = SalesWarehouse(
            credentials=credentials,
            database="SALES_DW",
            warehouse="W",
            schema="RAW",
            server_url=json.loads(ready_file(home).read_text())["url"],
        )
        values = {"processed_url": "file:///tmp/", "stage_options": "", "database": "SALES_DW"}
        list(migrate(warehouse, values))
        print("rows in RAW".rjust(12), *(name.rjust(15) for name in LOOK), "all".rjust(8))
        there = 0
        for size in sizes:
            for statement in (FILL, EVENTS):
                execute(warehouse, statement.format(rows=(size - there) // 2))
            there = size
            took = {name: seconds(warehouse, name) for name in LOOK}
            print(f"{size:12,}", *(f"{each:14.2f}s" for each in took.values()), f"{sum(took.values()):7.2f}s")
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1_000_000, 10_000_000])
