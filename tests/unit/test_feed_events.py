"""A feed's file as events: the values, keys and rejections that the batch job arrives at, without Spark."""

import csv
import gzip
import io
import random
import time
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import WillNotHeal
from blocks.feeds import Feed, Timestamps, feed_names, load_feed
from streaming.datetime_patterns import time_reader
from streaming.feed_events import at_recorded_speed, feed_events
from streaming.feed_lines import feed_lines
from streaming.generator import write_store_files
from streaming.producer import Rejected
from streaming.schema import event_fault
from streaming.xxhash64 import content_number, xxhash64
from tests.contract.nasty_lines import QUOTED, nasty_lines
from tests.contract.sales_batches import GOOD, HEADER, line

RETAIL_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
WINTER = '536365,85123A,"HEART, T-LIGHT",6,12/1/2010 8:26,2.55,17850,United Kingdom'
SUMMER = "C540000,22632,HAND WARMER,-1,7/1/2011 23:30,1.857,,Spain"
SHIFTED = "536365,85123A,,6,12/1/2010 8:26,2.55,17850,United Kingdom"
# Where the stream differs from the batch, and why.
OF_THE_STREAM = {
    "99999999999999.9999": "unit_price_invalid",  # a JSON number keeps 15 digits for certain
    "0000-01-01T00:00:00Z": "ordered_at_invalid",  # Python knows the years 1 to 9999
    "-0044-03-15T00:00:00Z": "ordered_at_invalid",
    "+99999-01-01T00:00:00Z": "ordered_at_invalid",
}


def events_of(path: Path, content: str | bytes, feed: str | Feed = "store_sales") -> list[Any]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(feed_events(load_feed(feed) if isinstance(feed, str) else feed, path))


@pytest.mark.parametrize(("name", "text", "fate"), nasty_lines(), ids=lambda value: str(value)[:40])
def test_a_nasty_line_is_judged_as_by_the_batch_job(tmp_path, name, text, fate):
    (event,) = events_of(tmp_path / "a.csv", HEADER.encode() + b"\n" + text)
    fate = next((rule for value, rule in OF_THE_STREAM.items() if repr(value) in name), fate)
    assert (event.reason if isinstance(event, Rejected) else "") == fate
    if fate in ("malformed_row", "encoding_invalid"):
        assert event.event == text
    if not fate and "2100-01-01" not in name:  # the schema has times of this century only
        assert event_fault(event) is None


@pytest.mark.parametrize(("name", "text", "value"), [(name, *pair) for name, pair in QUOTED.items()])
def test_quoted_text_is_read(tmp_path, name, text, value):
    (event,) = events_of(tmp_path / "a.csv", f"{HEADER}\n{line(product_name=text)}")
    assert event["product_name"] == (value.strip(" ") or None if value else None)


def test_an_event_has_the_lines_values(tmp_path):
    (event,) = events_of(tmp_path / "a.csv", f"\ufeff{HEADER}\r\n\r\n{line(quantity='-3', customer_id='')}\r")
    assert event == {
        "event_id": event["event_id"],
        "event_type": "return",
        "schema_version": 1,
        "source": "store_sales",
        "order_id": "A1",
        "line_number": 1,
        "product_id": "P1",
        "product_name": "Lamp",
        "product_category": "Home",
        "customer_id": None,
        "customer_segment": "consumer",
        "country": "Spain",
        "quantity": -3,
        "unit_price": 9.99,
        "currency": "EUR",
        "ordered_at": "2025-01-31T08:15:00Z",
        "updated_at": "2025-01-31T08:15:00Z",
    }


def test_a_line_without_a_number_has_the_batch_jobs_number(tmp_path):
    free = "536414,22139,,56,12/1/2010 11:52,0.0,,United Kingdom"
    events = events_of(
        tmp_path / "a.csv", "\n".join([RETAIL_HEADER, WINTER, SHIFTED, SUMMER, free]), "online_retail"
    )
    # Recorded in tests/contract/test_spark_batch.py.
    assert [event["line_number"] for event in events[:3]] == [
        6154460245247628179,
        1028108914455937237,
        2446994437606664615,
    ]
    assert [(event["order_id"], event["ordered_at"], event["currency"]) for event in events[:3]] == [
        ("536365", "2010-12-01T08:26:00Z", "GBP"),
        ("536365", "2010-12-01T08:26:00Z", "GBP"),
        ("C540000", "2011-07-01T22:30:00Z", "GBP"),
    ]
    assert events[3].reason == "unit_price_positive"
    assert all(event_fault(event) is None for event in events[:3])


