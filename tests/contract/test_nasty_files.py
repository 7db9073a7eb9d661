"""Files and lines of unknown quality: the job never stops, loses nothing, and says exactly what is wrong."""

import gzip

import pytest

from blocks.feeds import load_feed
from spark_jobs import sales_batch
from tests.contract.nasty_lines import QUOTED, TEXTS, nasty_lines
from tests.contract.sales_batches import GOOD, HEADER, Batch, counts, line

LINES = nasty_lines()
FIRST = 2  # the line after the header


@pytest.fixture(scope="module")
def judged(spark, tmp_path_factory) -> Batch:
    """Every nasty line in one file, equal ones kept."""
    feed = load_feed("store_sales").model_copy(update={"duplicates": "keep"})
    job = Batch(spark, tmp_path_factory.mktemp("nasty"), feed)
    job.add("nasty.csv", b"\n".join([HEADER.encode(), *(text for _, text, _ in LINES)]))
    job.run()
    return job


def test_every_nasty_line_ends_in_one_place_with_its_reasons(judged):
    fates = [(row["file_line"], "") for row in judged.valid()]
    fates += [(number, rules) for _, number, rules, _ in judged.rejected()]
    names = {number: name for number, (name, _, _) in enumerate(LINES, FIRST)}
    found = {names[number]: rules for number, rules in fates}
    assert found == {name: rules for name, _, rules in LINES}
    assert len(fates) == len(LINES) == len(names)
    valid = sum(rules == "" for _, _, rules in LINES)
    assert counts(judged.metrics) == [(len(LINES), valid, len(LINES) - valid, 0)]


def test_a_rejected_line_is_kept_to_the_byte(judged):
    for _, number, rules, raw in judged.rejected():
        encoding = "iso-8859-1" if rules == "encoding_invalid" else "utf-8"
        name, text, _ = LINES[number - FIRST]
        assert raw.encode(encoding) == text, name


def test_text_comes_through_unchanged(judged):
    found = {LINES[row["file_line"] - FIRST][0]: row["product_name"] for row in judged.valid()}
    expected = {f"text: {name}": text for name, text in TEXTS.items()}
    expected |= {f"quoted: {name}": text for name, (_, text) in QUOTED.items()}
    assert {name: found[name] for name in expected} == expected


def rows(*ids: str) -> str:
    return "".join(f"{line(order_id=order_id)}\n" for order_id in ids)


