"""Poisoned data never reaches readers: each poison is caught by a named check, told once, and gone with its cause.

The shop of this module delivers straight into RAW, past the rules that Spark would have held its lines against.
"""

import json
import re
import time
from datetime import date, timedelta

import pytest
from prefect import flow
from typer.testing import CliRunner

from blocks.errors import WillNotHeal
from cli.app import app
from tasks.alerts import tell_of_failure
from tasks.expectations import check_layer
from tasks.publish import table_states

SHOP, FIRST_DAY, DAYS, LINES = "stall", date(2025, 3, 3), 12, 30
# One line a minute from `start` on; two deliveries of the same day and start are the same sales.
DELIVERY = """
insert into RAW.SALES_BATCH_RAW (source, order_id, line_number, product_id, product_name, customer_id, country,
    quantity, unit_price, currency, ordered_at, updated_at, batch_id, file_name, file_line, loaded_at)
select %(source)s, %(orders)s || n::varchar, 1, 'P' || mod(n, 7)::varchar, 'Paper', 'C' || mod(n, 11)::varchar, 'Spain',
    1 + mod(n, 3), %(price)s, 'EUR', dateadd(minute, n + %(start)s, %(day)s::timestamp_ntz),
    dateadd(minute, n + %(start)s, %(day)s::timestamp_ntz), %(batch)s, %(batch)s || '.csv', n + 2, sysdate()
from (select row_number() over (order by seq4()) - 1 as n from table(generator(rowcount => {lines})))
"""
AUDIT = """
insert into MONITORING.LOAD_AUDIT (load_id, unit_kind, unit_name, source, checksum, rows_read, rows_loaded,
    rows_quarantined, rows_duplicate, loaded_at)
select %(batch)s, 'file', %(batch)s || '.csv', %(source)s, %(batch)s, {lines}, {lines}, 0, 0, sysdate()
"""
NO_MEMBER = """
insert into MARTS_CANDIDATE.FCT_SALES
select * replace ('orphan' as sales_key, 'nobody' as product_key)
from MARTS_CANDIDATE.FCT_SALES where source = 'stall' limit 1
"""


def execute(pipeline, *statements, parameters=None):
    with pipeline.warehouse.session() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, parameters)


def day(number):
    return FIRST_DAY + timedelta(number)


def deliver(pipeline, batch, number, lines=LINES, price="10", orders=None, start=480):
    """Load a file of the shop's sales of a day, accounted for as every load is."""
    values = {"source": SHOP, "orders": orders or f"{batch}-", "batch": batch, "day": str(day(number))}
    filled = (DELIVERY.format(lines=lines), AUDIT.format(lines=lines))
    execute(pipeline, *filled, parameters=values | {"price": price, "start": start})


def withdraw(pipeline, batch):
    execute(
        pipeline,
        f"delete from RAW.SALES_BATCH_RAW where batch_id = '{batch}'",
        f"delete from MONITORING.LOAD_AUDIT where load_id = '{batch}'",
    )


