"""Sales to test and show the pipeline with: events for the stream, CSV files for the batch, faults on demand.

Everything follows from the seed, and what is wrong is counted: the truth that the pipeline must arrive at.
"""

import csv
import json
import random
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from streaming.schema import SCHEMA_VERSION
from streaming.shop import USUAL, Line, Shares, Shop, split

START = date(2025, 1, 1)
STORE_COLUMNS = (
    "order_id",
    "line_number",
    "product_id",
    "product_name",
    "product_category",
    "customer_id",
    "customer_segment",
    "country",
    "quantity",
    "unit_price",
    "currency",
    "ordered_at",
    "updated_at",
)
# Ways for an event to break its contract, and for a CSV field to break rules of the contract (by id).
EVENT_FAULTS: tuple[dict[str, Any], ...] = (
    {"quantity": 0},
    {"unit_price": -1.5},
    {"currency": "XXX"},
    {"product_id": None},
    {"ordered_at": "yesterday"},
)
ROW_FAULTS: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
    ({"quantity": "0"}, ("quantity_not_zero",)),
    ({"quantity": "two"}, ("quantity_invalid",)),
    ({"unit_price": "-3.50"}, ("unit_price_not_negative",)),
    ({"unit_price": "n/a"}, ("unit_price_invalid",)),
    ({"currency": "XXX"}, ("currency_known",)),
    ({"ordered_at": "31/01/2025 08:15"}, ("ordered_at_invalid",)),
    ({"ordered_at": "1925-01-31T08:15:00Z"}, ("ordered_at_plausible",)),
    ({"product_id": ""}, ("product_id_missing",)),
    ({"quantity": "0", "currency": ""}, ("quantity_not_zero", "currency_missing")),
)


def sale_lines(
    seed: int, count: int, start: date, days: int, source: str, shares: Shares = USUAL
) -> Iterator[Line]:
    """Yield exactly `count` sales lines with the contract's columns, in the order in which they are told."""
    for lines in Shop(seed, count, start, days, source, shares).sell():
        yield from lines


def sale_event(line: Line, event_id: uuid.UUID | str) -> dict[str, Any]:
    """Make the event that tells of a sales line; a quantity that is no number makes it a sale."""
    quantity = line.get("quantity")
    event_type = "return" if isinstance(quantity, int) and quantity < 0 else "sale"
    return {"event_id": str(event_id), "event_type": event_type, "schema_version": SCHEMA_VERSION, **line}


def sale_events(
    seed: int,
    count: int,
    *,
    start: date = START,
    days: int = 30,
    source: str = "web_shop",
    shares: Shares = USUAL,
    duplicates: int = 0,
    invalid_json: int = 0,
    contract_breaks: int = 0,
) -> Iterator[dict[str, Any] | bytes]:
    """Yield `count` good events and, among them, exactly as many faulty ones as asked for.

    A duplicate is a recent event sent again, same event_id. Invalid JSON comes as bytes. A contract break is
    valid JSON of an order of its own (`…-X`) with one of EVENT_FAULTS.
    """
    rng = random.Random(f"events-{seed}")  # noqa: S311
    faults = [*[_again] * duplicates, *[_cut_off] * invalid_json, *[_break_contract] * contract_breaks]
    places: dict[int, list[Any]] = {}
    for fault in faults:
        places.setdefault(rng.randrange(count), []).append(fault)
    recent: deque[dict[str, Any]] = deque(maxlen=200)
    for number, line in enumerate(sale_lines(seed, count, start, days, source, shares)):
        event = sale_event(line, _random_uuid(rng))
        recent.append(event)
        yield event
        for fault in places.pop(number, ()):
            yield fault(rng, recent)


def _again(rng: random.Random, recent: deque[dict[str, Any]]) -> dict[str, Any]:
    return dict(rng.choice(recent))


def _cut_off(rng: random.Random, recent: deque[dict[str, Any]]) -> bytes:
    return json.dumps(recent[-1]).encode()[: rng.randint(1, 300)]


def _break_contract(rng: random.Random, recent: deque[dict[str, Any]]) -> dict[str, Any]:
    event = recent[-1]
    own = {"event_id": str(_random_uuid(rng)), "order_id": f"{event['order_id']}-{rng.randrange(10**6)}-X"}
    return event | own | rng.choice(EVENT_FAULTS)


def _random_uuid(rng: random.Random) -> uuid.UUID:
    return uuid.UUID(int=rng.getrandbits(128), version=4)


@dataclass
class FileTruth:
    """What is in one generated file: rows_read = rows_valid + rows_quarantined + rows_duplicate."""

    rows_read: int = 0
    rows_valid: int = 0
    rows_quarantined: int = 0
    rows_duplicate: int = 0
    rules: Counter[str] = field(default_factory=Counter)


def write_store_files(
    folder: Path,
    seed: int,
    files: int,
    rows: int,
    *,
    start: date = START,
    fault_share: float = 0.01,
    duplicate_share: float = 0.005,
) -> dict[str, FileTruth]:
    """Write `store_sales_<day>.csv`, one file a day, `rows` data rows in all; return the truth by file name.

    Among the rows are malformed ones (too few or too many columns), values that break rules, exact
    duplicates within a file, late rows, corrections (same key, later updated_at) and returns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"store-{seed}")  # noqa: S311
    repeated = round(rows * duplicate_share)
    shop = Shop(seed, rows - repeated, start, files, "store_sales")
    kinds = cycle(range(len(ROW_FAULTS) + 2))
    truths: dict[str, FileTruth] = {}
    for day, (lines, copies) in enumerate(zip(shop.sell(), split(repeated, shop.targets), strict=True)):
        name = f"store_sales_{start + timedelta(day)}.csv"
        truths[name] = _write_file(folder / name, rng, lines, copies, round(len(lines) * fault_share), kinds)
    return truths


def _write_file(
    path: Path, rng: random.Random, lines: list[Line], copies: int, faults: int, kinds: Iterator[int]
) -> FileTruth:
    truth, table, valid = FileTruth(rows_quarantined=faults), [], []
    spoiled = set(rng.sample(range(len(lines)), faults))
    for number, line in enumerate(lines):
        row = [str(line[column]) if line[column] is not None else "" for column in STORE_COLUMNS]
        if number in spoiled:
            row = _spoil(row, next(kinds), truth.rules)
        else:
            valid.append(row)
        table.append(row)
    for _ in range(copies if valid else 0):
        table.insert(rng.randrange(len(table)), rng.choice(valid))
        truth.rows_duplicate += 1
    truth.rows_read, truth.rows_valid = len(table), len(valid)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(STORE_COLUMNS)
        writer.writerows(table)
    return truth


def _spoil(row: list[str], kind: int, rules: Counter[str]) -> list[str]:
    if kind >= len(ROW_FAULTS):
        rules["malformed_row"] += 1
        return row[:-3] if kind == len(ROW_FAULTS) else [*row, "surplus"]
    values, broken = ROW_FAULTS[kind]
    rules.update(broken)
    return [values.get(column, text) for column, text in zip(STORE_COLUMNS, row, strict=True)]
