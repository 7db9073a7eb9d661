"""The way out of quarantine, whole: a feed with a wrong rule, a late file, the feed mended, the batch replayed."""

import csv
import json
from decimal import Decimal
from functools import partial

import pytest
from typer.testing import CliRunner

from blocks.feeds import load_feed
from cli.app import app
from tasks.publish import table_states

FEED = """
glob: "*.csv"
constants: {{source: corner_shop, currency: EUR}}
columns: {{order_id: receipt, line_number: pos, product_id: article, quantity: qty, unit_price: price,
  ordered_at: sold, updated_at: sold}}
timestamps: {{formats: ["yyyy-MM-dd HH:mm"]}}
rules:
  - {{id: price_usual, column: unit_price, check: at_most, value: {price}, description: "Nothing dear is sold."}}
  - {{id: quantity_usual, column: quantity, check: at_most, value: {quantity}}}
"""
HEADER = "receipt,pos,article,qty,price,sold\n"
DAYS = (
    HEADER
    + """R1,1,apple,2,1.50,2025-03-01 09:00
R1,2,lamp,1,40.00,2025-03-01 09:00
R2,1,pear,60,0.50,2025-03-02 10:00
R2,2,apple,0,1.50,2025-03-02 10:00
R3,1,apple,1,1.50,2025-03-02 11:00
R3,1,apple,1,1.50,2025-03-02 11:00
"""
)
LATE = HEADER + "R4,1,apple,1,3.00,2025-03-01 20:00\n"
SALES = "select * from MARTS.MART_DAILY_SALES order by daily_sales_key"


@pytest.fixture(scope="module")
def declare(tmp_path_factory):
    """Give the pipeline a folder of feeds of its own, in which the feed can be declared and mended."""
    folder = tmp_path_factory.mktemp("feeds")

    def declare(price, quantity):
        (folder / "corner_shop.yml").write_text(FEED.format(price=price, quantity=quantity))

    with pytest.MonkeyPatch.context() as patch:
        for module in ("landing", "databricks", "quarantine"):
            patch.setattr(f"tasks.{module}.load_feed", partial(load_feed, folder=folder))
        patch.setattr("tasks.quarantine.feed_names", lambda: ["corner_shop"])
        yield declare


def sales(pipeline):
    return {row["daily_sales_key"]: row for row in pipeline.warehouse.rows(SALES)}


def net(pipeline):
    rows = [row for row in sales(pipeline).values() if row["source"] == "corner_shop"]
    return {str(row["sales_date"]): row["net_amount"] for row in rows}


def audit(pipeline):
    rows = pipeline.warehouse.rows(
        "select unit_name, rows_read, rows_loaded, rows_quarantined, rows_duplicate from MONITORING.LOAD_AUDIT "
        "where source = 'corner_shop' order by unit_name"
    )
    return [tuple(row.values()) for row in rows]


def sales_command(*arguments):
    result = CliRunner().invoke(app, ["quarantine", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def loaded(pipeline, declare):
    declare(price=10, quantity=100)
    (pipeline.drop("corner_shop") / "days.csv").write_text(DAYS)
    summary = pipeline.run("corner_shop")
    return summary, sales(pipeline), net(pipeline), audit(pipeline)


@pytest.fixture(scope="module")
def late(pipeline, loaded):
    (pipeline.drop("corner_shop") / "late.csv").write_text(LATE)
    pipeline.run("corner_shop")
    return sales(pipeline), net(pipeline)


@pytest.fixture(scope="module")
def replayed(pipeline, declare, late):
    declare(price=100, quantity=50)
    summary = json.loads(sales_command("replay", "--feed", "corner_shop", "--rule", "price_usual", "--json"))
    return summary, net(pipeline), audit(pipeline)


def test_a_wrong_rule_keeps_rows_out(loaded):
    assert loaded[3] == [("days.csv", 6, 3, 2, 1)]
    assert loaded[2] == {"2025-03-01": Decimal("3"), "2025-03-02": Decimal("31.5")}


def test_what_is_quarantined_can_be_listed_shown_and_exported(pipeline, loaded, tmp_path):
    counts = json.loads(sales_command("list", "--feed", "corner_shop", "--json"))
    where = {"feed": "corner_shop", "file": "days.csv", "rows": 1}
    assert counts == [{**where, "rule": "price_usual"}, {**where, "rule": "quantity_not_zero"}]
    (row,) = json.loads(sales_command("show", "--feed", "corner_shop", "--rule", "price_usual", "--json"))
    assert (row["file_line"], row["raw_line"]) == (3, "R1,2,lamp,1,40.00,2025-03-01 09:00")
    assert "R2,2,apple,0,1.50" in sales_command("show", "--rule", "quantity_not_zero", "--file", "days.csv")
    sales_command("export", "--feed", "corner_shop", "--output", str(tmp_path / "rejects.csv"))
    with (tmp_path / "rejects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file_line"], row["reason"]) for row in rows] == [
        ("3", "Nothing dear is sold."),
        ("5", "A line sells or returns at least one unit."),
    ]


def test_a_late_file_changes_its_day_alone(loaded, late):
    before, (after, amounts) = loaded[1], late
    assert amounts == {"2025-03-01": Decimal("6"), "2025-03-02": Decimal("31.5")}
    changed = [row for key, row in after.items() if before.get(key) != row]
    assert [(str(row["sales_date"]), row["source"]) for row in changed] == [("2025-03-01", "corner_shop")]
    assert before.keys() == after.keys()


def test_a_replay_lets_out_what_is_valid_now_and_withdraws_what_is_not(replayed):
    """The lamp appears; sixty pears, which the mended feed does not take, are gone from the marts."""
    summary, amounts, accounts = replayed
    (batch,) = summary["replayed"]
    assert (batch["rows_loaded"], batch["rows_quarantined"], batch["rows_withdrawn"]) == (3, 2, 1)
    assert accounts == [("days.csv", 6, 3, 2, 1), ("late.csv", 1, 1, 0, 0)]
    assert amounts == {"2025-03-01": Decimal("46"), "2025-03-02": Decimal("1.5")}


def test_the_old_batch_is_gone_from_everywhere(pipeline, replayed):
    old, new = replayed[0]["replayed"][0]["replaced"], replayed[0]["replayed"][0]["batch_id"]
    assert old != new
    for table in ("RAW.SALES_BATCH_RAW", "RAW.SALES_QUARANTINE", "MARTS.MART_RECONCILIATION"):
        ids = {row["batch_id"] for row in pipeline.warehouse.rows(f"select distinct batch_id from {table}")}
        assert new in ids
        assert old not in ids
    lines = pipeline.warehouse.rows("select arrival_id from INTERMEDIATE.INT_SALES_LINES")
    assert not [row for row in lines if row["arrival_id"].startswith(old)]
    replays = pipeline.warehouse.rows("select * from MONITORING.REPLAYS where replaced_load_id = %s", (old,))
    assert [(row["load_id"], int(row["rows_withdrawn"])) for row in replays] == [(new, 1)]
    assert replays[0]["rebuilt_at"] is not None


def test_a_replay_under_the_same_rules_changes_nothing(pipeline, replayed):
    before = table_states(pipeline.warehouse, "MARTS")
    summary = json.loads(sales_command("replay", "--feed", "corner_shop", "--json"))
    assert summary["replayed"] == []
    assert "dbt" not in summary["pipeline"]["seconds"]
    assert table_states(pipeline.warehouse, "MARTS") == before
