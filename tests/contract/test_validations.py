"""The gate against the embedded Snowflake: what it writes down, how often, and that no secret is among it."""

import json
import logging
import re
import tempfile

import pytest
import yaml
from prefect_snowflake import SnowflakeCredentials

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT
from tasks.data_docs import build_data_docs
from tasks.expectations import validate
from tasks.suites import read_suites
from tasks.validation_results import accept, judged_since, read_run, read_runs, read_trend, record

SECRET = "planted-secret-7f3a"
LOAD = """
insert into RAW.SALES_BATCH_RAW (source, order_id, line_number, product_id, customer_id, quantity, unit_price,
    currency, ordered_at, updated_at, batch_id, file_name, file_line, loaded_at)
select 'shop', '{batch}-' || n::varchar, 1, 'P1', 'Jane Doe', 1, {price}, 'EUR',
    dateadd(minute, n, '{day}'::timestamp_ntz), dateadd(minute, n, '{day}'::timestamp_ntz),
    '{batch}', '{batch}.csv', n + 2, sysdate()
from (select row_number() over (order by seq4()) - 1 as n from table(generator(rowcount => {lines})))
"""


def execute(warehouse, sql):
    with warehouse.session() as connection, connection.cursor() as cursor:
        cursor.execute(sql)


def load(warehouse, batch, day, lines, price=2):
    execute(warehouse, LOAD.format(batch=batch, day=day, lines=lines, price=price))


@pytest.fixture(scope="module")
def warehouse(serve_warehouse, tmp_path_factory):
    block = serve_warehouse(f"{tmp_path_factory.mktemp('processed').as_uri()}/")
    secret = SnowflakeCredentials(account="local", user="u", password=SECRET)
    return block.model_copy(update={"credentials": secret})


@pytest.fixture(scope="module")
def first(warehouse):
    for number in range(1, 8):
        load(warehouse, f"b{number}", f"2025-03-0{number}", 110 + number)
    results = validate(warehouse, "raw", "first")
    record(warehouse, "first", "raw", results)
    return results


@pytest.fixture(scope="module")
def second(warehouse, first):
    load(warehouse, "b8", "2025-03-08", 1100)
    load(warehouse, "b9", "2025-03-09", 14, price=-2)
    results = validate(warehouse, "raw", "second")
    record(warehouse, "second", "raw", results)
    return results


def failed(results):
    return {(r.check_id, r.subject): r for r in results if not r.success}


def test_a_retried_run_judges_as_it_did_and_is_written_once(warehouse, first):
    assert failed(first) == {}
    again = validate(warehouse, "raw", "first")
    assert again == first
    record(warehouse, "first", "raw", again)
    assert len(read_run(warehouse, "first")) == len(first)


def test_each_failure_has_its_rows_and_their_keys_and_no_other_column(warehouse, second):
    found = failed(second)
    assert set(found) == {
        ("unit_price_not_negative", None),
        ("batch_volume_not_multiplied", "b8"),
    }
    price = found["unit_price_not_negative", None]
    assert (price.unexpected, price.rows, len(price.keys)) == (14, sum(range(111, 118)) + 1100 + 14, 10)
    assert all(set(key) == {"batch_id", "file_name", "file_line"} for key in price.keys)
    stored = {(row["table_name"], row["check_id"]): row for row in read_run(warehouse, "second")}
    assert stored["SALES_BATCH_RAW", "unit_price_not_negative"]["sample_keys"][0] == {
        "batch_id": "b9", "file_name": "b9.csv", "file_line": 2,
    }  # fmt: skip
    assert "Jane" not in json.dumps(list(stored.values()), default=str)


def test_runs_are_listed_with_what_stopped_them(warehouse, second):
    runs = {row["run_id"]: (row["stopping"], row["warning"]) for row in read_runs(warehouse)}
    assert runs == {"first": (0, 0), "second": (2, 0)}
    assert read_run(warehouse)[0]["run_id"] == "second"
    with pytest.raises(WillNotHeal, match="No run nothing has judged anything"):
        read_run(warehouse, "nothing")


def test_quality_has_a_trend(warehouse, second):
    trend = read_trend(warehouse, "sales_batch_raw", "unit_price_not_negative")
    assert [(row["run_id"], row["success"], int(row["unexpected_count"])) for row in trend] == [
        ("second", False, 14),
        ("first", True, 0),
    ]
    volumes = read_trend(warehouse, "SALES_BATCH_RAW", "batch_volume_not_multiplied")
    assert {row["subject"]: int(row["observed_value"]) for row in volumes} == {
        **{f"b{n}": 110 + n for n in range(1, 8)},
        "b8": 1100,
        "b9": 14,
    }
    with pytest.raises(WillNotHeal, match="no_such_check has judged nothing"):
        read_trend(warehouse, "SALES_BATCH_RAW", "no_such_check")


