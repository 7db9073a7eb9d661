"""Whole tools against the embedded Snowflake: a small dbt project built three times, and Great Expectations."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
import yaml

PROJECT: dict[str, str] = {
    "dbt_project.yml": """
        name: shop
        version: "1.0"
        profile: shop
        flags: {send_anonymous_usage_stats: false}
        models: {shop: {+persist_docs: {relation: true, columns: true}, +query_tag: shop}}
        data_tests: {+store_failures: true, +severity: warn}
    """,
    "seeds/countries.csv": "code,name\nGB,United Kingdom\nFR,France\n",
    "models/schema.yml": """
        sources:
          - name: raw
            schema: RAW
            database: SALES_DW
            tables: [{name: EVENTS}]
        models:
          - name: stg_events
            description: "The shop's events"
            columns: [{name: quantity, description: "It's a count"}]
          - name: lines
            config: {contract: {enforced: true}}
            columns:
              - {name: order_id, data_type: varchar, constraints: [{type: not_null}, {type: primary_key}]}
              - {name: quantity, data_type: "number(38, 0)"}
              - {name: country, data_type: varchar, data_tests: [{not_null: {}}]}
        unit_tests:
          - name: the_newest_event_of_an_order_wins
            model: lines
            overrides: {macros: {is_incremental: false}}
            given:
              - input: ref('stg_events')
                rows:
                  - {order_id: o1, quantity: 1, country_code: GB, event_number: 1}
                  - {order_id: o1, quantity: 2, country_code: GB, event_number: 2}
              - {input: ref('countries'), rows: [{code: GB, name: United Kingdom}]}
            expect: {rows: [{order_id: o1, quantity: 2, country: United Kingdom}]}
    """,
    "models/stg_events.sql": """
        select record_content:order_id::varchar as order_id, record_content:quantity::number(38, 0) as quantity,
            record_content:country::varchar as country_code, record_metadata:offset::number(38, 0) as event_number
        from {{ source('raw', 'EVENTS') }}
    """,
    "models/lines.sql": """
        {{ config(materialized='incremental', unique_key='order_id', incremental_strategy='merge',
            on_schema_change='append_new_columns') }}
        select e.order_id, e.quantity, c.name as country
        from {{ ref('stg_events') }} as e left join {{ ref('countries') }} as c on c.code = e.country_code
        qualify row_number() over (partition by e.order_id order by e.event_number desc) = 1
    """,
    "models/days.sql": """
        {{ config(materialized='incremental', unique_key='country', incremental_strategy='delete+insert') }}
        select country, sum(quantity) as quantity from {{ ref('lines') }} group by country
    """,
    "models/totals.sql": "{{ config(materialized='table') }} select sum(quantity) as quantity from {{ ref('days') }}",
}

DBT = """
import sys
from dbt.cli.main import dbtRunner
for line in sys.stdin:
    outcome = dbtRunner().invoke(line.split())
    print("succeeded" if outcome.success else "failed", flush=True)
