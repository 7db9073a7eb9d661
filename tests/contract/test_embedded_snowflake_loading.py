"""Loading into the embedded Snowflake: COPY from Parquet, bound JSON, transactions, and who sees what when."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fakesnow.copy_into
import pytest
import snowflake.connector
import sqlglot
from jinja2 import Template
from snowflake.connector.errors import ProgrammingError
from snowflake.connector.util_text import split_statements

SQL = Path(__file__).parents[2] / "sql"
BATCH = "SALES_DW.RAW.SALES_BATCH_RAW"
COPY = f"""
    COPY INTO {BATCH} FROM @SALES_DW.RAW.PROCESSED_STAGE/sales_batch/{{}}/valid/ PATTERN='.*[.]parquet'
    FILE_FORMAT=(TYPE=PARQUET) MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE
    INCLUDE_METADATA=(loaded_at=METADATA$START_SCAN_TIME) FORCE=TRUE
"""
BOUND_JSON = """
    insert into RAW.SALES_RAW select f.value:m, f.value:c from table(flatten(input => parse_json(?))) f
"""
IDLE_SECONDS = 1.5


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processed")


@pytest.fixture(scope="module")
def connect(start_service: Callable[..., Any], processed: Path) -> Callable[[], Any]:
    port = start_service("snowflake", "--idle-seconds", str(IDLE_SECONDS)).facts["port"]
    address = {"host": "127.0.0.1", "port": port, "protocol": "http"}

    def connect() -> Any:
        login = {"account": "local", "user": "u", "password": "p", "database": "SALES_DW"}
        return snowflake.connector.connect(**login, **address, paramstyle="qmark", network_timeout=60)

    with connect() as connection:
        for _ in range(2):
            for file in sorted(SQL.glob("*.sql")):
                values = {
                    "database": "SALES_DW",
                    "processed_url": f"file://{processed}/",
                    "stage_options": "",
                }
                script = io.StringIO(Template(file.read_text()).render(values))
                for statement, _ in split_statements(script, remove_comments=True):
                    if statement.strip():
                        connection.cursor().execute(statement)
    return connect


@pytest.fixture
def session(connect: Callable[[], Any]) -> Iterator[Any]:
    with connect() as connection:
        yield connection
        connection.rollback()
        connection.cursor().execute(f"delete from {BATCH}")


def rows(connection: Any, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return connection.cursor().execute(sql, parameters or None).fetchall()


def write_batch(processed: Path, batch: str, files: dict[str, int], quantity: str = "1") -> None:
    """Write Parquet as Spark does: lower-case columns, a _SUCCESS file and checksums beside the data."""
    folder = processed / "sales_batch" / batch / "valid"
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in files.items():
        duckdb.sql(
            f"""
            copy (select 'store' as source, 'o' || i as order_id, i as line_number, 'p' as product_id,
                {quantity} as quantity, 1.25::decimal(18, 4) as unit_price, 'GBP' as currency,
                timestamp '2025-01-31 08:15:00' as ordered_at, timestamp '2025-01-31 08:15:00' as updated_at,
                '{batch}' as batch_id, 'f.csv' as file_name, i + 1 as file_line
            from range({count}) t(i)) to '{folder / name}' (format parquet)
            """
        )
        (folder / f".{name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()


def test_copy_loads_what_the_path_and_the_pattern_mean(session: Any, processed: Path):
    write_batch(processed, "b1", {"part-0.parquet": 3, "part-1.parquet": 2})
    write_batch(processed, "b10", {"part-0.parquet": 7})
    before = datetime.now(UTC).replace(tzinfo=None)
    results = session.cursor(snowflake.connector.DictCursor).execute(COPY.format("b1")).fetchall()
    assert [(Path(r["file"]).name, r["status"], r["rows_parsed"], r["rows_loaded"]) for r in results] == [
        ("part-0.parquet", "LOADED", 3, 3),
        ("part-1.parquet", "LOADED", 2, 2),
    ]
    sums = rows(session, f"select count(*), sum(unit_price), min(loaded_at), max(loaded_at) from {BATCH}")
    count, price, first, last = sums[0]
    assert (count, price) == (5, Decimal("6.2500"))
    assert before <= first <= last <= before + timedelta(seconds=30)


def test_copy_with_force_loads_again_and_of_nothing_is_no_error(session: Any, processed: Path):
    write_batch(processed, "b2", {"part-0.parquet": 3})
    assert rows(session, COPY.format("b2"))[0][3] == 3
    assert rows(session, COPY.format("b2"))[0][3] == 3
    assert rows(session, COPY.format("b2").replace("FORCE=TRUE", ""))[0][1] == "LOAD_SKIPPED"
    assert rows(session, COPY.format("no_such_batch")) == [("Copy executed with 0 files processed.",)]
    assert rows(session, f"select count(*) from {BATCH}") == [(6,)]


def test_copy_can_keep_the_name_of_the_file(session: Any, processed: Path):
    write_batch(processed, "b3", {"part-0.parquet": 1})
    include = "INCLUDE_METADATA=(loaded_at=METADATA$START_SCAN_TIME, file_name=METADATA$FILENAME)"
    rows(session, COPY.format("b3").replace("INCLUDE_METADATA=(loaded_at=METADATA$START_SCAN_TIME)", include))
    assert rows(session, f"select file_name from {BATCH}") == [("sales_batch/b3/valid/part-0.parquet",)]


def test_stock_copy_knows_neither_option():
    for option in ("PATTERN", "INCLUDE_METADATA"):
        copy = sqlglot.parse_one(COPY.format("b"), read="snowflake")
        copy.set("params", [p for p in copy.args["params"] if p.this.name.upper() == option])
        with pytest.raises(ValueError, match="Unknown copy parameter"):
            fakesnow.copy_into._params(copy)


def test_a_copy_loads_all_of_its_files_or_none(session: Any, processed: Path):
    write_batch(processed, "b4", {"part-0.parquet": 3})
    write_batch(processed, "b4", {"part-1.parquet": 3}, quantity="null::bigint")
    with pytest.raises(ProgrammingError, match="NOT NULL"):
        rows(session, COPY.format("b4"))
    assert rows(session, f"select count(*) from {BATCH}") == [(0,)]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_batch_is_replaced_in_one_transaction(
    session: Any, connect: Callable[[], Any], processed: Path, end: str
):
    write_batch(processed, "b5", {"part-0.parquet": 4})
    audit = "select count(*) from MONITORING.LOAD_AUDIT where load_id = ?"
    rows(session, COPY.format("b5"))
    with connect() as reader:
        rows(session, "begin")
        rows(session, f"delete from {BATCH} where batch_id = 'b5'")
        rows(session, COPY.format("b5"))
        rows(session, COPY.format("b5"))
        rows(
            session,
            """insert into MONITORING.LOAD_AUDIT (load_id, unit_kind, unit_name, source, rows_read, rows_loaded,
            rows_quarantined, rows_duplicate, loaded_at)
            select ?, 'file', 'f.csv', 'store', 4, 4, 0, 0, sysdate()""",
            end,
        )
        assert rows(session, f"select count(*) from {BATCH}") == [(8,)]
        assert rows(reader, f"select count(*) from {BATCH}") == [(4,)]
        assert rows(reader, audit, end) == [(0,)]
        rows(session, end)
        assert rows(reader, f"select count(*) from {BATCH}") == [(8 if end == "commit" else 4,)]
        assert rows(reader, audit, end) == [(1 if end == "commit" else 0,)]


def test_one_bound_json_array_carries_ten_thousand_events(session: Any):
    event = {"quantity": 3, "unit_price": 2.5, "customer_id": None, "ordered_at": "2025-01-31T08:15:00Z"}
    events = [
        {"m": {"offset": i, "partition": 0}, "c": {**event, "order_id": f"o{i}"}} for i in range(10_000)
    ]
    assert session.cursor().execute(BOUND_JSON, (json.dumps(events),)).rowcount == 10_000
    assert rows(
        session,
        """select count(*), sum(record_metadata:offset::number), sum(record_content:quantity::number(38, 0)),
        max(record_content:unit_price::number(18, 4)), max(record_content:ordered_at::timestamp_ntz),
        count(record_content:customer_id::varchar), count(distinct record_content:order_id::varchar)
        from RAW.SALES_RAW""",
    ) == [(10_000, 49_995_000, 30_000, Decimal("2.5000"), datetime(2025, 1, 31, 8, 15), 0, 10_000)]


def test_a_failed_statement_fails_the_commit(session: Any):
    """DuckDB throws the transaction away; stock then answers COMMIT with success."""
    rows(session, "create or replace table RAW.N (id number(38, 0) not null)")
    rows(session, "begin")
    rows(session, "insert into RAW.N values (1)")
    with pytest.raises(ProgrammingError, match="NOT NULL"):
        rows(session, "insert into RAW.N values (null)")
    for statement in ("select 1", "commit"):
        with pytest.raises(ProgrammingError, match="rolled back when a statement in it failed"):
            rows(session, statement)
    assert rows(session, "select count(*) from RAW.N") == [(0,)]


def test_a_writer_waits_for_the_one_before_it(session: Any, connect: Callable[[], Any]):
    rows(session, "create or replace table RAW.W as select 1 as id, 0 as value")
    rows(session, "begin")
    rows(session, "update RAW.W set value = value + 1")
    with connect() as other:
        late = threading.Thread(target=rows, args=(other, "update RAW.W set value = value + 10"))
        late.start()
        time.sleep(0.3)
        assert late.is_alive()
        rows(session, "commit")
        late.join(10)
    assert rows(session, "select value from RAW.W") == [(11,)]


def test_the_transaction_of_a_silent_client_gives_way(session: Any, connect: Callable[[], Any]):
    """As after SIGKILL of a client: its connection never ends its transaction."""
    rows(session, "create or replace table RAW.S as select 1 as id")
    with connect() as silent:
        rows(silent, "begin")
        rows(silent, "delete from RAW.S")
        started = time.monotonic()
        assert rows(session, "delete from RAW.S") == [(1,)]
        assert time.monotonic() - started > IDLE_SECONDS / 2
        with pytest.raises(ProgrammingError, match="rolled back"):
            rows(silent, "commit")


def test_readers_see_a_published_schema_whole(session: Any, connect: Callable[[], Any]):
    rows(session, "create or replace schema PREVIEW")
    rows(session, "create or replace schema SHOWN")
    for table in ("A", "B"):
        rows(session, f"create or replace table PREVIEW.{table} as select 0 as version")
    rows(session, "create or replace schema SHOWN clone PREVIEW")
    published = threading.Event()
    seen: list[tuple[Any, ...]] = []

    def read() -> None:
        with connect() as reader:
            while not published.is_set():
                seen.extend(rows(reader, "select a.version, b.version from SHOWN.A a cross join SHOWN.B b"))

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(1, 9):
        for table in ("A", "B"):
            rows(session, f"create or replace table PREVIEW.{table} as select {version} as version")
        rows(session, "create or replace schema SHOWN clone PREVIEW")
    published.set()
    reader.join(10)
    assert len(seen) > 8
    assert all(a == b for a, b in seen)
    assert rows(session, "select * from SHOWN.A") == [(8,)]