def test_a_feed_with_every_peculiarity_is_read(tmp_path):
    row = "H7;42;KUE-00017;Kännchen;K1;3;1.234,50;EUR;26.10.2025 02:30;2025-10-27 09:00:00"
    spring = "H7;43;KUE-00018;Topf;;1;2;EUR;30.03.2025 02:30;2025-04-01 09:00:00"
    cheap = "H7;44;KUE-00018;Topf;;1;200.000;EUR;01.04.2019 10:00;2025-04-01 09:00:00"
    path = tmp_path / "bestellungen_Germany_2025-10.csv"
    first, second, third = events_of(
        path, "\n".join([row, spring, cheap]).encode("windows-1252"), "europe_marketplace"
    )
    assert (first["order_id"], first["product_category"], first["country"]) == ("H7-42", "KUE", "Germany")
    assert (first["product_name"], first["unit_price"]) == ("Kännchen", 1234.5)
    # Of an hour that comes twice the first; one that does not come is counted on.
    assert (first["ordered_at"], first["updated_at"]) == ("2025-10-26T00:30:00Z", "2025-10-27T08:00:00Z")
    assert second["ordered_at"] == "2025-03-30T01:30:00Z"
    assert third.reason == "sold_since_the_opening,unit_price_in_euros"
    assert first["line_number"] == content_number(["KUE-00017", "H7-42"])


def test_a_replay_gives_the_same_events_each_time_and_the_truth_of_the_file(tmp_path):
    (name,), (truth,) = zip(*write_store_files(tmp_path, seed=1, files=1, rows=2_000).items(), strict=True)
    first, second = (list(feed_events(load_feed("store_sales"), tmp_path / name)) for _ in range(2))
    assert first == second
    good = [event for event in first if not isinstance(event, Rejected)]
    assert (len(first), len(first) - len(good)) == (truth.rows_read, truth.rows_quarantined)
    assert len({event["event_id"] for event in good}) == truth.rows_valid  # a duplicate is the same event
    assert all(event_fault(event) is None for event in good)


def test_packed_files_are_read_and_torn_ones_named(tmp_path):
    packed = gzip.compress(f"{HEADER}\n{GOOD}\n".encode())
    assert len(events_of(tmp_path / "a.csv.gz", packed)) == 1
    with pytest.raises(WillNotHeal, match=r"b\.csv\.gz cannot be read"):
        events_of(tmp_path / "b.csv.gz", packed[:-9])
    with pytest.raises(WillNotHeal, match=r"c\.csv: the header lacks country.*; found order_id, qty"):
        events_of(tmp_path / "c.csv", "order_id,qty\n1,2\n")
    with pytest.raises(WillNotHeal, match=r"d\.csv: the header names country more than once"):
        events_of(tmp_path / "d.csv", f"{HEADER},country\n")


def test_utf_16_is_read(tmp_path):
    feed = load_feed("store_sales").model_copy(update={"encoding": "utf-16"})
    content = f"{HEADER}\r\n{line(product_name='Café €')}\r\nA;b".encode("utf-16")
    first, second = events_of(tmp_path / "a.csv", content, feed)
    assert (first["product_name"], second.event) == ("Café €", b"A;b")
    with pytest.raises(WillNotHeal, match=r"b\.csv cannot be read"):
        events_of(tmp_path / "b.csv", content[:-1], feed)


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for rows in (2_000, 20_000):
        path = tmp_path / f"{rows}.csv"
        path.write_text("\n".join([HEADER, *(line(order_id=f"A{number}") for number in range(rows))]))
        tracemalloc.start()
        assert sum(1 for _ in feed_events(load_feed("store_sales"), path)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_splitting_agrees_with_the_csv_module(tmp_path):
    dice = random.Random(4)
    rows = [["".join(dice.choices("ab,\"; '\\", k=dice.randrange(6))) for _ in range(4)] for _ in range(500)]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["a", "b", "c", "d"], *rows])
    (tmp_path / "a.csv").write_text(text.getvalue())
    feed = load_feed("store_sales").model_copy(update={"columns": dict(zip("abcd", "abcd", strict=True))})
    found = [list(texts.values()) for texts in feed_lines(feed, tmp_path / "a.csv")]
    assert found == [[field.strip(" ") or None for field in row] for row in rows]


