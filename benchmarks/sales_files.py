"""Sales files for benchmarks: any number of lines within seconds, from a fixed seed, with faults and duplicates.

`streaming.generator` tells a truer story and counts its faults, but makes a line at a time; here whole columns
are made at once. Every field is a function of the line's key, so that a key used twice is an exact duplicate.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.generator import STORE_COLUMNS

SEED = 7
CHUNK = 500_000
DUPLICATE_SHARE = 0.005
PRODUCTS, CUSTOMERS, CATEGORIES, DAYS, LINES_PER_ORDER = 2_000, 50_000, 20, 90, 3
START = 1_735_689_600  # 2025-01-01T00:00:00Z
COUNTRIES = ("Spain", "Germany", "France", "United Kingdom", "Poland", "Sweden")
SEGMENTS = ("consumer", "business", "", "home office")
# Eleven in a thousand lines are wrong, each in one way: column, text.
FAULTS = (
    ("quantity", "0"),
    ("quantity", "two"),
    ("unit_price", "-3.50"),
    ("unit_price", "n/a"),
    ("currency", "XXX"),
    ("currency", ""),
    ("ordered_at", "31/01/2025 08:15"),
    ("ordered_at", "1925-01-31T08:15:00Z"),
    ("product_id", ""),
    ("end", ",surplus\n"),
    ("order_id", ""),
)


def write_sales_files(folder: Path, rows: int, files: int) -> list[Path]:
    """Write `rows` lines in `files` files of the feed store_sales, about 112 bytes a line; return the files.

    One line in twenty has a quoted field, one in ninety breaks a rule, one in two hundred repeats an earlier
    line, of this file or another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(SEED)
    bounds = np.linspace(0, rows, files + 1).astype(int)
    paths = []
    for number, (first, last) in enumerate(pairwise(bounds)):
        path = folder / f"store_sales_{number:05d}.csv"
        with path.open("wb") as file:
            file.write(f"{','.join(STORE_COLUMNS)}\n".encode())
            for keys in _keys(dice, int(first), int(last)):
                # The values of an Arrow array of strings lie one after the other: the text of the file.
                file.write(_lines(keys).buffers()[2])
        paths.append(path)
    return paths


def _keys(dice: np.random.Generator, first: int, last: int) -> Iterator[np.ndarray]:
    for start in range(first, last, CHUNK):
        keys = np.arange(start, min(start + CHUNK, last))
        again = dice.random(len(keys)) < DUPLICATE_SHARE
        keys[again] = dice.integers(0, start + len(keys), again.sum())
        yield keys


def _scatter(keys: np.ndarray, salt: int, below: int) -> np.ndarray:
    """Give each key a number below `below` that looks random: the finalizer of splitmix64 (Steele 2014)."""
    x = keys.astype(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(below)).astype(np.int64)


def _text(*parts: np.ndarray | str) -> pa.Array:
    texts = [part if isinstance(part, str) else pa.array(part).cast(pa.string()) for part in parts]
    return pc.binary_join_element_wise(*texts, "")


def _pick(words: tuple[str, ...] | list[str], index: np.ndarray) -> pa.Array:
    return pa.array(words).take(pa.array(index))


def _time(seconds: np.ndarray) -> pa.Array:
    return pc.strftime(pa.array(seconds + START).cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%SZ")


def _lines(keys: np.ndarray) -> pa.Array:
    order, product = keys // LINES_PER_ORDER, _scatter(keys, 1, PRODUCTS)
    customer, cents = _scatter(order, 2, CUSTOMERS), _scatter(keys, 3, 20_000) + 50
    ordered = order * 7 % (DAYS * 86_400)
    names = [f"Lamp {p}" if p % 20 else f'"Lamp, large ""{p}"""' for p in range(PRODUCTS)]
    columns = {
        "order_id": _text("S", order),
        "line_number": _text(keys % LINES_PER_ORDER + 1),
        "product_id": _text("P", product),
        "product_name": _pick(names, product),
        "product_category": _pick([f"Category {c}" for c in range(CATEGORIES)], product % CATEGORIES),
        "customer_id": pc.if_else(pa.array(customer % 10 == 0), "", _text("C", customer)),
        "customer_segment": _pick(SEGMENTS, customer % len(SEGMENTS)),
        "country": _pick(COUNTRIES, _scatter(order, 4, len(COUNTRIES))),
        "quantity": _text(_scatter(keys, 5, 9) + 1),
        "unit_price": pc.binary_join_element_wise(
            _text(cents // 100), pc.utf8_lpad(_text(cents % 100), 2, "0"), "."
        ),
        "currency": _pick(["EUR", "GBP", "USD", "CHF"], _scatter(order, 6, 4)),
        "ordered_at": _time(ordered),
        "updated_at": _time(ordered + 60),
        "end": pa.array(["\n"] * len(keys)),
    }
    fault = _scatter(keys, 7, 1_000)
    for number, (column, text) in enumerate(FAULTS):
        columns[column] = pc.if_else(pa.array(fault == number), text, columns[column])
    end = columns.pop("end")
    return pc.binary_join_element_wise(pc.binary_join_element_wise(*columns.values(), ","), end, "")
