"""Whatever the files hold, every line ends in exactly one place, for the right reasons: random files, an oracle."""

import gzip
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from blocks.feeds import Feed, load_contract, load_feed
from spark_jobs.sales_batch import COUNTS
from tests.contract.batch_oracle import expect
from tests.contract.sales_batches import Batch

FEED = load_feed("store_sales")
COLUMNS = list(FEED.columns.values())
ENCODINGS = ("utf-8", "iso-8859-1", "iso-8859-15", "windows-1250", "windows-1252")
# For each column, texts of which the first is right and the others may be wrong.
TIMES = [
    "2025-01-31T08:15:00Z", "2025-01-31T10:15:00+02:00", "2024-02-29T00:00:00.5Z", "2025-02-29T00:00:00Z",
    "1999-12-31T23:59:59.999999Z", "2100-01-01T00:00:00Z", "2025", "12:30", "",
]  # fmt: skip
TEXTS = {
    "order_id": ["A1", "A2", " A3 ", "", "Ä"],
    "line_number": ["1", "2", "+3", "", "9223372036854775807", "9223372036854775808", "1.0"],
    "product_id": ["P1", "", " "],
    "product_name": ["Lamp", "", "a, b; c | d\te", 'say "no"', "it's", "Café", "NULL", "=1+1", "\\"],
    "quantity": ["1", "-2", "0", "-0", "two", "2147483648", "1e1", "0x1", " 7"],
    "unit_price": ["9", "9.99", "9,99", "-1", "0", ".5", "5.", ".", "1.23456", "NaN", "1" * 15, "Infinity"],
    "currency": ["EUR", "GBP", "XXX", ""],
    "ordered_at": TIMES,
    "updated_at": TIMES,
}
OTHER = ["x", ""]


@st.composite
def feeds(draw: Any) -> Feed:
    """The feed store_sales, its files written in one way or another."""
    changes = {
        "delimiter": draw(st.sampled_from([",", ";", "|", "\t"])),
        "quote": draw(st.sampled_from(['"', '"', "'", ""])),
        "encoding": draw(st.sampled_from(ENCODINGS)),
        "decimal": draw(st.sampled_from([".", ","])),
        "header": draw(st.sampled_from([True, True, tuple(COLUMNS)])),
        "duplicates": draw(st.sampled_from(["drop", "keep", "quarantine"])),
    }
    return FEED.model_copy(update=changes)


def fields(column: str, feed: Feed) -> st.SearchStrategy[str]:
    """A text that is right more often than not, so that many lines are valid and some are equal."""
    texts = TEXTS.get(column, OTHER)
    known = st.sampled_from(texts[:1] * 8 * len(texts) + texts)
    quoted = known.map(lambda text: feed.quote + text.replace(feed.quote, feed.quote * 2) + feed.quote)
    return st.one_of(known, known, known, quoted if feed.quote else known)


def lines(feed: Feed) -> st.SearchStrategy[bytes]:
    """Mostly lines of good shape whose values may be wrong, some of wrong shape, some that are no text at all."""
    whole = st.tuples(*(fields(column, feed) for column in COLUMNS)).map(feed.delimiter.join)
    cut = st.tuples(whole, st.integers(0, 120)).map(lambda drawn: drawn[0][: drawn[1]])
    shapeless = st.text(st.sampled_from([feed.delimiter, feed.quote or "q", '"', "a", "1", " ", "é", "\x00"]))
    text = st.one_of(*[whole] * 6, cut, shapeless, st.just(""))
    noise = st.binary(max_size=20).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b""))
    return st.one_of(*[text.map(lambda line: line.encode(feed.encoding, "replace"))] * 8, noise)


@st.composite
def batches(draw: Any) -> tuple[Feed, dict[str, bytes]]:
    """A feed and one to four files of it, with or without header, packed or plain, ended as may be."""
    feed, files = draw(feeds()), {}
    header = [feed.delimiter.join(COLUMNS).encode()] if feed.header is True else []
    for number in range(draw(st.integers(1, 4))):
        end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
        size = draw(st.sampled_from([0, 1, 30, 60]))
        body = draw(st.lists(lines(feed), min_size=size, max_size=size))
        content = end.join([*header, *body]) + draw(st.sampled_from([b"", end]))
        if draw(st.booleans()) and feed.encoding == "utf-8":
            content = b"\xef\xbb\xbf" + content
        packed = draw(st.booleans())
        files[f"f{number}.csv{'.gz' if packed else ''}"] = gzip.compress(content) if packed else content
    return feed, files


# The same files on every machine: a failure is a change of the code, not luck.
RANDOM = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_random_files_hold_lines_of_every_fate():
    fates: Counter[str] = Counter()

    @given(batches())
    @RANDOM
    def count(drawn):
        expected = expect(drawn[0], load_contract(), drawn[1])
        fates.update(valid=len(expected.valid), dropped=expected.dropped.total())
        for rules, _ in expected.rejected.values():
            fates.update(rules.split(","))

    count()
    assert fates["valid"] > 50
    assert fates["dropped"] > 10
    assert {"malformed_row", "encoding_invalid", "duplicate_row", "unit_price_invalid"} <= set(fates)
    assert len(fates) > 12


@given(drawn=batches())
@RANDOM
def test_every_line_ends_in_exactly_one_place_for_the_right_reasons(spark, tmp_path_factory, drawn):
    feed, files = drawn
    job = Batch(spark, tmp_path_factory.mktemp("random"), feed)
    for name, content in files.items():
        job.add(name, content)
    metrics, expected = job.run(), expect(feed, load_contract(), files)
    rejected = {(name, number): (rules, raw) for name, number, rules, raw in job.rejected()}
    valid = {(row["file_name"], row["file_line"]): row for row in job.valid()}
    assert rejected == expected.rejected
    assert {
        place: {c: row[c] for c in load_contract().columns} for place, row in valid.items()
    } == expected.valid
    for file in metrics["files"]:
        name = file["name"]
        places = [place for place in (*valid, *rejected) if place[0] == name]
        assert (file["rows_read"], file["rows_duplicate"]) == (expected.read[name], expected.dropped[name])
        assert len(places) + expected.dropped[name] == expected.read[name]
    assert sum(metrics["totals"][count] for count in COUNTS[1:]) == metrics["totals"]["rows_read"]