TWO = rows("A1", "A2")
QUOTED_NEWLINE = '"La\nmp"'
WIDE = ",".join([HEADER, *(f"extra{n}" for n in range(2_000))])
# File: its content, and rows read, valid, quarantined and duplicate.
FILES: dict[str, tuple[str | bytes, tuple[int, int, int, int]]] = {
    "empty": ("", (0, 0, 0, 0)),
    "one newline": ("\n", (0, 0, 0, 0)),
    "newlines of every kind": ("\n\r\n\r\r\n\n", (0, 0, 0, 0)),
    "only a header": (HEADER, (0, 0, 0, 0)),
    "only a header, ended": (f"{HEADER}\r\n", (0, 0, 0, 0)),
    "a header and empty lines": (f"{HEADER}\n\n\r\n\n", (0, 0, 0, 0)),
    "a header and spaces": (f"{HEADER}\n   \n", (1, 0, 1, 0)),
    "a byte order mark": (f"\ufeff{HEADER}\n{TWO}", (2, 2, 0, 0)),
    "nothing but a byte order mark and a header": (f"\ufeff{HEADER}", (0, 0, 0, 0)),
    "files put together, marks and all": (f"\ufeff{HEADER}\n{TWO}\ufeff{rows('A3')}", (3, 3, 0, 0)),
    "no end of line": (f"{HEADER}\n{GOOD}", (1, 1, 0, 0)),
    "CRLF": (f"{HEADER}\n{TWO}".replace("\n", "\r\n"), (2, 2, 0, 0)),
    "CR": (f"{HEADER}\n{TWO}".replace("\n", "\r"), (2, 2, 0, 0)),
    "ends mixed": (f"{HEADER}\r\n{rows('A1')}\r{rows('A2')}\r\n\r\n{rows('A3')}", (3, 3, 0, 0)),
    "empty lines between": (f"{HEADER}\n\n{rows('A1')}\n\n{rows('A2')}\n", (2, 2, 0, 0)),
    "empty lines first": (f"\n\r\n\n{HEADER}\n{TWO}", (2, 2, 0, 0)),
    "a header with spaces": (f" {HEADER.replace(',', ' , ')} \n{TWO}", (2, 2, 0, 0)),
    "a header in quotes": (f'"{HEADER.replace(",", chr(34) + "," + chr(34))}"\n{TWO}', (2, 2, 0, 0)),
    "a wide header": (f"{WIDE}\n{GOOD}{',' * 2_000}\n{GOOD}\n", (2, 1, 1, 0)),
    "surplus columns of one name": (f"{HEADER},x,x,,\n{GOOD},1,2,3,4\n{GOOD},1\n", (2, 1, 1, 0)),
    "the header twice": (f"{HEADER}\n{TWO}{HEADER}\n{rows('A3')}", (4, 3, 1, 0)),
    "the same line a thousand times": (f"{HEADER}\n{rows('A1') * 1_000}", (1_000, 1, 0, 999)),
    "the same broken line again": (f"{HEADER}\n{rows('') * 3}", (3, 0, 3, 0)),
    "equal but for quotes and spaces": (
        f"{HEADER}\n{GOOD}\n{line(product_name=chr(34) + 'Lamp' + chr(34))}\n{line(order_id=' A1')}\n",
        (3, 1, 0, 2),
    ),
    "a newline in a field": (f"{HEADER}\n{line(product_name=QUOTED_NEWLINE)}\n", (2, 0, 2, 0)),
    "cut off in a field": (f"{HEADER}\n{TWO}{GOOD[:30]}", (3, 2, 1, 0)),
    "cut off in a quote": (f'{HEADER}\n{TWO}A1,1,P1,"La', (3, 2, 1, 0)),
    "cut off in a character": (f"{HEADER}\n{TWO}".encode() + line(product_name="€").encode()[:-60], (3, 2, 1, 0)),
    "encodings mixed": (
        f"{HEADER}\n{line(product_name='Café')}\n".encode() + line(product_name="Café").encode("latin-1"),
        (2, 1, 1, 0),
    ),
    "NUL bytes after the data": (f"{HEADER}\n{TWO}".encode() + bytes(5_000), (3, 2, 1, 0)),
    "a hole of NUL bytes": (f"{HEADER}\n{rows('A1')}{chr(0) * 5_000}\n{rows('A2')}", (3, 2, 1, 0)),
    "a picture after the header": (f"{HEADER}\n".encode() + b"\x89PNG\r\n\x1a\n\xff\xd8", (3, 0, 3, 0)),
    "a line of ten megabytes": (f"{HEADER}\n{rows('A1')}{'y' * 10_000_000}\n{rows('A2')}", (3, 2, 1, 0)),
    "a field of ten megabytes": (f"{HEADER}\n{line(product_name='y' * 10_000_000)}\n{rows('A2')}", (2, 2, 0, 0)),
    "a footer": (f"{HEADER}\n{TWO}-- 2 rows --\n", (3, 2, 1, 0)),
    "a separator line, as spreadsheets write it": (f"{HEADER}\nsep=,\n{TWO}", (3, 2, 1, 0)),
    "packed.csv.gz": (gzip.compress(f"{HEADER}\n{TWO}".encode()), (2, 2, 0, 0)),
    "packed in parts.csv.gz": (
        gzip.compress(f"{HEADER}\n{rows('A1')}".encode()) + gzip.compress(rows("A2", "A3").encode()),
        (3, 3, 0, 0),
    ),
    "packed nothing.csv.gz": (gzip.compress(b""), (0, 0, 0, 0)),
    "packed header.csv.gz": (gzip.compress(HEADER.encode()), (0, 0, 0, 0)),
    "packed tightly.csv.gz": (gzip.compress(f"{HEADER}\n{rows('A1') * 50_000}".encode()), (50_000, 1, 0, 49_999)),
    "*?[a-z]{x,y}": (f"{HEADER}\n{TWO}", (2, 2, 0, 0)),
    "%2e%2e%2f 100% ü漢💡 '\"$HOME;": (f"{HEADER}\n{TWO}", (2, 2, 0, 0)),
    "a#b&c=d+e,f~": (f"{HEADER}\n{TWO}", (2, 2, 0, 0)),
    "n" * 200: (f"{HEADER}\n{TWO}", (2, 2, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("split", [None, 100_000], ids=["as one", "in splits"])
def test_every_nasty_file_is_counted(batch, spark, split):
    """Each file's orders are its own, so that no file's line equals another's."""
    job = batch()
    for number, (name, (content, _)) in enumerate(FILES.items()):
        job.add(f"{number:02d} {name}", mark(content, number))
    if split:
        spark.conf.set("spark.sql.files.maxPartitionBytes", split)
    try:
        metrics = job.run()
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    found = dict(zip(FILES, counts(metrics), strict=True))
    assert found == {name: expected for name, (_, expected) in FILES.items()}
    placed = [(row["file_name"], row["file_line"]) for row in job.valid()]
    placed += [(name, number) for name, number, _, _ in job.rejected()]
    assert (
        len(placed)
        == len(set(placed))
        == metrics["totals"]["rows_read"] - metrics["totals"]["rows_duplicate"]
    )


def mark(content: str | bytes, number: int) -> bytes:
    """Give a file's good lines a product of its own."""
    text = content.encode() if isinstance(content, str) else content
    if text.startswith(b"\x1f\x8b"):
        return gzip.compress(gzip.decompress(text).replace(b",P1,", f",P{number},".encode()))
    return text.replace(b",P1,", f",P{number},".encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", None),
        (HEADER.replace("quantity", "qty"), "the header lacks quantity; found order_id, .*qty"),
        (HEADER.replace(",", ";"), "the header lacks country, .*; found order_id;line_number"),
        (f"{HEADER},country", "the header names country more than once"),
        (f'"{HEADER}', "the header lacks country"),
        ("PK\x03\x04\x00", "the header lacks country"),
        ("\x00" * 4_000, "the header lacks country"),
        ("x" * 3_000_000, "the header cannot be read"),
    ],
)
def test_a_file_without_the_feeds_header_is_named(batch, content, said):
    job = batch().add("a.csv", content)
    if said is None:
        assert counts(job.run()) == [(0, 0, 0, 0)]
        return
    with pytest.raises(sales_batch.BatchError, match=rf"^a\.csv: {said}"):
        job.run()


@pytest.mark.parametrize(
    "content",
    [b"no gzip at all", gzip.compress(HEADER.encode())[:12], b"\x1f\x8b\x08", b"\x1f\x8b" + bytes(50)],
    ids=["text", "cut in the header", "only a mark", "zeros"],
)
def test_a_packed_file_that_is_damaged_is_named(batch, content):
    with pytest.raises(sales_batch.BatchError, match=r"^torn\.csv\.gz"):
        batch().add("torn.csv.gz", content).run()


def test_the_corpus_is_large_enough_to_mean_something():
    assert len(LINES) + len(FILES) >= 250
    assert len({name for name, _, _ in LINES}) == len(LINES)
