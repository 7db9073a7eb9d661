"""Random histories of sales lines, and their way into RAW: shuffled, doubled, late, by files and by stream.

Each history is a source of its own, so that hundreds of them share one build and none knows of the others.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.contract.history_oracle import Arrival, Telling

TOPIC = "sales_events"
# Minutes from each load to the next: the first load finds no tables, ten follow. Gaps below and above the half
# hour that incremental models look back.
GAPS = (0, 1, 45, 10, 120, 2, 31, 5, 600, 1, 29)
LAST = len(GAPS) - 1
STARTS = [datetime(2025, 6, 1) + timedelta(minutes=sum(GAPS[: n + 1])) for n in range(len(GAPS))]
# A row is visible at most this long after its stamp: dbt's variable arrival_overlap_minutes, less the jitter.
OVERLAP = timedelta(minutes=29)
DAYS = [
    datetime(2024, 12, 30),
    datetime(2024, 12, 31, 23, 59, 59, 999999),
    datetime(2025, 1, 1),
    datetime(2025, 2, 3),
]
SOURCE = "?"


@dataclass(frozen=True)
class Delivery:
    """One way of a change into RAW; `rewritten` is the load in which the sink writes the message a second time."""

    change: int
    load: int
    channel: str
    late: bool
    jitter: int
    part: int
    rewritten: int | None = None


@dataclass(frozen=True)
class Plan:
    """How all changes of a history are delivered, and which load's batches are loaded again in which load."""

    deliveries: tuple[Delivery, ...]
    reloads: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class History:
    """Changes of some lines, and one or more plans; with several, no change ties with another of its line."""

    changes: tuple[Telling, ...]
    plans: tuple[Plan, ...]


@dataclass
class Load:
    """What one load brings: rows of files, whose batches it replaces whole, and rows of the stream."""

    number: int
    lines: list[Arrival] = field(default_factory=list)
    events: list[Arrival] = field(default_factory=list)
    again: set[tuple[str, int]] = field(default_factory=set)  # messages that an earlier load brought already


@st.composite
def tellings(draw: Any, land: str, number: int, distinct: bool) -> Telling:
    """A change of one of few lines, so that most are told often, move to another customer, day, country."""
    one_of = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    return Telling(
        SOURCE,
        one_of("A1", "A1-R", "A2"),
        one_of(1, 1, 2),
        one_of("P1", "P1", "P2"),
        one_of("LAMP", "RED LAMP", None),
        one_of(None, "light"),
        one_of("C1", "C1", "C2", None),
        one_of("consumer", "business", None),
        one_of("France", land, None),
        one_of(1, 3, -1, -2, 0) if not distinct else one_of(1, 3, -1, -2),
        one_of(Decimal("9.9900"), Decimal("0.3333"), Decimal(0)),
        one_of("EUR", "EUR", "GBP"),
        one_of(*DAYS),
        datetime(2025, 5, 1) + timedelta(hours=number if distinct else one_of(0, 1, 2)),
    )


@st.composite
def plans(draw: Any, changes: tuple[Telling, ...]) -> Plan:
    """Deliver each change once to three times, in any load; what breaks the contract comes by stream alone."""
    deliveries = []
    for number, change in enumerate(changes):
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            load = draw(st.integers(0, LAST))
            channel = "stream" if change.quantity == 0 else draw(st.sampled_from(["batch", "stream"]))
            again = channel == "stream" and draw(st.integers(0, 3)) == 0
            rewritten = draw(st.integers(load, LAST)) if again else None
            late, jitter, part = draw(st.booleans()), draw(st.integers(0, 19)), draw(st.integers(0, 2))
            deliveries.append(Delivery(number, load, channel, late, jitter, part, rewritten))
    first = draw(st.integers(0, LAST - 1))
    reload = draw(st.integers(first + 1, LAST))
    return Plan(tuple(deliveries), ((first, reload),) if draw(st.booleans()) else ())


