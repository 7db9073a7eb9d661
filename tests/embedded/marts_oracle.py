"""What every mart must show of a source's sales lines, in plain Python: nothing here knows SQL, dbt or RAW.

Lines go in as the source last told them, one a key. Each function gives the mart's rows, named by their key, as
{column: value}; `assert_published` compares them with the warehouse, to the last decimal.
"""

import csv
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

RATES_FILE = Path(__file__).parents[2] / "dbt/seeds/exchange_rates.csv"
Rows = dict[Any, dict[str, Any]]

# Each mart's key, and the query that reads it with the names behind its keys.
MARTS = {
    "daily": (
        ("sales_date", "country", "currency"),
        "select * from MARTS.MART_DAILY_SALES where source = %s",
    ),
    "orders": (
        ("order_id",),
        "select o.*, c.customer_id, l.country from MARTS.FCT_ORDERS as o "
        "inner join MARTS.DIM_CUSTOMER as c on o.customer_key = c.customer_key "
        "inner join MARTS.DIM_LOCATION as l on o.location_key = l.location_key where o.source = %s",
    ),
    "customers": (("customer_id",), "select * from MARTS.MART_CUSTOMER_VALUE where source = %s"),
    "products": (
        ("product_id", "sales_month"),
        "select * from MARTS.MART_PRODUCT_PERFORMANCE where source = %s",
    ),
    "returns": (
        ("order_id", "line_number"),
        "select r.*, p.product_id from MARTS.MART_RETURNS as r "
        "inner join MARTS.DIM_PRODUCT as p on r.product_key = p.product_key where r.source = %s",
    ),
}


def read_rates() -> dict[str, list[tuple[date, date, Decimal]]]:
    """Read the rates by currency: first day, day after the last, euros for one unit."""
    rates = defaultdict(list)
    for row in csv.DictReader(RATES_FILE.read_text().splitlines()):
        days = date.fromisoformat(row["valid_from"]), date.fromisoformat(row["valid_to"])
        rates[row["currency"]].append((*days, Decimal(row["eur_rate"])))
    return rates


RATES = read_rates()


@dataclass(frozen=True)
class Line:
    """A sales line as its source last told it; what is not told is None."""

    order_id: str
    line_number: Any
    product_id: str
    customer_id: str | None
    country: str | None
    quantity: int
    unit_price: Decimal
    currency: str
    ordered_at: datetime  # UTC, without a zone

    @cached_property
    def amount(self) -> Decimal:
        return self.quantity * self.unit_price

    @cached_property
    def eur(self) -> Decimal:
        day = self.ordered_at.date()
        (rate,) = (rate for begin, end, rate in RATES[self.currency] if begin <= day < end)
        return rounded(self.amount * rate, 4)


