"""A line has one key and one set of values, whether it comes by stream or by batch."""

import random
from datetime import datetime
from decimal import Decimal

import pytest

from blocks.feeds import feed_names, load_contract, load_feed
from spark_jobs import sales_batch
from streaming.feed_events import feed_events
from streaming.producer import Rejected
from streaming.xxhash64 import content_number

LINES = {
    "store_sales": [
        "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
        "quantity,unit_price,currency,ordered_at,updated_at",
        'A1,1,P1,"Lamp, ""big""",Home,C1,,Spain,2,9.99,EUR,2025-01-31T08:15:00.5+02:00,2025-01-31T08:15:00Z',
        "A1,2,P1,Lamp,Home,,,Spain,-2,.5,EUR,2025-01-31t08:15:00z,2025-01-31T08:15:00Z",
        "A1,3,P1,Lamp,Home,,,Spain,0,-1,XXX,2025-01-31,2025-01-31T08:15:00Z",
        "A1,4",
    ],
    "online_retail": [
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
        '536365,85123A,"HEART, T-LIGHT",6,12/1/2010 8:26,2.55,17850,United Kingdom',
        "C540000,22632,,-1,7/1/2011 23:30,1.857,,Spain",
        "536414,22139,,56,12/1/2010 11:52,0.0,,United Kingdom",
        "536415,22139,,56,13/1/2010 11:52,1,,United Kingdom",
    ],
    "europe_marketplace": [
        "H7;42;KUE-00017;Kännchen;K1;3;1.234,50;EUR;26.10.2025 02:30;2025-10-27 09:00:00",
        "H7;43;KUE-00018;Topf;;-1;2;EUR;30.03.2025 02:30;2025-04-01 09:00:00",
        "H7;;KUE-00018;Topf;;1;200.000;EUR;01.04.2019 10:00;2025-04-01 09:00:00",
    ],
}


def test_every_shipped_feed_is_compared_here():
    assert sorted(LINES) == feed_names()


@pytest.mark.parametrize("name", LINES)
def test_a_file_gives_the_same_lines_either_way(batch, tmp_path, name):
    feed, file = load_feed(name), tmp_path / "bestellungen_Germany_2025.csv"
    file.write_bytes("\n".join(LINES[name]).encode(feed.encoding))
    events = list(feed_events(feed, file))
    job = batch(name).add(file.name, file.read_bytes())
    job.run()
    columns = load_contract().columns
    told = [
        {column: in_batch(event[column], columns[column].type) for column in columns}
        for event in events
        if not isinstance(event, Rejected)
    ]
    assert told == [{column: row[column] for column in columns} for row in job.valid()]
    assert len(told) == 2
    rejected = [event.reason for event in events if isinstance(event, Rejected)]
    assert rejected == [rules for _, _, rules, _ in job.rejected()]


def in_batch(value, kind):
    if kind == "timestamp":
        return datetime.fromisoformat(value.removesuffix("Z"))
    return Decimal(str(value)) if kind.startswith("decimal") else value


def test_content_numbers_agree_for_texts_of_every_length(spark):
    dice = random.Random(8)
    rows = [
        ["".join(dice.choices("aZ09 ,ü€💡", k=length)) or None for length in (size, dice.randrange(90))]
        for size in range(120)
    ]
    frame = spark.createDataFrame(rows, "a string, b string")
    found = [row[0] for row in frame.select(sales_batch.content_number(["a", "b"])).collect()]
    assert found == [content_number(row) for row in rows]