def validations(*arguments):
    result = CliRunner().invoke(app, ["validations", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@flow(name="gate", on_failure=[tell_of_failure])
def gate(layer):
    """The gate alone, telling Slack as the main flow does."""
    return [result.name for result in check_layer(layer) if result.stops]


@pytest.fixture(scope="module")
def published(pipeline):
    """Twelve ordinary days, published."""
    for number in range(DAYS):
        deliver(pipeline, f"stall-{day(number)}", number, lines=LINES + number % 3)
    summary = pipeline.run("store_sales")
    assert summary["marts"]["fct_sales"]["rows"] >= DAYS * LINES
    return summary


@pytest.fixture
def caught(pipeline, published):
    """Run something that must be stopped; give the message that Slack got, with MARTS as they were."""

    def run(action):
        marts, told = table_states(pipeline.warehouse, "MARTS"), pipeline.slack()
        with pytest.raises(WillNotHeal) as stopped:
            action()
        assert table_states(pipeline.warehouse, "MARTS") == marts
        run_id = re.search(r"sales validations show ([0-9a-f-]{36})", str(stopped.value))
        assert pipeline.told(run_id[1])
        time.sleep(1)
        (message,) = [text for text in pipeline.slack()[len(told) :] if "recovered" not in text]
        assert "the marts stay as they were" in message
        assert message.endswith("Runbook: docs/runbooks/quality-gate-failed.md")
        return message

    return run


def assert_told(message, layer, check, rows):
    """Slack is told the check, how many rows, and where to look."""
    assert f"{check}" in message
    assert rows in message
    assert re.search(r"sales validations show [0-9a-f-]{36}", message)
    assert f"artifact validation-{layer}" in message
    assert "C1" not in message  # nobody's customer number


def test_negative_prices_that_slipped_past_spark(pipeline, caught):
    deliver(pipeline, "negative", DAYS, lines=3, price="-10")
    message = caught(lambda: pipeline.run("store_sales"))
    assert "run-sales-pipeline Failed" in message
    assert_told(message, "raw", "SALES_BATCH_RAW.unit_price_not_negative", "3 of ")
    assert "batch_id negative, file_name negative.csv, file_line 2" in message
    (run_id,) = set(re.findall(r"sales validations show ([0-9a-f-]{36})", message))
    (shown,) = [row for row in validations("show", run_id) if row["severity"] == "stop"]
    assert (shown["check_id"], shown["unexpected_count"]) == ("unit_price_not_negative", 3)
    assert [key["file_line"] for key in shown["sample_keys"]] == [2, 3, 4]
    newest = validations("list")[0]
    assert (newest["run_id"], newest["layer"], newest["stopping"]) == (run_id, "raw", 1)
    values = [row["success"] for row in validations("trend", "SALES_BATCH_RAW.unit_price_not_negative")]
    assert values[:2] == [False, True]
    withdraw(pipeline, "negative")
    assert gate("raw") == []


def test_the_same_sales_under_another_name_and_other_order_numbers(pipeline, caught):
    deliver(pipeline, "original", DAYS - 1, lines=60, start=900)
    assert gate("raw") == []
    deliver(pipeline, "copy", DAYS - 1, lines=60, start=900)
    message = caught(lambda: gate("raw"))
    # Both are new to the gate, which does not know which of them is the right one.
    assert_told(message, "raw", "SALES_BATCH_FILES.no_file_under_other_order_numbers", "2 of ")
    withdraw(pipeline, "copy")
    assert gate("raw") == []
    withdraw(pipeline, "original")


def test_ten_times_the_volume(pipeline, caught):
    deliver(pipeline, "tenfold", DAYS, lines=10 * LINES)
    message = caught(lambda: gate("raw"))
    assert_told(message, "raw", "SALES_BATCH_RAW.batch_volume_not_multiplied", "300 of 300 rows")
    assert "lines of fullest day 300, usual is at most 200 (median 31 of 1" in message
    withdraw(pipeline, "tenfold")
    assert gate("raw") == []


def test_a_fact_without_a_member(pipeline, caught):
    execute(pipeline, NO_MEMBER)
    message = caught(lambda: gate("marts_candidate"))
    assert_told(message, "marts-candidate", "FCT_SALES_MEMBERS.each_fact_has_its_product", "product: 1 rows")
    execute(pipeline, "delete from MARTS_CANDIDATE.FCT_SALES where sales_key = 'orphan'")
    assert gate("marts_candidate") == []


def test_a_missing_day_and_then_the_next_clean_run_publishes(pipeline, caught, published):
    missing, last = DAYS, DAYS + 1
    deliver(pipeline, f"stall-{day(last)}", last)
    message = caught(lambda: pipeline.run("store_sales"))
    assert_told(
        message,
        "marts-candidate",
        f"MART_DAILY_SALES.no_day_missing (stall {day(missing)})",
        "31 of 31 rows missing",
    )
    deliver(pipeline, f"stall-{day(missing)}", missing)
    marts = pipeline.run("store_sales")["marts"]
    more = {
        name: marts[name]["rows"] - published["marts"][name]["rows"] for name in ("fct_sales", "fct_orders")
    }
    assert more == {"fct_sales": 2 * LINES, "fct_orders": 2 * LINES}
    sold = pipeline.warehouse.rows(
        "select sales_date, sum(line_count) as n from MARTS.MART_DAILY_SALES where source = %s group by 1 order by 1",
        (SHOP,),
    )
    counts = [LINES + n % 3 for n in range(DAYS)] + [LINES] * 2
    assert {row["sales_date"]: int(row["n"]) for row in sold} == {day(n): c for n, c in enumerate(counts)}