@pytest.mark.parametrize(
    ("data", "seed", "number"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (bytes(range(32)), 0, 0xCBF59C5116FF32B4),
        (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
    ],
)
def test_xxhash64_gives_the_numbers_of_its_specification(data, seed, number):
    assert xxhash64(data, seed) == number


@pytest.mark.parametrize("feed", feed_names())
def test_the_times_of_every_shipped_feed_can_be_read(feed):
    declared = load_feed(feed).timestamps
    assert time_reader(declared.formats, declared.time_zone)("never") is None


@pytest.mark.parametrize(
    ("pattern", "text", "moment"),
    [
        ("M/d/yyyy H:mm", "2/1/2011 8:05", "2011-02-01 08:05:00"),
        ("M/d/yyyy H:mm", "02/01/2011 08:05", "2011-02-01 08:05:00"),
        ("M/d/yyyy H:mm", "2/1/11 8:05", None),
        ("dd.MM.yyyy HH:mm", "1.02.2011 08:05", None),
        ("yyyy-MM-dd", "2011-02-01", "2011-02-01 00:00:00"),
        ("yyyy-MM-dd'T'HH:mm:ss[.SSSSSS]XXX", "2011-02-01T08:05:00.5+02:00", "2011-02-01 06:05:00.500000"),
        ("yyyy-MM-dd'T'HH:mm:ss[.SSSSSS]XXX", "2011-02-01T08:05:00-00:30", "2011-02-01 08:35:00"),
        ("dd MMM yyyy hh:mm a", "01 Feb 2011 12:05 am", "2011-02-01 00:05:00"),
        ("dd MMM yyyy hh:mm a", "01 FEB 2011 12:05 PM", "2011-02-01 12:05:00"),
        ("dd MMM yyyy hh:mm a", "01 Feb 2011 13:05 PM", None),
        ("yyyyMMddHHmmssx", "20110201080500+02", "2011-02-01 06:05:00"),
        ("yyyy 'o''clock' H", "2011 o'clock 7", "2011-01-01 07:00:00"),
    ],
)
def test_patterns_take_what_spark_takes(pattern, text, moment):
    assert time_reader([pattern], "UTC")(text) == (moment and datetime.fromisoformat(moment))


@pytest.mark.parametrize("pattern", ["yy-MM-dd", "yyyy-MM-dd EEE", "yyyy-DDD", "yyyy-MM-dd VV", "yyyy yyyy"])
def test_a_pattern_without_a_translation_is_named(pattern, tmp_path):
    feed = load_feed("store_sales").model_copy(update={"timestamps": Timestamps(formats=(pattern,))})
    with pytest.raises(WillNotHeal, match="cannot be read here"):
        events_of(tmp_path / "a.csv", f"{HEADER}\n{GOOD}", feed)


def test_recorded_speed_keeps_the_gaps_and_does_not_wait_for_what_it_cannot_read():
    times = ["2025-01-01T00:00:00Z", "2025-01-01T00:10:00Z", None, "soon", "2025-01-01T00:05:00Z"]
    began, passed, idle = time.monotonic(), [], 0
    for event in at_recorded_speed([{"updated_at": moment} for moment in times], speed=2_000):
        idle += event is None
        if event is not None:
            passed.append(time.monotonic() - began)
    assert passed[0] < 0.1
    assert 0.29 < passed[1] < 0.5
    assert passed[4] - passed[1] < 0.1
    assert idle >= 2
    assert len(passed) == 5
