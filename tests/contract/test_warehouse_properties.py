"""Line history and versions are the brute-force answer after every load; incremental loads equal a full refresh.

One database takes hundreds of random histories through a first build and ten incremental ones, two of which break
off, and is then built in full. For other histories change SEED; everything else follows from it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.architecture.snowflake_sql import offences
from tests.contract.history_oracle import Rows, Telling, expected, rejects, sales_lines
from tests.contract.history_world import QUERIES, World
from tests.contract.random_histories import (
    LAST,
    STARTS,
    Delivery,
    History,
    Plan,
    deliver,
    drawn,
    histories,
    in_raw,
)

SEED = 1
HISTORIES = 200
TOLD = Telling(
    *("", "A1", 1, "P1", "LAMP", None, "C1", "consumer", "France", 1, Decimal(2), "EUR"),
    *(datetime(2025, 1, 1), datetime(2025, 5, 1)),
)


def moving(name: str, *changes: dict[str, Any]) -> tuple[str, tuple[History, Plan]]:
    """A history by hand: one line, told anew in load 0, 3, 6 … with something else each time."""
    line = [replace(TOLD, updated_at=datetime(2025, 5, n), **new) for n, new in enumerate(changes, 1)]
    plan = Plan(tuple(Delivery(n, 3 * n, "batch", False, 0, 0) for n in range(len(line))))
    return name, (History(tuple(line), (plan,)), plan)


# What random histories cannot show, as they share it: the years of all sales, and what is left without any.
BY_HAND = dict(
    [
        moving("first_year_goes", {"ordered_at": datetime(2019, 1, 1)}, {}),
        moving("last_year_goes", {"ordered_at": datetime(2031, 1, 1)}, {}),
        moving("customer_goes", {}, {"customer_id": "C2"}, {"customer_id": None}),
        moving("product_goes", {"product_id": "P9"}, {}),
        moving("sale_becomes_a_return", {}, {"quantity": -1}, {}),
    ]
)


@pytest.fixture(scope="module")
def world(serve_warehouse: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("properties")
    sources = {
        f"h{number:03}{'abc'[way]}": (history, plan)
        for number, history in enumerate(drawn(HISTORIES, SEED))
        for way, plan in enumerate(history.plans)
    } | BY_HAND
    world = World(serve_warehouse(f"file://{folder}/"), folder, sources, deliver(sources, SEED))
    world.live()
    return world


def test_the_histories_hold_what_they_are_to_prove(world):
    """Late, doubled, rewritten and reloaded rows, by both channels, in every load; corrections of all kinds."""
    arrivals = [a for load in world.loads for a in (*load.lines, *load.events)]
    assert len(world.sources) > HISTORIES
    assert all(len(load.lines) > 50 and len(load.events) > 50 for load in world.loads)
    assert sum(a.arrived_at < STARTS[load.number - 1] for load in world.loads[1:] for a in load.lines) > 100
    assert len(arrivals) - len({(a.place, a.position) for a in arrivals}) > 100
    assert len(sales_lines(arrivals)) * 2 < len(arrivals)
    assert len(rejects(arrivals)) > 20


@pytest.mark.parametrize("table", QUERIES)
def test_a_table_is_the_brute_force_answer_after_every_load(world, table):
    for load, (missing, extra) in sorted(world.differences[table].items()):
        pytest.fail(f"{table} after load {load}: {world.smallest(missing, extra, load)}")


def test_ten_incremental_loads_equal_a_full_refresh_row_by_row(world):
    assert len(world.loads) == LAST + 1 == 11
    assert len(world.refreshed) >= 15
    (facts_,) = [rows for table, rows in world.refreshed.items() if ".FCT_SALES " in table]
    assert sum(facts_.values()) > 500
    found = []
    assert set(world.incremental) == set(world.refreshed)
    for table, rows in world.refreshed.items():
        missing, extra = rows - world.incremental[table], world.incremental[table] - rows
        if missing or extra:
            found.append(f"{table}: {world.smallest(missing, extra, LAST)}")
    assert not found, "\n\n".join(found)


def test_what_an_incremental_run_asks_is_snowflakes_sql(world):
    """The other half of each incremental model; tests/contract/test_dbt_sql.py judges the first."""
    models = world.compiled()
    assert len(models) >= 20
    assert "where pushed_at >=" in models["int_sales_events"]
    assert {name: found for name, sql in models.items() if (found := offences(sql))} == {}


def test_two_ways_to_deliver_the_same_changes_come_to_the_same(world):
    """Where no two changes of a line tie, neither order, delay, doubling nor channel shows in the result."""
    pairs = [source[:-1] for source in world.sources if source[0] == "h" and source[-1] == "b"]
    assert len(pairs) > HISTORIES / 4
    for table, width in {"int_sales_lines": len(astuple(TOLD)), "dim_customer": 7, "dim_product": 7}.items():
        told: dict[str, Rows] = defaultdict(Counter)
        for row in world.found[table].elements():
            told[row[0]][row[1:width]] += 1
        assert [pair for pair in pairs if told[f"{pair}a"] != told[f"{pair}b"]] == [], table


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_the_oracle_itself_knows_no_order_and_leaves_no_gap(history, shuffled):
    arrivals = in_raw(deliver({"s": (history, history.plans[0])}, 0))
    answer = expected(arrivals)
    shuffled.shuffle(arrivals)
    assert expected(arrivals) == answer
    for entity in ("dim_customer", "dim_product"):
        members = defaultdict(list)
        for row in sorted(answer[entity], key=lambda row: row[4]):
            members[row[1]].append(row)
        for its in members.values():
            assert [row[5] for row in its[:-1]] == [row[4] for row in its[1:]]
            assert [row[6] for row in its] == [False] * (len(its) - 1) + [True]
            assert all(row[2:4] != following[2:4] for row, following in pairwise(its))
