"""A backfill of two clean batches by a stricter rule: planned, broken off after one, resumed, published once."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from prefect import flow

from blocks.errors import WillNotHeal
from blocks.feeds import load_feed
from tasks import databricks
from tasks.databricks import run_spark_batch
from tasks.landing import land_files
from tasks.publications import history
from tasks.publishing_switch import why_withheld
from tasks.warehouse import load_batch_into_warehouse

FEED = """
glob: "*.csv"
constants: {{source: kiosk, currency: EUR}}
columns: {{order_id: receipt, line_number: pos, product_id: article, quantity: qty, unit_price: price,
  ordered_at: sold, updated_at: sold}}
timestamps: {{formats: ["yyyy-MM-dd HH:mm"]}}
rules:
  - {{id: quantity_usual, column: quantity, check: at_most, value: {quantity}}}
"""
HEADER = "receipt,pos,article,qty,price,sold\n"
DAYS = {
    "monday.csv": "K1,1,apple,2,1.50,2025-03-03 09:00\nK1,2,pear,60,0.50,2025-03-03 09:00\n",
    "tuesday.csv": "K2,1,apple,1,1.50,2025-03-04 09:00\nK2,2,pear,70,0.50,2025-03-04 09:00\n",
}


@pytest.fixture(scope="module")
def declare(tmp_path_factory):
    """Give the pipeline a folder of feeds of its own, in which the feed can be declared and mended."""
    folder = tmp_path_factory.mktemp("feeds")

    def declare(quantity):
        (folder / "kiosk.yml").write_text(FEED.format(quantity=quantity))

    with pytest.MonkeyPatch.context() as patch:
        for module in ("landing", "databricks", "backfill"):
            patch.setattr(f"tasks.{module}.load_feed", partial(load_feed, folder=folder))
        yield declare


@flow(name="load-only")
def load_only():
    landing = land_files("kiosk", 0)
    load_batch_into_warehouse("kiosk", run_spark_batch("kiosk", landing.pending))


def chunks(pipeline):
    rows = pipeline.warehouse.rows(
        "select chunk, status, rows_before, rows_after from MONITORING.BACKFILLS where feed = 'kiosk' order by chunk"
    )
    return [tuple(row.values()) for row in rows]


def loaded(pipeline):
    rows = pipeline.warehouse.rows(
        "select unit_name, rows_loaded, rows_quarantined from MONITORING.LOAD_AUDIT where source = 'kiosk' "
        "order by unit_name"
    )
    return [tuple(row.values()) for row in rows]


@pytest.fixture
def spark_runs(monkeypatch):
    """Note the batches for which Spark is started."""
    started = []
    run = databricks.run_to_the_end

    def noted(credentials, cluster, submission, logger):
        started.append(submission["idempotency_token"])
        return run(credentials, cluster, submission, logger)

    monkeypatch.setattr(databricks, "run_to_the_end", noted)
    return started


def test_a_backfill_that_broke_off_is_finished_and_published_once(pipeline, declare, spark_runs, monkeypatch):
    from flows import backfill_sales as module

    backfill = partial(module.backfill_sales, "kiosk", chunk_size=1, settle_seconds=0)
    declare(quantity=100)
    for name, lines in DAYS.items():
        (pipeline.drop("kiosk") / name).write_text(HEADER + lines)
        load_only()
    assert loaded(pipeline) == [("monday.csv", 2, 0), ("tuesday.csv", 2, 0)]
    today = datetime.now(UTC).date()
    assert backfill(today, today)["plan"]["unchanged_batches"] == 2

    declare(quantity=50)
    before, spark_before = len(history(pipeline.warehouse)), len(spark_runs)
    plan = backfill(today, today)["plan"]
    assert [(c["batches"], c["files"], c["rows"]) for c in plan["chunks"]] == [(1, 1, 2), (1, 1, 2)]
    assert plan["total"]["bytes"] == sum(len(HEADER + lines) for lines in DAYS.values())
    assert (chunks(pipeline), len(spark_runs)) == ([], spark_before)

    def refuse_the_second(feed, metrics, replaces):
        if len(spark_runs) == spark_before + 2:
            raise WillNotHeal("The warehouse is closed.")
        return load_batch_into_warehouse(feed, metrics, replaces=replaces)

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_batch_into_warehouse", refuse_the_second)
        with pytest.raises(WillNotHeal, match=r"1 of 2 chunks .* chunk 2: The warehouse is closed"):
            backfill(today, today, dry_run=False)
    assert chunks(pipeline) == [(1, "done", 2, 1), (2, "failed", 2, None)]
    assert "kiosk: 1 chunks left" in why_withheld(pipeline.warehouse)
    assert len(history(pipeline.warehouse)) == before
    with pytest.raises(WillNotHeal, match="is unfinished"):
        backfill(today.replace(year=today.year - 1), today, dry_run=False)

    done = backfill(today, today, dry_run=False)
    assert done["plan"]["done_chunks"] == [1]
    assert (
        len(spark_runs) == spark_before + 2
    )  # the second batch's Spark run had succeeded, and is not repeated
    assert chunks(pipeline) == [(1, "done", 2, 1), (2, "done", 2, 1)]
    assert loaded(pipeline) == [("monday.csv", 1, 1), ("tuesday.csv", 1, 1)]
    assert why_withheld(pipeline.warehouse) == ""
    assert len(history(pipeline.warehouse)) == before + 1
    sold = pipeline.warehouse.rows(
        "select net_amount from MARTS.MART_DAILY_SALES where source = 'kiosk' order by sales_date"
    )
    assert [row["net_amount"] for row in sold] == [Decimal("3"), Decimal("1.5")]
    assert backfill(today, today, dry_run=False)["loaded"] == []
    assert len(history(pipeline.warehouse)) == before + 1
