"""The notebooks, cell by cell on local Spark, over batches that the job has written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from blocks.feeds import job_spec, load_contract, load_feed
from blocks.settings import PROJECT
from spark_jobs import sales_batch

NOTEBOOKS = PROJECT / "spark_jobs" / "notebooks"
HEADER = (
    "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
    "quantity,unit_price,currency,ordered_at,updated_at\n"
)
LINE = "A1,{},P1,Lamp,Home,C1,consumer,Spain,{},{},EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z\n"


@pytest.fixture(scope="module")
def processed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two finished batches (b1 of two files, b2 of one) and one that was never finished."""
    folder = tmp_path_factory.mktemp("store")
    contents = {
        "one.csv": LINE.format(1, 2, "1.50") + LINE.format(1, 2, "1.50") + LINE.format(2, 0, "-1"),
        "two.csv": LINE.format(3, 1, "2.00") + LINE.format(4, 0, "1"),
        "three.csv": LINE.format(5, 1, "1"),
    }
    files = []
    for number, (name, lines) in enumerate(contents.items()):
        (folder / name).write_text(HEADER + lines)
        files.append({"uri": f"file://{folder / name}", "name": name, "checksum": f"{number:064d}"})
    feed, contract = load_feed("store_sales"), load_contract()
    for batch_id, part in (("b1", files[:2]), ("b2", files[2:])):
        output = f"file://{folder}/sales_batch/{batch_id}"
        sales_batch.run(spark, job_spec(feed, contract, batch_id, part, output))
    (folder / "sales_batch/b3").mkdir()
    return f"file://{folder}"


def run(spark: SparkSession, notebook: str, **widgets: str) -> list[list[dict[str, Any]]]:
    """Run a notebook's cells as Databricks does; give what it displays, as rows."""
    shown: list[list[dict[str, Any]]] = []

    def local(path: str) -> Path:
        return Path(path.removeprefix("file://"))

    def ls(path: str) -> list[SimpleNamespace]:
        names = sorted(child.name + "/" * child.is_dir() for child in local(path).iterdir())
        return [SimpleNamespace(name=name, path=f"{path}/{name}") for name in names]

    dbutils = SimpleNamespace(
        widgets=SimpleNamespace(text=widgets.setdefault, get=widgets.__getitem__),
        fs=SimpleNamespace(head=lambda path, size: local(path).read_bytes()[:size].decode(), ls=ls),
    )
    names = {
        "spark": spark,
        "dbutils": dbutils,
        "display": lambda frame: shown.append([row.asDict() for row in frame.collect()]),
    }
    title, *cells = (NOTEBOOKS / notebook).read_text().split("# COMMAND ----------\n")
    assert title.startswith("# Databricks notebook source\n")
    for number, cell in enumerate(cells):
        exec(compile(cell, f"{notebook}, cell {number}", "exec"), names)
    return shown


def test_every_notebook_is_run_here() -> None:
    names = {path.name for path in NOTEBOOKS.glob("*.py")}
    assert names == {"inspect_batch.py", "inspect_rejects.py", "inspect_metrics.py"}


def test_a_batch_shows_its_account_and_its_days(spark: SparkSession, processed: str) -> None:
    account, disagreeing, days, lines = run(spark, "inspect_batch.py", processed=processed, batch_id="b1")
    assert [tuple(row.values()) for row in account] == [
        ("one.csv", 3, 1, 1, 1, 0),
        ("two.csv", 2, 1, 1, 0, 0),
    ]
    assert disagreeing == []
    assert [(str(day["day"]), day["lines"], str(day["amount"])) for day in days] == [
        ("2025-01-31", 2, "5.0000")
    ]
    assert [(line["file_name"], line["file_line"]) for line in lines] == [("one.csv", 2), ("two.csv", 2)]


def test_rejects_are_counted_by_rule_and_shown_as_they_came(spark: SparkSession, processed: str) -> None:
    rules, examples = run(spark, "inspect_rejects.py", processed=processed, batch_id="b1")
    assert [tuple(row.values()) for row in rules] == [
        ("quantity_not_zero", "one.csv", 1),
        ("quantity_not_zero", "two.csv", 1),
        ("unit_price_not_negative", "one.csv", 1),
    ]
    assert examples[0]["raw_line"] == LINE.format(2, 0, "-1").strip()
    only = run(
        spark, "inspect_rejects.py", processed=processed, batch_id="b1", rule="unit_price_not_negative"
    )
    assert [len(rows) for rows in only] == [1, 1]


def test_metrics_of_all_batches(spark: SparkSession, processed: str) -> None:
    batches, rules, unfinished = run(spark, "inspect_metrics.py", processed=processed)
    assert [(b["batch_id"], b["files"], b["rows_read"], b["share_quarantined"]) for b in batches] == [
        ("b1", 2, 5, 0.4),
        ("b2", 1, 1, 0.0),
    ]
    assert [tuple(row.values()) for row in rules] == [
        ("quantity_not_zero", 2),
        ("unit_price_not_negative", 1),
    ]
    assert unfinished == [{"batch_id": "b3"}]