@st.composite
def histories(draw: Any) -> History:
    """A history of up to ten changes; half of them are delivered in two ways that must come to the same."""
    distinct = draw(st.booleans())
    land = f"Land {draw(st.integers(0, 999))}"
    size = draw(st.integers(1, 10))
    changes = tuple(draw(tellings(land, number, distinct)) for number in range(size))
    return History(changes, tuple(draw(plans(changes)) for _ in range(1 + distinct)))


def drawn(count: int, number: int) -> list[History]:
    """Draw histories as Hypothesis does, the same ones for the same number."""
    found: list[History] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(histories())
    def collect(history: History) -> None:
        found.append(history)

    collect()
    return found


def stamp(load: int, late: bool, jitter: int) -> datetime:
    """Stamp a row of a load: as it begins, or so long before that the row was only just not visible to the last."""
    begin = STARTS[load - 1] - OVERLAP if late and load else STARTS[load]
    return begin + timedelta(seconds=jitter)


def deliver(sources: dict[str, tuple[History, Plan]], number: int) -> list[Load]:
    """Lay out what each load brings. Offsets of the three partitions follow the loads, in random order within one."""
    loads = [Load(n) for n in range(len(GAPS))]
    shuffled = random.Random(number)
    messages = []
    for source, (history, plan) in sources.items():
        for line, delivery in enumerate(plan.deliveries, start=2):
            telling = replace(history.changes[delivery.change], source=source)
            if delivery.channel == "stream":
                messages.append((delivery, telling))
            else:
                for load, arrival in batch_arrivals(delivery, telling, line, plan):
                    loads[load].lines.append(arrival)
    shuffled.shuffle(messages)
    offsets: Counter[int] = Counter()
    for delivery, telling in sorted(messages, key=lambda message: message[0].load):
        offset, offsets[delivery.part] = offsets[delivery.part], offsets[delivery.part] + 1
        for load, arrival in stream_arrivals(delivery, telling, offset):
            loads[load].events.append(arrival)
            if load != delivery.load:
                loads[load].again.add((arrival.place, arrival.position))
    for load in loads:
        shuffled.shuffle(load.lines)
        shuffled.shuffle(load.events)
    return loads


def batch_arrivals(
    delivery: Delivery, telling: Telling, line: int, plan: Plan
) -> Iterator[tuple[int, Arrival]]:
    """Give the row of a file, and the same row again for each time that its batch is loaded again."""
    place = f"{telling.source}-{delivery.load}{'-late' * delivery.late}/file{delivery.part}.csv"
    again = [(load, stamp(load, False, 7)) for first, load in plan.reloads if first == delivery.load]
    # One COPY stamps all rows of a batch alike, and never on a whole millisecond as the stream does.
    for load, arrived_at in [(delivery.load, stamp(delivery.load, delivery.late, 3)), *again]:
        yield load, Arrival(telling, "batch", arrived_at + timedelta(microseconds=137), place, line)


def stream_arrivals(delivery: Delivery, telling: Telling, offset: int) -> Iterator[tuple[int, Arrival]]:
    """Give the row of a message, and if the sink lost its place the same message again, pushed later."""
    pushed_at = stamp(delivery.load, delivery.late, delivery.jitter)
    arrival = Arrival(telling, "stream", pushed_at, f"{TOPIC}-{delivery.part}", offset)
    yield delivery.load, arrival
    if delivery.rewritten is not None:
        pushed_again = stamp(delivery.rewritten, False, delivery.jitter)
        later = max(pushed_again, pushed_at + timedelta(milliseconds=1))
        yield delivery.rewritten, replace(arrival, arrived_at=later)


def in_raw(loads: Iterable[Load]) -> list[Arrival]:
    """Give what RAW tells after these loads: a batch that was loaded again is there once, as of its last load."""
    rows: dict[tuple[str, int], Arrival] = {}
    for load in loads:
        for arrival in (*load.lines, *load.events):
            held = rows.get((arrival.place, arrival.position), arrival)
            rows[arrival.place, arrival.position] = max(held, arrival, key=lambda a: a.arrived_at)
    return list(rows.values())