def test_rows_that_stopped_a_run_are_judged_until_they_are_gone(warehouse, second):
    passed = warehouse.rows(
        "select max(judged_at) as at from MONITORING.VALIDATION_RESULTS where run_id = 'first'"
    )[0]["at"]
    assert judged_since(warehouse, "raw", "third")["judged_since"] < passed.isoformat(sep=" ")
    # A day later, with nothing new but what stopped the run, it still stops.
    execute(
        warehouse,
        "update MONITORING.VALIDATION_RESULTS set judged_at = dateadd(hour, 2, judged_at) where run_id = 'second'",
    )
    assert set(failed(validate(warehouse, "raw", "third"))) == set(failed(second))


def test_an_unusual_batch_that_is_right_can_be_accepted(warehouse, second):
    check = "SALES_BATCH_RAW.batch_volume_not_multiplied"
    with pytest.raises(WillNotHeal, match="holds nothing against shop b1"):
        accept(warehouse, check, "shop", "b1", "why not")
    accept(warehouse, check, "shop", "b8", "the fair")
    results = validate(warehouse, "raw", "fourth")
    assert set(failed(results)) == {("unit_price_not_negative", None)}
    (told,) = [r for r in results if (r.check_id, r.subject) == ("batch_volume_not_multiplied", "b8")]
    assert told.observed.endswith("accepted: the fair")


def test_no_secret_is_logged_or_written(warehouse, second, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with caplog.at_level(logging.DEBUG):
        validate(warehouse, "raw", "fifth")
        index = build_data_docs(read_run(warehouse, "second"), tmp_path / "data_docs")
    assert len(caplog.records) > 100
    assert SECRET not in "\n".join(f"{r.getMessage()} {r.exc_text or ''}" for r in caplog.records)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert "SALES_BATCH_RAW" in index.read_text()
    (page,) = index.parent.glob("validations/SALES_BATCH_RAW/**/*.html")
    text = re.sub(r"<[^>]+>", " ", page.read_text())
    assert "unit_price_not_negative" in text
    assert "batch_volume_not_multiplied of shop b8" in text
    assert "batch_id b9, file_name b9.csv, file_line 2" in text


def test_a_failed_sign_in_tells_no_secret(warehouse, caplog):
    away = warehouse.model_copy(update={"server_url": "http://127.0.0.1:9"})
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as failure:  # noqa: PT011
        validate(away, "raw", "sixth")
    assert SECRET not in str(failure.value)
    assert SECRET not in caplog.text


def test_every_suite_of_the_candidates_runs_on_what_the_models_promise(warehouse):
    """Empty tables with the columns and types of the marts' contracts: only what counts rows has a complaint."""
    for path in sorted((PROJECT / "dbt/models/marts").rglob("*.yml")):
        (model,) = yaml.safe_load(path.read_text())["models"]
        columns = ", ".join(f"{c['name']} {c['data_type']}" for c in model["columns"])
        execute(warehouse, f"create table MARTS_CANDIDATE.{model['name']} ({columns})")
    results = validate(warehouse, "marts_candidate", "empty")
    assert {r.check_id for r in results if not r.success} == {
        "some_rows",
        "each_dimension_has_its_unknown_member",
    }
    assert len(results) == sum(len(suite["expectations"]) for suite in read_suites("marts_candidate"))


def test_results_of_before_are_carried_over(warehouse):
    """The file can be applied twice, as after a cut; an older table's rows come under today's severities."""
    from tasks.migrations import read_migrations, statements

    migration = next(m for m in read_migrations() if m.version == 8)
    made = statements(migration, {"database": "SALES_DW"})
    execute(warehouse, made[2])
    execute(
        warehouse,
        "insert into MONITORING.CHECK_RESULTS values "
        "('old', 'raw', 'T', 'a', 'critical', true, '{}', '2025-01-01'), "
        "('old', 'raw', 'T', 'b', 'warning', false, '{}', '2025-01-01')",
    )
    for _ in range(2):
        for sql in made:
            execute(warehouse, sql)
    carried = read_run(warehouse, "old")
    assert {(r["check_id"], r["severity"], r["success"]) for r in carried} == {
        ("a", "stop", True),
        ("b", "warn", False),
    }
    assert len(carried) == 2
    tables = warehouse.rows(
        "select table_name from information_schema.tables where table_name = 'CHECK_RESULTS'"
    )
    assert tables == []
