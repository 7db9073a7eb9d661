"""The embedded Snowflake as a service: what survives a stop, a kill and a second start; and its protocol."""

import concurrent.futures
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakesnow.arrow
import httpx
import pyarrow
import pytest
import snowflake.connector
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import ProgrammingError

from local.snowflake.results import MAX_RESULTS, BoundedResults


def connect(service: Any, **parameters: Any) -> Any:
    address = {"host": "127.0.0.1", "port": service.facts["port"], "protocol": "http"}
    login = {"account": "local", "user": "u", "password": "p", "database": "SALES_DW", "network_timeout": 20}
    return snowflake.connector.connect(**(login | address | parameters))


def rows(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    return connection.cursor().execute(sql).fetchall()


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Any]) -> Any:
    service = start_service("snowflake")
    with connect(service) as connection:
        rows(connection, "create schema RAW")
    return service


def test_everything_survives_a_stop(service: Any, tmp_path: Path):
    (tmp_path / "a.csv").write_text("1\n2\n")
    with connect(service) as connection:
        rows(connection, "create table RAW.T (id number(38, 0), name varchar(7)) comment = 'kept'")
        rows(connection, "insert into RAW.T values (1, 'a')")
        rows(connection, "create view RAW.V as select id from RAW.T")
        rows(connection, "create stage RAW.FILES")
        rows(connection, f"put file://{tmp_path}/a.csv @RAW.FILES")
        rows(connection, "create stage RAW.OUTSIDE url = 'file:///data/'")
        fingerprint = rows(connection, "select hash_agg(*) from RAW.T")
    service.stop()
    assert list(service.home.rglob("*.wal")) == []
    service.start()
    with connect(service, database=None) as connection:
        assert rows(connection, "select id from SALES_DW.RAW.V") == [(1,)]
        assert rows(connection, "select hash_agg(*) from SALES_DW.RAW.T") == fingerprint
        rows(connection, "use database SALES_DW")
        columns = rows(connection, "describe table RAW.T")
        assert [(c[0], c[1]) for c in columns] == [("ID", "NUMBER(38,0)"), ("NAME", "VARCHAR(7)")]
        tables = "select comment from information_schema.tables where table_name = 'T'"
        assert rows(connection, tables) == [("kept",)]
        assert len(rows(connection, "list @RAW.FILES")) == 1
        assert len(rows(connection, "show stages in schema RAW")) == 2


def test_a_kill_loses_only_what_was_not_committed(service: Any):
    connection = connect(service)
    rows(connection, "create schema KILLED")
    rows(connection, "create table KILLED.T as select 1 as id")
    rows(connection, "create temporary table SALES_DW.KILLED.T__dbt_tmp as select 1 as id")
    rows(connection, "begin")
    rows(connection, "insert into KILLED.T values (2)")
    service.kill()
    service.start()
    with connect(service) as again:
        assert rows(again, "select * from KILLED.T") == [(1,)]
        assert [row[1] for row in rows(again, "show tables in schema KILLED")] == ["T"]


def test_a_home_has_one_server(service: Any):
    second = subprocess.run(
        [sys.executable, "-m", "local.snowflake", "--home", str(service.home)], capture_output=True, text=True
    )
    assert second.returncode == 1
    last_line = second.stderr.strip().splitlines()[-1]
    assert last_line == (
        f"{service.home} is open in another embedded Snowflake: stop that one, or give another --home"
    )


def test_logout_ends_temporary_tables_and_transactions(service: Any):
    connection = connect(service)
    rows(connection, "create or replace table RAW.L as select 1 as id")
    rows(connection, "create temporary table SALES_DW.RAW.L__dbt_tmp as select 1 as id")
    rows(connection, "begin")
    rows(connection, "delete from RAW.L")
    connection.close()
    with connect(service) as other:
        assert rows(other, "delete from RAW.L") == [(1,)]
        with pytest.raises(ProgrammingError, match="does not exist"):
            rows(other, "select * from RAW.L__dbt_tmp")


def test_a_request_sent_again_runs_once(service: Any):
    """The connector repeats a request after 60 s of silence, with the same requestId."""
    with httpx.Client(base_url=service.facts["url"], timeout=30) as client:
        login = {"data": {"SESSION_PARAMETERS": {}, "LOGIN_NAME": "u"}}
        answer = client.post("/session/v1/login-request?databaseName=SALES_DW", json=login).json()
        token = {"Authorization": f'Snowflake Token="{answer["data"]["token"]}"'}

        def query(sql: str, request_id: str) -> Any:
            where = f"/queries/v1/query-request?requestId={request_id}"
            return client.post(where, json={"sqlText": sql}, headers=token).json()

        query("create or replace table RAW.ONCE (id number(38, 0))", "create")
        slow_insert = "insert into RAW.ONCE select max(seq4()) from table(generator(rowcount => 30000000))"
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(query, [slow_insert] * 2, ["insert"] * 2))
        answers.append(query(slow_insert, "insert"))
        assert [a["data"]["rowset"] for a in answers] == [[["1"]]] * 3
        assert query(slow_insert, "another")["success"]
    with connect(service) as connection:
        assert rows(connection, "select count(*) from RAW.ONCE") == [(2,)]


def test_a_failure_inside_the_server_is_an_error_of_the_statement(service: Any):
    """Stock answers HTTP 500, which the connector repeats until its network timeout."""
    with connect(service) as connection:
        with pytest.raises(ProgrammingError, match="ArrowInvalid"):
            rows(connection, "select hash('a')")
        assert rows(connection, "select 1") == [(1,)]


def test_null_timestamps_arrive_as_null(service: Any):
    with connect(service) as connection:
        assert rows(connection, "select null::timestamp_ntz, null::timestamp_tz") == [(None, None)]
    stock = fakesnow.arrow.timestamp_to_sf_struct(pyarrow.array([None], pyarrow.timestamp("us")))
    assert stock.null_count == 0


def test_any_key_pair_is_accepted(service: Any):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with connect(service, password=None, private_key=key, authenticator="SNOWFLAKE_JWT") as connection:
        assert rows(connection, "select 1") == [(1,)]


def test_results_are_not_kept_for_ever():
    table = pyarrow.table({"id": [1]})
    bounded, stock = BoundedResults(), FakeSnow().results_cache
    for results in (bounded, stock):
        for i in range(MAX_RESULTS * 2):
            results[str(i)] = (table, 1, "select 1", None, None)
    assert len(stock) == MAX_RESULTS * 2
    assert list(bounded) == [str(i) for i in range(MAX_RESULTS, MAX_RESULTS * 2)]
