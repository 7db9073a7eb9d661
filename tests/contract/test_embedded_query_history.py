"""INFORMATION_SCHEMA.QUERY_HISTORY of the embedded Snowflake, as a client of it sees it."""

import threading
import time

import fakesnow
import pytest
from snowflake.connector.errors import ProgrammingError

from blocks.warehouse import SalesWarehouse
from local.snowflake import history

HISTORY = """
select query_tag, execution_status, total_elapsed_time as elapsed, transaction_blocked_time as blocked, rows_produced
from table(information_schema.query_history(
    end_time_range_start => dateadd(second, %s, current_timestamp()), result_limit => %s)) h
where query_tag = %s
"""


@pytest.fixture(scope="module")
def warehouse(serve_warehouse) -> SalesWarehouse:
    return serve_warehouse("file:///tmp/processed/")


def test_stock_has_no_query_history():
    with fakesnow.patch():
        import snowflake.connector

        connection = snowflake.connector.connect(database="D", schema="S")
        with pytest.raises(Exception, match=r"(?i)query_history|table"):
            connection.cursor().execute("select * from table(information_schema.query_history())")


def test_statements_are_kept_with_tag_status_and_rows(warehouse):
    with warehouse.session(query_tag="sales-kept") as connection, connection.cursor() as cursor:
        cursor.execute("select seq4() from table(generator(rowcount => 7))")
        with pytest.raises(ProgrammingError):
            cursor.execute("select * from NO_SUCH_TABLE")
    rows = warehouse.rows(HISTORY, (-600, 10_000, "sales-kept"))
    assert sorted((r["execution_status"], r["rows_produced"]) for r in rows if r["rows_produced"] != 1) == [
        ("FAIL", None),
        ("SUCCESS", 7),
    ]
    assert warehouse.rows(HISTORY, (600, 10_000, "sales-kept")) == []
    assert len(warehouse.rows(HISTORY, (-600, 1, "sales-pipeline"))) <= 1


def test_a_statement_that_waits_for_anothers_rows_was_blocked(warehouse):
    touch = "update MONITORING.LOAD_AUDIT set rows_read = rows_read + 1"
    row = (
        "insert into MONITORING.LOAD_AUDIT (load_id, unit_kind, unit_name, source, rows_read, rows_loaded, "
        "rows_quarantined, rows_duplicate, loaded_at) select 'l', 'file', 'u', 's', 1, 1, 0, 0, sysdate()"
    )

    def wait() -> None:
        with warehouse.session(query_tag="sales-blocked") as connection, connection.cursor() as cursor:
            cursor.execute(touch)

    with warehouse.session() as holder, holder.cursor() as cursor:
        cursor.execute(row)
        cursor.execute("begin")
        cursor.execute(touch)
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(1)
        cursor.execute("commit")
        waiting.join()
    (waited,) = warehouse.rows(HISTORY, (-600, 10_000, "sales-blocked"))
    assert 100 <= waited["blocked"] <= waited["elapsed"], waited


def test_the_oldest_make_room():
    kept = history.QueryHistory()
    assert kept._statements.maxlen == history.MAX_STATEMENTS == 10_000
