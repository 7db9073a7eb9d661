import gzip

import pytest

from blocks.feeds import load_feed
from tasks.file_check import header_fault

HEADER = (
    "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
    "quantity,unit_price,currency,ordered_at,updated_at"
)


@pytest.fixture(scope="module")
def feed():
    return load_feed("store_sales")


def fault(feed, tmp_path, content: bytes, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    return header_fault(feed, path)


def test_good_headers_pass(feed, tmp_path):
    assert fault(feed, tmp_path, f"{HEADER}\n".encode()) is None
    assert fault(feed, tmp_path, f"\ufeff{HEADER}\r\n1,2".encode()) is None
    assert fault(feed, tmp_path, f"extra,{HEADER}\n".encode()) is None
    assert fault(feed, tmp_path, gzip.compress(HEADER.encode()), "a.csv.gz") is None
    assert fault(feed, tmp_path, f"\n\r\n{HEADER}\n".encode()) is None


def test_a_column_named_twice_and_a_file_that_is_no_csv_are_refused(feed, tmp_path):
    twice = fault(feed, tmp_path, f"{HEADER},quantity\n".encode())
    assert twice.startswith("names the columns quantity more than once")
    assert fault(feed, tmp_path, b'{"a": "' + b"x" * 200_000).startswith("has no header that can be read")


def test_missing_columns_are_named_with_those_found(feed, tmp_path):
    found = fault(feed, tmp_path, HEADER.replace("quantity,unit_price", "amount").encode())
    assert found.startswith("lacks the columns quantity, unit_price (found: order_id, line_number")


def test_an_empty_file_says_so(feed, tmp_path):
    assert fault(feed, tmp_path, b"").startswith("is empty")
    assert fault(feed, tmp_path, b"\n").startswith("is empty")


def test_a_wrong_encoding_names_byte_and_place(feed, tmp_path):
    assert fault(feed, tmp_path, "order_id,größe".encode("latin-1")).startswith(
        "is not utf-8: byte 0xf6 at position 11"
    )
    assert fault(feed, tmp_path, HEADER.encode("utf-16")).startswith("is not utf-8: byte 0xff at position 0")


def test_broken_compression_says_so(feed, tmp_path):
    assert fault(feed, tmp_path, b"not gzip", "a.csv.gz").startswith("cannot be unpacked")
    lines = "".join(f"{number * 7919}\n" for number in range(50_000))
    cut = gzip.compress(f"{HEADER}\n{lines}".encode())
    assert fault(feed, tmp_path, cut[: len(cut) // 2], "b.csv.gz").startswith("cannot be unpacked")
