"""Loading a batch: what COPY reports is what the audit says, half a load is invisible, a replaced batch is gone."""

import json
import os
import subprocess
import sys
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blocks.errors import WillNotHeal
from blocks.feeds import job_spec, load_contract, load_feed
from tasks.landing import RECORD, LandedFile, pending_files
from tasks.quarantine import (
    LoadedBatch,
    RejectCount,
    Selection,
    batches_with_rejects,
    count_rejects,
    read_rejects,
)
from tasks.warehouse import LoadResult, load_batch

IDLE_SECONDS = 1.5
VALID = pa.schema(
    {
        **dict.fromkeys(("source", "order_id"), pa.string()),
        "line_number": pa.int64(),
        "product_id": pa.string(),
        "quantity": pa.int32(),
        "unit_price": pa.decimal128(18, 4),
        "currency": pa.string(),
        **dict.fromkeys(("ordered_at", "updated_at"), pa.timestamp("us")),
        **dict.fromkeys(("batch_id", "file_name"), pa.string()),
        "file_line": pa.int64(),
    }
)
REJECTED = pa.schema(
    {
        **dict.fromkeys(("source", "batch_id", "file_name"), pa.string()),
        "file_line": pa.int64(),
        **dict.fromkeys(("rule_ids", "raw_line"), pa.string()),
    }
)
DAY = datetime(2025, 1, 31)
# Loads as the pipeline does, and stops for good between the COPYs and the COMMIT.
HALF_A_LOAD = """
import json, sys, time
import tasks.warehouse
from blocks.warehouse import SalesWarehouse

def stop(*_):
    print("copied", flush=True)
    time.sleep(600)

tasks.warehouse._write_audit = stop
warehouse = SalesWarehouse.model_validate_json(sys.argv[1])
tasks.warehouse.load_batch(warehouse, "store_sales", json.loads(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    return tmp_path_factory.mktemp("processed")


@pytest.fixture(scope="module")
def warehouse(serve_warehouse, processed):
    return serve_warehouse(f"file://{processed}/", "--idle-seconds", str(IDLE_SECONDS))


@pytest.fixture(autouse=True)
def clean(warehouse):
    with warehouse.session() as connection, connection.cursor() as cursor:
        for table in ("RAW.SALES_BATCH_RAW", "RAW.SALES_QUARANTINE"):
            cursor.execute(f"delete from {table}")
        for table in ("LOAD_AUDIT", "LANDED_FILES", "REPLAYS"):
            cursor.execute(f"delete from MONITORING.{table}")


@pytest.fixture
def batch(processed):
    """Write a batch as Spark leaves it: lines are {order: day told}, rejects {line: rule ids}; give its metrics."""

    def write(batch_id, lines, rejects=None, files=2):
        valid = [
            ("store", order, 1, "p", 1, Decimal(2), "EUR", DAY, told, batch_id, "day.csv", number)
            for number, (order, told) in enumerate(lines.items(), 2)
        ]
        bad = [
            ("store", batch_id, "day.csv", line, rules, f"raw {line}")
            for line, rules in (rejects or {}).items()
        ]
        for folder, rows, schema in (("valid", valid, VALID), ("quarantine", bad, REJECTED)):
            target = processed / "sales_batch" / batch_id / folder
            target.mkdir(parents=True, exist_ok=True)
            table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
            for part in range(files):
                pq.write_table(
                    table.slice(part, 1) if part < files - 1 else table.slice(part),
                    target / f"{part}.parquet",
                )
        totals = {"rows_read": len(valid) + len(bad) + 1, "rows_valid": len(valid)}
        totals |= {"rows_quarantined": len(bad), "rows_duplicate": 1}
        file = {"name": "day.csv", "checksum": f"of {batch_id}", **totals}
        return {"batch_id": batch_id, "files": [file], "totals": totals}

    return write


def counted(warehouse):
    sql = "select batch_id, count(*) as n from {} group by batch_id order by batch_id"
    tables = ("RAW.SALES_BATCH_RAW", "RAW.SALES_QUARANTINE")
    return [[tuple(row.values()) for row in warehouse.rows(sql.format(table))] for table in tables]


def audited(warehouse):
    rows = warehouse.rows(
        "select load_id, rows_read, rows_loaded, rows_quarantined, rows_duplicate from MONITORING.LOAD_AUDIT"
    )
    return [tuple(row.values()) for row in rows]


def test_the_audit_agrees_with_what_copy_reported(warehouse, batch):
    metrics = batch("b1", dict.fromkeys("abc", DAY), {9: "quantity_not_zero"})
    for _ in range(2):
        assert load_batch(warehouse, "store_sales", metrics) == LoadResult(3, 1, 0)
        assert counted(warehouse) == [[("b1", 3)], [("b1", 1)]]
        assert audited(warehouse) == [("b1", 5, 3, 1, 1)]


def test_a_file_is_audited_under_the_name_that_its_rows_carry(warehouse, batch):
    metrics = batch("b1", {"a": DAY})
    names = [("day.csv", "a" * 64), ("day.csv", "b" * 64), ("other.csv", "c" * 64)]
    files = [metrics["files"][0] | {"name": name, "checksum": checksum} for name, checksum in names]
    load_batch(warehouse, "store_sales", metrics | {"files": files})
    rows = warehouse.rows("select unit_name from MONITORING.LOAD_AUDIT order by unit_name")
    order = job_spec(
        load_feed("store_sales"),
        load_contract(),
        "b1",
        [{"uri": "", **file} for file in files],
        "file:///out",
    )
    assert [row["unit_name"] for row in rows] == sorted(file["file_name"] for file in order["files"])
    assert rows[0]["unit_name"] == "day.csv (aaaaaaaaaaaaaaaa)"


def test_a_batch_without_a_row_loads(warehouse, batch):
    assert load_batch(warehouse, "store_sales", batch("empty", {}, files=0)) == LoadResult(0, 0, 0)
    assert load_batch(warehouse, "store_sales", batch("none", {}, files=1)) == LoadResult(0, 0, 0)
    assert [row[1:] for row in audited(warehouse)] == [(1, 0, 0, 1)] * 2


def test_a_file_that_another_batch_has_loaded_is_not_loaded_twice(warehouse, batch):
    load_batch(warehouse, "store_sales", batch("first", {"a": DAY}))
    second = batch("second", {"a": DAY, "b": DAY})
    second["files"][0]["checksum"] = "of first"
    with pytest.raises(WillNotHeal, match=r"Files of batch second were loaded meanwhile by first"):
        load_batch(warehouse, "store_sales", second)
    assert counted(warehouse) == [[("first", 1)], []]


def test_copy_that_reports_other_rows_than_spark_loads_nothing(warehouse, batch):
    metrics = batch("b1", dict.fromkeys("abc", DAY))
    load_batch(warehouse, "store_sales", metrics)
    metrics["totals"]["rows_valid"] = 4
    with pytest.raises(WillNotHeal, match=r"Spark wrote .*'valid': 4.*loaded .*'valid': 3.*Nothing was"):
        load_batch(warehouse, "store_sales", metrics)
    assert counted(warehouse) == [[("b1", 3)], []]
    assert audited(warehouse) == [("b1", 4, 3, 0, 1)]


def test_a_load_killed_before_its_commit_was_never_there(warehouse, batch):
    load_batch(warehouse, "store_sales", batch("b1", dict.fromkeys("ab", DAY)))
    metrics = batch("b1", dict.fromkeys("abcde", DAY), {9: "malformed_row"})
    secrets = {"credentials": {"account": "local", "user": "u", "password": "p"}}
    block = json.dumps(json.loads(warehouse.model_dump_json()) | secrets)
    loading = subprocess.Popen(
        [sys.executable, "-c", HALF_A_LOAD, block, json.dumps(metrics)],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        assert loading.stdout.readline() == "copied\n"
        assert counted(warehouse) == [[("b1", 2)], []]
    finally:
        loading.kill()
        loading.wait(10)
    assert counted(warehouse) == [[("b1", 2)], []]
    assert audited(warehouse) == [("b1", 3, 2, 0, 1)]
    assert load_batch(warehouse, "store_sales", metrics) == LoadResult(5, 1, 0)
    assert counted(warehouse) == [[("b1", 5)], [("b1", 1)]]
    assert audited(warehouse) == [("b1", 7, 5, 1, 1)]


@pytest.mark.parametrize(
    ("lines", "withdrawn"),
    [
        ({"a": DAY, "b": DAY, "c": DAY}, 0),
        ({"a": DAY, "c": DAY}, 1),
        ({"a": DAY, "b": datetime(2025, 1, 30), "c": DAY}, 1),
    ],
    ids=["more", "one is invalid now", "one was told earlier"],
)
def test_a_batch_takes_the_place_of_another(warehouse, batch, lines, withdrawn):
    old = batch("old", {"a": DAY, "b": DAY}, {4: "currency_known"})
    load_batch(warehouse, "store_sales", old)
    load_batch(warehouse, "store_sales", batch("other", {"z": DAY}))
    new = batch("new", lines)
    assert load_batch(warehouse, "store_sales", new, replaces="old") == LoadResult(len(lines), 0, withdrawn)
    assert counted(warehouse) == [[("new", len(lines)), ("other", 1)], []]
    assert sorted(row[0] for row in audited(warehouse)) == ["new", "other"]
    assert load_batch(warehouse, "store_sales", new, replaces="old").rows_loaded == len(lines)
    replays = warehouse.rows(
        "select replaced_load_id, load_id, rows_quarantined_before, rows_quarantined_after, rows_withdrawn "
        "from MONITORING.REPLAYS"
    )
    assert [tuple(row.values()) for row in replays] == [("old", "new", 1, 0, withdrawn)]


def test_rejects_are_counted_shown_and_chosen(warehouse, batch):
    load_batch(
        warehouse, "store_sales", batch("b1", {"a": DAY}, {3: "currency_known", 4: "currency_known,x"})
    )
    load_batch(warehouse, "online_retail", batch("b2", {"b": DAY}, {5: "currency_known"}))
    load_batch(warehouse, "store_sales", batch("b3", {"c": DAY}))
    count = lambda **chosen: count_rejects(warehouse, Selection(**chosen))  # noqa: E731
    assert count() == [
        RejectCount("online_retail", "currency_known", "day.csv", 1),
        RejectCount("store_sales", "currency_known", "day.csv", 2),
        RejectCount("store_sales", "x", "day.csv", 1),
    ]
    assert count(rule="x") == [RejectCount("store_sales", "x", "day.csv", 1)]
    assert count(rule="currency") == count(file="day") == count(since=datetime(2100, 1, 1)) == []
    assert len(count(feed="store_sales", since=datetime(2020, 1, 1))) == 2
    rows = list(read_rejects(warehouse, Selection(feed="store_sales")))
    assert [(row["file_line"], row["rule_ids"], row["raw_line"]) for row in rows] == [
        (3, "currency_known", "raw 3"),
        (4, "currency_known,x", "raw 4"),
    ]
    assert rows[1]["reason"] == "Only currencies the warehouse can convert.; x"
    assert len(list(read_rejects(warehouse, Selection(), limit=2))) == 2


def test_a_batch_to_replay_is_known_by_all_of_its_files(warehouse, batch):
    metrics = batch("b1", {"a": DAY}, {3: "currency_known"})
    clean = metrics["files"][0] | {"name": "clean.csv", "checksum": "c2"}
    load_batch(warehouse, "store_sales", metrics | {"files": [*metrics["files"], clean]})
    with pytest.raises(WillNotHeal, match=r"Batch b1 cannot be replayed: .* checksum (c2|of b1)"):
        batches_with_rejects(warehouse, Selection("store_sales"))
    files = [LandedFile(f"{c}.csv", c, 7, f"store_sales/{c}/{c}.csv") for c in ("c2", "of b1")]
    with warehouse.session() as connection, connection.cursor() as cursor:
        rows = [vars(file) | {"reason": None} for file in files]
        cursor.execute(RECORD, {"feed": "store_sales", "files": json.dumps(rows)})
    assert batches_with_rejects(warehouse, Selection("store_sales", rule="currency_known")) == [
        LoadedBatch("b1", files)
    ]
    assert batches_with_rejects(warehouse, Selection("store_sales", rule="malformed_row")) == []
    from blocks.feeds import load_feed

    assert pending_files(warehouse, load_feed("store_sales")) == []
