"""Backfill, without a warehouse: what may be asked for, how it is cut, what it is said to take and cost."""

from datetime import date, datetime

import pytest

from blocks.databricks import DatabricksCluster
from blocks.errors import WillNotHeal
from tasks.backfill import Batch, Chunk, into_chunks, is_meant, read_batches, request_for, rules_version
from tasks.backfill_estimate import (
    Measured,
    as_markdown,
    dbu_per_hour,
    estimate,
    read_prices,
    seconds_of_batch,
)
from tasks.landing import LandedFile

DAYS = (date(2025, 3, 1), date(2025, 3, 2))
PRICES = {
    "currency": "USD",
    "price_per_dbu": 0.2,
    "dbu_per_node_hour": {"small": 0.5, "large": 2.0},
    "assumed_start_seconds": 100,
    "assumed_seconds_per_gb": 50,
}
CLUSTER = DatabricksCluster(node_type_id="small", max_workers=3)


def batches(count, gigabytes=1):
    file = LandedFile("a.csv", "c", gigabytes * 10**9, "x/a.csv")
    return [Batch(f"b{n}", [file, file], rows_read=100, rows_valid=90) for n in range(count)]


@pytest.mark.parametrize(
    ("feed", "days", "ids", "reason"),
    [
        ("store_sales", DAYS[::-1], (), "from 2025-03-02 is after to 2025-03-01"),
        ("store_sales", (None, None), (), "both a from and a to date, or the ids"),
        ("store_sales", (DAYS[0], None), (), "both a from and a to date, or the ids"),
        ("no_such_feed", DAYS, (), "no_such_feed"),
    ],
)
def test_what_cannot_be_meant_is_refused(feed, days, ids, reason):
    with pytest.raises(WillNotHeal, match=reason):
        request_for(feed, *days, ids)


def test_a_batch_is_meant_if_one_of_its_files_landed_in_the_range():
    landed = [{"landed_at": datetime(2025, 3, day, 23, 59)} for day in (2, 9)]
    request = request_for("store_sales", *DAYS)
    assert is_meant(request, "b", landed)
    assert not is_meant(request, "b", landed[1:])
    assert not is_meant(request, "b", [{"landed_at": None}])
    assert not is_meant(request_for("store_sales", *DAYS, ("other",)), "b", landed)
    assert is_meant(request_for("store_sales", batches=("b",)), "b", landed[1:])


def test_chunks_are_named_by_request_rules_and_batches():
    request = request_for("store_sales", *DAYS, chunk_size=2)
    chunks = into_chunks(request, "rules", batches(5))
    assert [(c.number, [b.batch_id for b in c.batches]) for c in chunks] == [
        (1, ["b0", "b1"]),
        (2, ["b2", "b3"]),
        (3, ["b4"]),
    ]
    again = {chunk.backfill_id for chunk in chunks + into_chunks(request, "rules", batches(5))}
    others = {
        into_chunks(request, "other rules", batches(5))[0].backfill_id,
        into_chunks(request, "rules", batches(4))[0].backfill_id,
        into_chunks(request_for("store_sales", DAYS[0], DAYS[0]), "rules", batches(5))[0].backfill_id,
    }
    assert (len(again), len(others | again)) == (1, 4)
    assert into_chunks(request, "rules", []) == []


def test_the_rules_have_a_version_per_feed():
    assert rules_version("store_sales") != rules_version("online_retail")


def test_a_plan_is_read_as_it_was_written():
    import json
    from dataclasses import asdict

    assert read_batches(json.dumps([asdict(batch) for batch in batches(2)])) == batches(2)


def test_seconds_are_those_measured_or_assumed():
    assert seconds_of_batch(4 * 10**9, Measured(3, 42.5), PRICES) == 42.5
    assert seconds_of_batch(4 * 10**9, Measured(0, 0), PRICES) == 300


def test_dbu_are_those_of_the_grown_cluster():
    assert dbu_per_hour(CLUSTER, PRICES) == 0.5 * 4
    with_driver = CLUSTER.model_copy(update={"driver_node_type_id": "large"})
    assert dbu_per_hour(with_driver, PRICES) == 2.0 + 3 * 0.5
    assert dbu_per_hour(CLUSTER.model_copy(update={"node_type_id": "unheard_of"}), PRICES) is None


def test_an_estimate_adds_up_what_is_not_done():
    first, *rest = into_chunks(request_for("store_sales", *DAYS, chunk_size=3), "rules", batches(7))
    done = Chunk(first.backfill_id, first.number, first.batches, "done")
    found = estimate([done, *rest], 2, Measured(9, 90.0), CLUSTER, PRICES)
    assert [line["chunk"] for line in found["chunks"]] == [2, 3]
    # Three runs, two at once: 180 s of waiting, 270 s of clusters of 2 DBU an hour at 0.2 USD.
    assert found["chunks"][0] == {
        "chunk": 2,
        "batches": 3,
        "files": 6,
        "bytes": 6 * 10**9,
        "rows": 300,
        "seconds": 180.0,
        "dbu": 0.15,
        "cost": 0.03,
    }
    assert found["total"] == {
        "batches": 4,
        "files": 8,
        "bytes": 8 * 10**9,
        "rows": 400,
        "seconds": 270.0,
        "dbu": 0.2,
        "cost": 0.04,
    }


def test_a_plan_without_a_price_says_so():
    chunks = into_chunks(request_for("store_sales", *DAYS), "rules", batches(1))
    unpriced = CLUSTER.model_copy(update={"node_type_id": "unheard_of"})
    plan = estimate(chunks, 1, Measured(0, 0), unpriced, PRICES)
    assert (plan["total"]["dbu"], plan["total"]["cost"], plan["total"]["seconds"]) == (None, None, 200.0)
    told = as_markdown(
        plan
        | {"feed": "store_sales", "dry_run": True, "unchanged_batches": 2, "estimated_from": "assumptions"}
    )
    assert "dry run" in told
    assert "| all | 1 | 2 | 2000000000 | 100 | 200.0 | ? | ? |" in told


def test_the_price_list_has_what_the_default_cluster_needs():
    assert dbu_per_hour(DatabricksCluster(), read_prices()) == pytest.approx(0.34 * 5)
