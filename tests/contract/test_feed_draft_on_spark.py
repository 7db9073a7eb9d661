"""A draft is right if the job reads the file it was made from: every notation it knows, tried on Spark itself."""

import gzip
import re
from datetime import datetime
from decimal import Decimal

from pyspark.sql import Row
from pyspark.sql import functions as F

from blocks.feed_draft import draft_feed
from blocks.feeds import load_contract, read_feed
from blocks.notation import DATES, RESTS, find_times
from spark_jobs.sales_batch import SETTINGS
from tests.contract.sales_batches import Batch, counts

# How the letters of a datetime pattern are written at 08:05:09.123456 UTC on 31 January 2025.
WRITTEN = {
    "yyyy": "2025", "yy": "25", "MMM": "Jan", "MM": "01", "M": "1", "dd": "31", "d": "31", "HH": "08", "H": "8",
    "h": "8", "mm": "05", "ss": "09", "SSSSSS": "123456", "SSSSSSSSS": "123456000", "a": "AM", "XXX": "+00:00",
    "XX": "+0000", "X": "Z",
}  # fmt: skip


def written(pattern: str) -> str:
    tokens = re.finditer(r"'([^']*)'|([A-Za-z])\2*|.", pattern)
    return "".join(token[1] or WRITTEN.get(token[0], token[0]) for token in tokens)


def meant(pattern: str) -> datetime:
    """Give the moment as exactly as the pattern does."""
    parts = {"hour": ("H", 8), "minute": ("m", 5), "second": ("s", 9), "microsecond": ("S", 123456)}
    told = {part: value for part, (letter, value) in parts.items() if letter in pattern.replace("h", "H")}
    return datetime(2025, 1, 31, **told)


def test_spark_reads_every_pattern_as_it_is_meant(spark):
    for key, value in SETTINGS.items():
        spark.conf.set(key, value)
    patterns = [day + rest for day in DATES for rest in RESTS]
    found = {pattern: next(iter(find_times([written(pattern)]).examples)) for pattern in patterns}
    rows = [Row(text=written(pattern), pattern=found[pattern], asked=pattern) for pattern in patterns]
    read = F.try_to_timestamp("text", F.col("pattern")).cast("string").alias("read")
    answers = spark.createDataFrame(rows).select("asked", "pattern", "text", read).collect()
    wrong = [
        answer
        for answer in answers
        if answer.read is None or datetime.fromisoformat(answer.read) != meant(answer.asked)
    ]
    assert wrong == []


def test_the_job_reads_a_file_by_its_draft(spark, tmp_path):
    header = (
        "Order No;Pos;SKU;Title;Category;Kunde;Customer Group;Land;Qty;Preis;Currency;Order Date;Last Updated"
    )
    lines = [
        f"A{n};{n};P{n};Käse, {n} €;Food;C1;business;Österreich;{n % 7 + 1}.000;1.234,{n:02};EUR;"
        f"{n % 28 + 1}.{n % 12 + 1}.2025 {n % 24}:05;2025-12-31 23:59:{n % 60:02}"
        for n in range(100)
    ]
    content = "\n".join([header, *lines]).encode("windows-1252")
    path = tmp_path / "shop.csv.gz"
    path.write_bytes(gzip.compress(content))
    draft = draft_feed(path, "shop", load_contract())
    assert draft.count("# TODO") == 1  # the zone of the times
    target = tmp_path / "shop.yml"
    target.write_text(draft.replace("time_zone: UTC", "time_zone: Europe/Vienna"))
    job = Batch(spark, tmp_path, read_feed(target)).add("shop.csv.gz", gzip.compress(content))
    assert counts(job.run()) == [(100, 100, 0, 0)]
    row = job.valid()[1]
    assert (row["order_id"], row["line_number"], row["product_name"]) == ("A1", 1, "Käse, 1 €")
    assert (row["country"], row["quantity"], row["unit_price"]) == ("Österreich", 2000, Decimal("1234.0100"))
    assert row["ordered_at"] == datetime(2025, 2, 2, 0, 5)
    assert row["updated_at"] == datetime(2025, 12, 31, 22, 59, 1)
