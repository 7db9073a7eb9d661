"""The first look at a file: what passes, and what is said about a file that no load could read."""

import gzip
import zipfile

import pytest

from blocks.errors import WillNotHeal
from blocks.feeds import Derived, load_feed
from cli.demo import input_files
from tasks.file_check import HEADER_BYTES, first_line, header_fault, nothing_to_load

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


def test_the_first_line_ends_where_spark_sees_its_end(feed, tmp_path):
    for end in ("\n", "\r\n", "\r"):
        content = f"{end}{end}{HEADER}{end}1,2{end}".encode()
        (tmp_path / "a.csv").write_bytes(content)
        (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
        assert first_line(tmp_path / "a.csv") == first_line(tmp_path / "a.csv.gz") == HEADER.encode()
    # Spark takes a line of spaces for the header.
    assert fault(feed, tmp_path, f"  \n{HEADER}\n".encode()).startswith("lacks the columns country")
    assert fault(feed, tmp_path, f"\ufeff\ufeff{HEADER}\n".encode()).startswith(
        "lacks the columns order_id ("
    )
    assert fault(feed, tmp_path, b"\r\n\r\n\n" * HEADER_BYTES).startswith("is empty")


def test_a_first_line_too_long_for_a_header_is_refused(feed, tmp_path):
    said = "begins with a line of more than 1,048,576 bytes. Is it a CSV file?"
    long = f"{HEADER},".encode()
    long += b"x" * (HEADER_BYTES - len(long))
    headerless = feed.model_copy(update={"header": tuple(HEADER.split(","))})
    for content in (long + b"x\n", long + b"x", long * 3):
        assert fault(feed, tmp_path, content) == fault(headerless, tmp_path, content) == said
    assert fault(feed, tmp_path, gzip.compress(long * 3), "a.csv.gz") == said
    assert fault(headerless, tmp_path, long + b"\n") is None
    assert fault(feed, tmp_path, long + b"\n").startswith("has no header that can be read (field larger")
    wide = f"{HEADER}{',more' * 200_000}\n".encode()
    assert len(wide) < HEADER_BYTES
    assert fault(feed, tmp_path, wide) is None


def test_only_a_header_is_a_file_with_no_rows(feed, tmp_path):
    for content in (HEADER, f"{HEADER}\n", f"\ufeff{HEADER}\r\n\r\n"):
        assert fault(feed, tmp_path, content.encode()) is None


def test_zero_bytes_in_most_characters_are_another_encoding(feed, tmp_path):
    latin = feed.model_copy(update={"encoding": "iso-8859-1", "header": tuple(HEADER.split(","))})
    for mark in ("", "\ufeff"):
        content = f"{mark}{HEADER}\n".encode("utf-16-le")
        assert fault(latin, tmp_path, content) == (
            "holds zero bytes as UTF-16 and UTF-32 do. Save it as iso-8859-1, "
            "or declare its encoding in the feed store_sales."
        )
    assert fault(feed, tmp_path, HEADER.encode("utf-16-be")).startswith("holds zero bytes")
    assert fault(feed, tmp_path, bytes(1000)).startswith("holds zero bytes")
    # One among the data is a matter of its line.
    assert fault(feed, tmp_path, f"{HEADER}\n1,\0,2\n".encode()) is None
    assert fault(latin, tmp_path, f"{HEADER}\0\n".encode()) is None


def test_columns_that_others_are_made_of_are_wanted_and_those_made_are_not(feed, tmp_path):
    derived = {"ordered_at": Derived(concat=("day", "time"), separator="T")}
    made = feed.model_copy(update={"derived": derived})
    assert fault(made, tmp_path, f"{HEADER}\n".encode()).startswith("lacks the columns day, time (found")
    assert fault(made, tmp_path, HEADER.replace("ordered_at", "day,time").encode()) is None
    assert fault(made, tmp_path, HEADER.replace("ordered_at", "day,time,day").encode()).startswith(
        "names the columns day more than once"
    )


def test_a_feed_without_quotes_takes_them_as_letters(feed, tmp_path):
    bare = feed.model_copy(update={"quote": ""})
    assert fault(bare, tmp_path, f"{HEADER}\n".encode()) is None
    assert fault(bare, tmp_path, HEADER.replace("country", '"country"').encode()).startswith(
        "lacks the columns country"
    )


def test_a_gz_bomb_with_a_good_header_is_refused(feed, tmp_path):
    with gzip.open(tmp_path / "bomb.csv.gz", "wb") as file:
        file.write(f"{HEADER}\n".encode())
        for _ in range(110):
            file.write(bytes(1 << 20))
    size = (tmp_path / "bomb.csv.gz").stat().st_size
    assert header_fault(feed, tmp_path / "bomb.csv.gz").startswith(
        f"unpacks from {size:,} bytes to 105,906,176 or more"
    )


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.csv", content)
    return path


def test_one_member_that_can_be_loaded_is_enough(feed, tmp_path):
    assert nothing_to_load(feed, zipped(tmp_path / "a.zip", bad="x", good=HEADER)) is None
    none = nothing_to_load(feed, zipped(tmp_path / "a.zip", bad="x,y", empty=""))
    assert none.startswith("a.zip/bad.csv lacks the columns country, currency, ")
    assert none.endswith(
        " a.zip/empty.csv is empty. Send the file again, or remove it if there were no sales."
    )
    assert nothing_to_load(feed, zipped(tmp_path / "a.zip")).startswith("a.zip is an archive without a file.")


def test_utf16_is_looked_at_as_what_it_becomes(feed, tmp_path):
    wide = feed.model_copy(update={"encoding": "utf-16"})
    (tmp_path / "a.csv").write_bytes(HEADER.encode("utf-16"))
    assert nothing_to_load(wide, tmp_path / "a.csv") is None
    assert nothing_to_load(feed, tmp_path / "a.csv").startswith("a.csv is not utf-8: byte 0xff at position 0")
    assert nothing_to_load(wide, zipped(tmp_path / "a.zip", a=HEADER.encode("utf-16-be"))) is None
    (tmp_path / "a.csv").write_bytes("order_id".encode("utf-16"))
    assert nothing_to_load(wide, tmp_path / "a.csv").startswith("a.csv lacks the columns country")
    (tmp_path / "a.csv").write_bytes(HEADER.encode("utf-16") + b"x")
    assert nothing_to_load(wide, tmp_path / "a.csv") == (
        f"a.csv is not utf-16 at byte {2 * len(HEADER) + 2} (truncated data). Send the file again."
    )


def test_the_demo_takes_archives_and_says_at_once_that_nothing_in_one_can_be_loaded(tmp_path):
    good = zipped(tmp_path / "good.csv.zip", good=HEADER, bad="x")
    assert input_files("store_sales", good) == [good]
    bad = zipped(tmp_path / "bad.csv.zip", bad="x")
    assert input_files("store_sales", tmp_path) == [bad, good]
    with pytest.raises(
        WillNotHeal, match=r"None of the files can be loaded\. bad\.csv\.zip/bad\.csv lacks the columns"
    ):
        input_files("store_sales", bad)
