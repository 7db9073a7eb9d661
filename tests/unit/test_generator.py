"""The made-up shop: repeatable, shaped like real sales, and honest about its faults."""

import csv
from collections import Counter, defaultdict
from datetime import date
from itertools import accumulate
from pathlib import Path

import pytest
import yaml

from blocks.settings import PROJECT
from streaming.generator import START, STORE_COLUMNS, sale_events, sale_lines, write_store_files
from streaming.schema import event_fault
from streaming.shop import MARKETS, Line, Shares, catalogue, split

COUNT, DAYS = 20_000, 60


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return list(sale_lines(7, COUNT, START, DAYS, "web_shop"))


def key(line: Line) -> tuple[str, str, int]:
    return line["source"], line["order_id"], line["line_number"]


def test_lines_have_the_contracts_columns_and_the_asked_count(lines):
    contract = yaml.safe_load((PROJECT / "spark_jobs" / "contract.yml").read_text())
    assert len(lines) == COUNT
    assert {tuple(line) for line in lines} == {tuple(contract["columns"])}
    assert tuple(contract["columns"])[1:] == STORE_COLUMNS


def test_same_seed_same_sales_other_seed_other_sales(lines):
    assert list(sale_lines(7, COUNT, START, DAYS, "web_shop")) == lines
    other = list(sale_lines(8, COUNT, START, DAYS, "web_shop"))
    assert not {key(line) for line in other} & {key(line) for line in lines}


def test_every_day_sells_and_the_week_and_the_day_have_their_shape(lines):
    days = Counter(date.fromisoformat(line["ordered_at"][:10]) for line in lines)
    assert len(days) == DAYS
    weekdays = Counter({day.weekday(): count for day, count in days.items()})
    assert weekdays[5] > 1.8 * weekdays[6]
    hours = Counter(int(line["ordered_at"][11:13]) for line in lines)
    assert hours[19] > 5 * hours[6]
    assert hours[3] == 0


def test_orders_have_one_to_six_lines_of_one_customer_in_one_currency(lines):
    currencies = {country: currency for country, currency, _ in MARKETS}
    orders = defaultdict(list)
    for line in lines:
        orders[line["order_id"]].append(line)
        assert line["currency"] == currencies[line["country"]]
    assert {len({line["line_number"] for line in order}) for order in orders.values()} == {1, 2, 3, 4, 5, 6}
    assert {len({line["customer_id"] for line in order}) for order in orders.values()} == {1}


def test_about_60_products_in_8_categories_all_of_them_sold(lines):
    products = catalogue()
    assert len(products) == 60
    assert len({product.category for product in products}) == 8
    assert {line["product_id"] for line in lines} == {product.id for product in products}


def test_customers_change_over_time(lines):
    seen = defaultdict(set)
    for line in lines:
        if line["customer_id"]:
            seen[line["customer_id"]].add((line["customer_segment"], line["country"]))
    changed = sum(len(states) > 1 for states in seen.values())
    assert 0.05 < changed / len(seen) < 0.3


def test_returns_unknown_customers_corrections_and_late_lines_have_their_shares(lines):
    returns = [line for line in lines if line["quantity"] < 0]
    assert 0.02 < len(returns) / COUNT < 0.035
    assert 0.03 < sum(line["customer_id"] is None for line in lines) / COUNT < 0.05
    told, latest, late = {}, "", 0
    corrections = 0
    for line in lines:
        corrections += line["updated_at"] > line["ordered_at"]
        late += line["ordered_at"][:10] < latest[:10] and line["updated_at"] == line["ordered_at"]
        latest = max(latest, line["updated_at"])
        told.setdefault(key(line), []).append(line)
    assert 0.01 < corrections / COUNT < 0.03
    assert 0.005 < late / COUNT < 0.03
    repeated = [versions for versions in told.values() if len(versions) > 1]
    assert all(len({version["updated_at"] for version in versions}) == len(versions) for versions in repeated)
    assert len(repeated) > 0.01 * COUNT


def test_shares_of_returns_and_late_lines_are_chosen():
    lines = list(sale_lines(7, 5_000, START, 30, "web_shop", Shares(returns=0.3, late=0)))
    assert 0.15 < sum(line["quantity"] < 0 for line in lines) / 5_000 < 0.3
    none = list(sale_lines(7, 5_000, START, 30, "web_shop", Shares(returns=0, late=0.5)))
    assert all(line["quantity"] > 0 for line in none)

    def late(lines: list[Line]) -> float:
        told = [line["updated_at"][:10] for line in lines]
        return sum(day < latest for day, latest in zip(told, accumulate(told, max), strict=True)) / len(told)

    assert late(none) > 0.3 > 10 * late(lines)


def test_events_are_good_except_for_exactly_the_faults_asked_for():
    events = list(sale_events(3, 5_000, duplicates=40, invalid_json=7, contract_breaks=11))
    assert len(events) == 5_058
    raw = [event for event in events if isinstance(event, bytes)]
    faults = Counter(event_fault(event) is None for event in events if not isinstance(event, bytes))
    assert len(raw) == 7
    assert all(event_fault(event).startswith("not JSON") for event in raw)
    assert faults == {True: 5_040, False: 11}
    ids = Counter(event["event_id"] for event in events if not isinstance(event, bytes))
    assert sum(count - 1 for count in ids.values()) == 40
    assert {event["event_type"] for event in events if not isinstance(event, bytes)} == {"sale", "return"}


def test_a_few_events_over_many_days_are_still_exactly_so_many():
    assert len(list(sale_events(1, 10))) == 10
    assert len(list(sale_events(1, 1))) == 1


@pytest.mark.parametrize(("total", "weights"), [(10, [1, 1, 1]), (0, [1, 2]), (7, [0.1, 0.9]), (1, [1] * 30)])
def test_split_adds_up(total, weights):
    parts = split(total, weights)
    assert sum(parts) == total
    assert all(
        abs(part - total * weight / sum(weights)) <= 1 for part, weight in zip(parts, weights, strict=True)
    )


def test_store_files_hold_what_the_truth_says(tmp_path: Path):
    truths = write_store_files(tmp_path, seed=5, files=3, rows=6_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(truths)
    assert sum(truth.rows_read for truth in truths.values()) == 6_000
    for name, truth in truths.items():
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert tuple(header) == STORE_COLUMNS
        assert (
            len(rows) == truth.rows_read == truth.rows_valid + truth.rows_quarantined + truth.rows_duplicate
        )
        assert len(rows) - len({tuple(row) for row in rows}) == truth.rows_duplicate > 0
        assert sum(len(row) != len(STORE_COLUMNS) for row in rows) == truth.rules["malformed_row"] > 0
        quantities = Counter(
            row[STORE_COLUMNS.index("quantity")] for row in rows if len(row) == len(STORE_COLUMNS)
        )
        assert quantities["two"] == truth.rules["quantity_invalid"]
        assert quantities["0"] == truth.rules["quantity_not_zero"]
        assert sum(truth.rules.values()) >= truth.rows_quarantined > 0


def test_store_files_are_the_same_for_the_same_seed(tmp_path: Path):
    first = write_store_files(tmp_path / "a", seed=5, files=2, rows=500)
    second = write_store_files(tmp_path / "b", seed=5, files=2, rows=500)
    assert first == second
    for name in first:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