def rounded(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def amounts(lines: list[Line], of: str, suffix: str = "") -> dict[str, Decimal]:
    """Add up what was sold and, as a positive number, what came back."""
    gross = sum((getattr(line, of) for line in lines if line.quantity > 0), Decimal(0))
    returns = -sum((getattr(line, of) for line in lines if line.quantity < 0), Decimal(0))
    names = ("gross_amount", "returns_amount", "net_amount")
    return {f"{name}{suffix}": v for name, v in zip(names, (gross, returns, gross - returns), strict=True)}


def units(lines: list[Line]) -> dict[str, int]:
    sold = sum(line.quantity for line in lines if line.quantity > 0)
    return {"units_sold": sold, "units_returned": sold - sum(line.quantity for line in lines)}


def daily(lines: list[Line]) -> Rows:
    days = grouped(lines, lambda line: (line.ordered_at.date(), line.country or "Unknown", line.currency))
    return {
        key: {
            "order_count": len({line.order_id for line in group}),
            "line_count": len(group),
            "unit_count": sum(line.quantity for line in group),
            **amounts(group, "amount"),
            **amounts(group, "eur", "_eur"),
        }
        for key, group in days.items()
    }


def orders(lines: list[Line]) -> Rows:
    return {key: order(group) for key, group in grouped(lines, lambda line: line.order_id).items()}


def order(lines: list[Line]) -> dict[str, Any]:
    first = min(lines, key=lambda line: (line.customer_id is None, line.ordered_at, line.line_number))
    currencies = {line.currency for line in lines}
    assert len(currencies) == 1, "no source here mixes currencies; dbt's unit test does"
    return {
        "customer_id": first.customer_id or "unknown",
        "country": first.country or "Unknown",
        "line_count": len(lines),
        **units(lines),
        "currency": currencies.pop(),
        "net_amount": sum(line.amount for line in lines),
        **amounts(lines, "eur", "_eur"),
        "first_ordered_at": min(line.ordered_at for line in lines),
        "last_ordered_at": max(line.ordered_at for line in lines),
        "is_return": all(line.quantity < 0 for line in lines),
        "has_returns": any(line.quantity < 0 for line in lines),
    }


def customers(lines: list[Line]) -> Rows:
    everything = list(orders(lines).values())
    newest = max(o["first_ordered_at"] for o in everything if not o["is_return"])
    known = grouped(everything, lambda o: o["customer_id"])
    known.pop("unknown", None)
    values = {customer: value(told, newest) for customer, told in known.items()}
    scored = {
        "recency_score": lambda v: v["last_ordered_at"].date() if v["last_ordered_at"] else date.min,
        "frequency_score": lambda v: v["order_count"],
        "monetary_score": lambda v: v["net_amount_eur"],
    }
    for name, of in scored.items():
        ladder = sorted(of(v) for v in values.values())
        for v in values.values():
            v[name] = 1 + 5 * bisect_left(ladder, of(v)) // len(ladder)
    return values


def value(told: list[dict[str, Any]], newest: datetime) -> dict[str, Any]:
    sums = {n: sum(o[n] for o in told) for n in ("gross_amount_eur", "returns_amount_eur", "net_amount_eur")}
    sold = sorted(o["first_ordered_at"] for o in told if not o["is_return"])
    return {
        "order_count": len(sold),
        "first_ordered_at": sold[0] if sold else None,
        "last_ordered_at": sold[-1] if sold else None,
        "cohort_month": sold[0].date().replace(day=1) if sold else None,
        "recency_days": (newest.date() - sold[-1].date()).days if sold else None,
        "average_order_eur": rounded(sums["gross_amount_eur"] / len(sold), 4) if sold else None,
        **sums,
    }


def products(lines: list[Line]) -> Rows:
    months = grouped(lines, lambda line: (line.product_id, line.ordered_at.date().replace(day=1)))
    rows = {key: units(group) | amounts(group, "eur", "_eur") for key, group in months.items()}
    for month in grouped(rows, lambda key: key[1]).values():
        total = sum(rows[key]["gross_amount_eur"] for key in month)
        ladder = sorted(-rows[key]["net_amount_eur"] for key in month)
        for row in (rows[key] for key in month):
            sold = row["units_sold"]
            row["return_rate"] = rounded(Decimal(row["units_returned"]) / sold, 6) if sold else None
            row["month_share"] = rounded(row["gross_amount_eur"] / total, 6) if total else None
            row["month_rank"] = 1 + bisect_left(ladder, -row["net_amount_eur"])
    return rows


def returns(lines: list[Line]) -> Rows:
    sold = {(line.order_id, line.line_number): line for line in lines if line.quantity > 0}
    rows = {}
    for line in lines:
        if line.quantity < 0:
            original = sold.get((line.order_id.removesuffix("-R"), line.line_number))
            rows[line.order_id, line.line_number] = {
                "product_id": line.product_id,
                "units_returned": -line.quantity,
                "returns_amount_eur": -line.eur,
                "has_original": original is not None,
                "original_units": original and original.quantity,
                "original_amount_eur": original and original.eur,
                "days_to_return": original and (line.ordered_at.date() - original.ordered_at.date()).days,
            }
    return rows


ORACLES = {
    "daily": daily,
    "orders": orders,
    "customers": customers,
    "products": products,
    "returns": returns,
}


def assert_published(warehouse: Any, mart: str, source: str, lines: list[Line]) -> None:
    """Assert that a published mart shows of a source what its lines add up to, row by row, value by value.

    All to the last decimal; an average but for that one, since Snowflake divides decimals and DuckDB doubles.
    """
    expected = ORACLES[mart](lines)
    shown = published(warehouse, mart, source, next(iter(expected.values())))
    for key, row in expected.items():
        if (average := row.get("average_order_eur")) and key in shown:
            assert abs(shown[key]["average_order_eur"] - average) <= Decimal("0.0001"), key
            row["average_order_eur"] = shown[key]["average_order_eur"]
    assert shown == expected


def published(warehouse: Any, mart: str, source: str, columns: Iterable[str]) -> Rows:
    """Read a source's rows of a published mart, named by their key, with these columns."""
    key, query = MARTS[mart]
    rows = warehouse.rows(query, (source,))
    name = (lambda row: row[key[0]]) if len(key) == 1 else (lambda row: tuple(row[k] for k in key))
    read = {name(row): {column: row[column] for column in columns} for row in rows}
    assert len(read) == len(rows), f"a key of {mart} comes twice"
    return read