"""


@pytest.fixture(scope="module")
def warehouse(start_service: Callable[..., Any]) -> Iterator[Any]:
    port = start_service("snowflake").facts["port"]
    address = {"host": "127.0.0.1", "port": port, "protocol": "http", "database": "SALES_DW"}
    with snowflake.connector.connect(account="local-x", user="u", password="p", **address) as connection:
        for sql in (
            "create schema RAW",
            "create table RAW.EVENTS (record_metadata variant, record_content variant)",
        ):
            connection.cursor().execute(sql)
        connection.address = address
        yield connection


def rows(connection: Any, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return connection.cursor().execute(sql, parameters or None).fetchall()


def send(warehouse: Any, *events: tuple[int, str, int, str | None]) -> None:
    for offset, order_id, quantity, country in events:
        content = json.dumps({"order_id": order_id, "quantity": quantity, "country": country})
        insert = "insert into RAW.EVENTS select parse_json(%s), parse_json(%s)"
        rows(warehouse, insert, json.dumps({"offset": offset}), content)


@pytest.fixture(scope="module")
def shop(warehouse: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip("\n"))
    login = {"type": "snowflake", "account": "local", "user": "u", "password": "p", "schema": "MARTS"}
    output = login | warehouse.address | {"threads": 4}
    (folder / "profiles.yml").write_text(
        yaml.safe_dump({"shop": {"target": "local", "outputs": {"local": output}}})
    )
    return folder


@pytest.fixture(scope="module")
def dbt(shop: Path) -> Iterator[Callable[..., dict[str, tuple[str, int]]]]:
    """Run dbt commands in one process of their own (importing dbt takes longer than building this project).

    Each gives (status, failures) of every node by its kind and name.
    """
    with subprocess.Popen(
        [sys.executable, "-c", DBT], cwd=shop, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(command: str) -> dict[str, tuple[str, int]]:
            print(command, file=process.stdin, flush=True)
            output = []
            while not output or output[-1] not in ("succeeded\n", "failed\n", ""):
                output.append(process.stdout.readline())
            assert output[-1] == "succeeded\n", "".join(output)
            results = json.loads((shop / "target" / "run_results.json").read_text())["results"]
            return {" ".join(r["unique_id"].split(".")[0:3:2]): (r["status"], r["failures"]) for r in results}

        yield run
        process.stdin.close()


def lines(warehouse: Any) -> list[tuple[Any, ...]]:
    return rows(warehouse, "select order_id, quantity, country from MARTS.LINES order by order_id")


def test_dbt_builds_three_times_on_changing_data(warehouse: Any, dbt: Callable[..., Any]):
    send(warehouse, (1, "o1", 1, "GB"), (2, "o2", 2, "FR"))
    nodes = dbt("build")
    assert {status for status, _ in nodes.values()} == {"success", "pass"}
    assert sorted(name for name, (status, _) in nodes.items() if status == "pass") == [
        "test not_null_lines_country",
        "unit_test lines",
    ]
    assert lines(warehouse) == [("o1", 1, "United Kingdom"), ("o2", 2, "France")]

    send(warehouse, (3, "o1", 5, "GB"), (4, "o3", 7, None))
    nodes = dbt("build")
    assert nodes["test not_null_lines_country"] == ("warn", 1)
    stored = "select order_id from MARTS_DBT_TEST__AUDIT.NOT_NULL_LINES_COUNTRY"
    assert rows(warehouse, stored) == [("o3",)]
    assert lines(warehouse) == [("o1", 5, "United Kingdom"), ("o2", 2, "France"), ("o3", 7, None)]

    send(warehouse, (5, "o3", 8, "FR"))
    assert {status for status, _ in dbt("build").values()} == {"success", "pass"}
    assert lines(warehouse) == [("o1", 5, "United Kingdom"), ("o2", 2, "France"), ("o3", 8, "France")]
    assert rows(warehouse, "select quantity from MARTS.DAYS where country = 'France'") == [(10,)]
    assert rows(warehouse, "select quantity from MARTS.TOTALS") == [(22,)]
    assert [row[1] for row in rows(warehouse, "show tables in schema MARTS")] == [
        "COUNTRIES",
        "DAYS",
        "LINES",
        "TOTALS",
    ]


def test_dbt_docs_know_tables_views_and_comments(shop: Path, dbt: Callable[..., Any]):
    dbt("docs generate")
    nodes = json.loads((shop / "target" / "catalog.json").read_text())["nodes"]
    view = nodes["model.shop.stg_events"]
    assert (view["metadata"]["type"], view["metadata"]["comment"]) == ("VIEW", "The shop's events")
    assert view["columns"]["QUANTITY"]["comment"] == "It's a count"
    line_columns = {name: column["type"] for name, column in nodes["model.shop.lines"]["columns"].items()}
    assert line_columns == {"ORDER_ID": "TEXT", "QUANTITY": "NUMBER", "COUNTRY": "TEXT"}


def test_great_expectations_judges_a_table(warehouse: Any):
    import great_expectations as gx
    import great_expectations.expectations as gxe

    rows(warehouse, "create table RAW.JUDGED (id number(38, 0), price number(18, 4))")
    rows(warehouse, "insert into RAW.JUDGED values (1, 2.5), (2, 0)")
    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_snowflake(
        "local",
        account="local-x",
        user="u",
        password="p",
        database="SALES_DW",
        schema="RAW",
        warehouse="W",
        role="R",
        kwargs={"connect_args": {k: warehouse.address[k] for k in ("host", "port", "protocol")}},
    )
    batch = (
        source.add_table_asset("judged", table_name="judged")
        .add_batch_definition_whole_table("all")
        .get_batch()
    )
    suite = gx.ExpectationSuite(
        name="judged",
        expectations=[
            gxe.ExpectTableRowCountToEqual(value=2),
            gxe.ExpectColumnValuesToBeUnique(column="id"),
            gxe.ExpectColumnValuesToBeBetween(column="price", min_value=0, strict_min=True),
            gxe.ExpectColumnValuesToBeOfType(column="id", type_="DECIMAL(38, 0)"),
            gxe.UnexpectedRowsExpectation(unexpected_rows_query="select * from {batch} where price > 2"),
        ],
    )
    outcome = batch.validate(suite)
    failed = {result.expectation_config.type for result in outcome.results if not result.success}
    assert failed == {"expect_column_values_to_be_between", "unexpected_rows_expectation"}
    assert len(outcome.results) == len(suite.expectations)
    assert not any(result.exception_info.get("raised_exception") for result in outcome.results)
    source.get_engine().dispose()
