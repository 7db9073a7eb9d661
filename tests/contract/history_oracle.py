"""What the line history and the change histories must be, worked out a second time in plain Python.

Written from what the models promise in their descriptions. A line is as its source last told it: the latest
updated_at wins, then the latest arrival, then the later place in the file or partition. A customer or product
is walked through its lines in the order of the sales: an attribute that a line leaves out keeps its last known
value, of lines at the same instant the one told last counts, and a version lasts until a sale tells otherwise.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

END_OF_TIME = datetime(9999, 12, 31)
# The member that stands for a customer that is not told, as a version.
UNKNOWN = ("unknown", "unknown", None, None, datetime(1900, 1, 1), END_OF_TIME, True)
CUSTOMER = ("customer_id", "customer_segment", "country")
PRODUCT = ("product_id", "product_name", "product_category")
Row = tuple[Any, ...]
Rows = Counter[Row]


@dataclass(frozen=True)
class Telling:
    """What a source says of one sales line; quantity 0 breaks the contract."""

    source: str
    order_id: str
    line_number: int
    product_id: str
    product_name: str | None
    product_category: str | None
    customer_id: str | None
    customer_segment: str | None
    country: str | None
    quantity: int
    unit_price: Decimal
    currency: str
    ordered_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Arrival:
    """A telling that reached RAW: how, when, and at which place (batch/file and line, or partition and offset)."""

    telling: Telling
    channel: str
    arrived_at: datetime
    place: str
    position: int


def sales_lines(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Give the arrival that counts of each line. What is written twice at one place is there once, the later time."""
    told: dict[tuple[str, str, int], Arrival] = {}
    for arrival in sorted(arrivals, key=recency):
        line = arrival.telling
        if line.quantity != 0:
            told[line.source, line.order_id, line.line_number] = arrival
    return list(told.values())


def recency(arrival: Arrival) -> tuple[Any, ...]:
    return arrival.telling.updated_at, arrival.arrived_at, arrival.place, arrival.position


def rejects(arrivals: Iterable[Arrival]) -> set[tuple[str, str, int]]:
    """Give source and place of each event that breaks the contract, once however often the sink wrote it."""
    return {(a.telling.source, a.place, a.position) for a in arrivals if a.telling.quantity == 0}


def versions(lines: Iterable[Arrival], entity: tuple[str, ...]) -> list[Row]:
    """Give (source, id, two attributes, valid_from, valid_to, is_current) of all versions of customers or products."""
    told: dict[tuple[str, str], list[Telling]] = defaultdict(list)
    for line in lines:
        if (member := getattr(line.telling, entity[0])) is not None:
            told[line.telling.source, member].append(line.telling)
    return [(*member, *version) for member, its in told.items() for version in history(its, entity[1:])]


def history(tellings: list[Telling], attributes: tuple[str, ...]) -> list[Row]:
    """Walk through one member's sales and note each change: attributes, valid_from, valid_to, is_current."""
    known: dict[str, Any] = dict.fromkeys(attributes)
    after: dict[datetime, Row] = {}  # what is known once all sales of an instant have been told
    for telling in sorted(tellings, key=lambda t: (t.ordered_at, t.updated_at, t.order_id, t.line_number)):
        known |= {name: value for name in attributes if (value := getattr(telling, name)) is not None}
        after[telling.ordered_at] = tuple(known.values())
    changes: list[tuple[Row, datetime]] = []
    for instant, values in after.items():
        if not changes or changes[-1][0] != values:
            changes.append((values, instant))
    ends = [begin for _, begin in changes[1:]] + [END_OF_TIME]
    return [
        (*values, begin, end, end == END_OF_TIME) for (values, begin), end in zip(changes, ends, strict=True)
    ]


def valid_version(
    versions_of: dict[tuple[str, str], list[Row]], member: tuple[str, str], instant: datetime
) -> Row:
    """Find the one version of a (source, id) that holds at an instant, among versions grouped by member."""
    (found,) = [row for row in versions_of[member] if row[4] <= instant < row[5]]
    return found


def expected(arrivals: list[Arrival]) -> dict[str, Rows]:
    """Work out by brute force what the tables hold once this has arrived."""
    lines = sales_lines(arrivals)
    customers, products = versions(lines, CUSTOMER), versions(lines, PRODUCT)
    return {
        "int_sales_lines": Counter((*astuple(line.telling), line.channel, line.arrived_at) for line in lines),
        "int_sales_rejects": Counter(rejects(arrivals)),
        "int_customer_history": Counter(customers),
        "int_product_history": Counter(products),
        "dim_customer": Counter(customers),
        "dim_product": Counter(products),
        "fct_sales": Counter(facts(lines, [*customers, *products])),
    }


def facts(lines: list[Arrival], rows: list[Row]) -> list[Row]:
    """Give each line with the versions of its customer and its product that were valid when it was ordered."""
    of_member: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        of_member[row[0], row[1]].append(row)

    def valid(line: Telling, member: str | None) -> Row:
        return valid_version(of_member, (line.source, member), line.ordered_at) if member else UNKNOWN

    return [
        (
            *(t.source, t.order_id, t.line_number, t.quantity, t.unit_price, t.ordered_at, t.updated_at),
            *valid(t, t.customer_id),
            *valid(t, t.product_id),
        )
        for t in (line.telling for line in lines)
    ]
