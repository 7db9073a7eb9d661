"""Drafts of feeds, from samples of every make; each is YAML, and a feed where every column was found."""

import gzip
import io
import random
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.csv_sample import SAMPLE_BYTES, SAMPLE_LINES, Dialect, read_sample
from blocks.errors import WillNotHeal
from blocks.feed_draft import SYNONYMS, alike, draft_feed, name_from
from blocks.feeds import WrongDeclaration, load_contract, read_feed
from blocks.notation import Marks, find_marks, find_times, is_time

CONTRACT = load_contract()
NAMES = [name for name in CONTRACT.columns if name != "source"]
ROW = ["A1", "1", "P1", "Café", "Food", "C1", "retail", "Spain", "2", "9.99", "EUR", "2025-01-31T08:15:00Z"]
ROW.append("2025-01-31T08:20:00.25+01:00")


def sample(folder: Path, content: str | bytes, name: str = "shop.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def table(*rows: list[str], delimiter: str = ",") -> str:
    return "".join(f"{delimiter.join(row)}\n" for row in rows)


def drafted(path: Path) -> dict[str, object]:
    """Draft a feed and read it back as YAML."""
    return yaml.safe_load(draft_feed(path, "shop", CONTRACT))


def problems(path: Path) -> list[str]:
    """Draft a feed and say what `sales feeds check` would."""
    target = path.with_name("draft.yml")
    target.write_text(draft_feed(path, "shop", CONTRACT), encoding="utf-8")
    try:
        read_feed(target, CONTRACT)
    except WrongDeclaration as wrong:
        return wrong.problems
    return []


def test_a_file_with_every_column_gives_a_feed_with_nothing_left_to_do(tmp_path):
    path = sample(tmp_path, table(NAMES, ROW))
    assert problems(path) == []
    assert "# TODO" not in draft_feed(path, "shop", CONTRACT)
    draft = drafted(path)
    assert draft["columns"] == {name: name for name in NAMES}
    assert draft["constants"] == {"source": "shop"}
    assert draft["timestamps"] == {"formats": ["yyyy-MM-dd'T'HH:mm:ssXXX", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"]}
    assert "line_number" not in draft


def test_real_data(real_data):
    draft = drafted(real_data)
    assert draft["delimiter"] == ","
    assert draft["encoding"] == "utf-8"
    assert draft["timestamps"]["formats"] == ["M/d/yyyy H:mm"]
    assert draft["columns"] == {
        "order_id": "InvoiceNo",
        "product_id": "StockCode",
        "product_name": "Description",
        "customer_id": "CustomerID",
        "country": "Country",
        "quantity": "Quantity",
        "unit_price": "UnitPrice",
        "ordered_at": "InvoiceDate",
        "updated_at": "InvoiceDate",
    }
    assert draft["line_number"] == "content"
    text = draft_feed(real_data, "online_retail", CONTRACT)
    assert "the sample spans 121 day(s) if day first, 5 day(s) if month first" in text
    assert "# TODO currency: not found" in text


def test_semicolons_decimal_commas_and_windows_1252(tmp_path):
    rows = [
        ["B1", "SKU-1", "Käse €", "1.200", "1.234,50", "EUR", "05.10.2025 14:30", "Köln"] for _ in range(3)
    ]
    rows.append(["B2", "SKU-2", "Öl", "1", "3,9", "CHF", "31.10.2025 09:00", ""])
    header = [
        "Bestellnummer",
        "Artikelnummer",
        "Bezeichnung",
        "Menge",
        "Stückpreis",
        "Währung",
        "Bestelldatum",
        "Ort",
    ]
    path = sample(tmp_path, table(header, *rows, delimiter=";"), encoding="windows-1252")
    draft = drafted(path)
    assert [draft[key] for key in ("delimiter", "encoding", "decimal", "thousands", "header")] == [
        ";", "windows-1252", ",", ".", True,
    ]  # fmt: skip
    assert draft["timestamps"] == {"formats": ["dd.MM.yyyy HH:mm"], "time_zone": "UTC"}
    assert (draft["columns"]["unit_price"], draft["columns"]["currency"]) == ("Stückpreis", "Währung")
    assert problems(path) == []
    text = draft_feed(path, "shop", CONTRACT)
    assert "# a guess, as it is not UTF-8: is this right? Käse €" in text
    assert "# TODO the times do not say their zone" in text
    assert "#   Ort (text such as Köln)" in text


def test_tabs_and_no_quotes(tmp_path):
    rows = [["A1", f"P{n}", f'{n}" pipe, long', "2", "1.5", "EUR", "2025-01-31 08:15:00"] for n in range(9)]
    header = ["order", "sku", "title", "qty", "price", "currency", "date"]
    path = sample(tmp_path, table(header, *rows, delimiter="\t"))
    draft = drafted(path)
    assert (draft["delimiter"], draft["quote"]) == ("\t", "")
    assert draft["timestamps"]["formats"] == ["yyyy-MM-dd HH:mm:ss"]
    assert problems(path) == []


def test_no_header(tmp_path):
    rows = [[f"A{n}", "SKU", str(n), "1.50", "EUR", "2025-01-31T08:15:00+0100", ""] for n in range(1, 9)]
    path = sample(tmp_path, table(*rows))
    draft = drafted(path)
    assert draft["header"] == [f"column_{n}" for n in range(1, 8)]
    # What can be told by its values; two texts and a number cannot.
    assert draft["columns"] == {
        "unit_price": "column_4",
        "currency": "column_5",
        "ordered_at": "column_6",
        "updated_at": "column_6",
    }
    assert draft["timestamps"]["formats"] == ["yyyy-MM-dd'T'HH:mm:ssXX"]
    text = draft_feed(path, "shop", CONTRACT)
    assert "# TODO the file has no line of names" in text
    assert "  - column_4 # decimal such as 1.50" in text
    assert "# TODO quantity: not found; perhaps column_3, column_7" in text
    assert "unit_price: column_4 # by its values alone: is it?" in text
    assert problems(path) == [
        f"columns: nothing fills the required column {name}"
        for name in ("order_id", "product_id", "quantity")
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_encodings_of_unicode(tmp_path, encoding):
    path = sample(tmp_path, table(NAMES, *[ROW] * 20), encoding=encoding)
    assert drafted(path)["encoding"] == encoding[:6].rstrip("-")
    assert problems(path) == []


@pytest.mark.parametrize(
    ("times", "formats", "said"),
    [
        (["13/01/2025 08:00", "01/02/2025 09:00"], ["dd/MM/yyyy HH:mm"], ""),
        (["01/13/2025 8:00 AM", "02/01/2025 12:30 PM"], ["MM/dd/yyyy h:mm a"], ""),
        (
            ["1/2/2025", "1/3/2025", "1/4/2025"],
            ["M/d/yyyy"],
            "60 day(s) if day first, 3 day(s) if month first",
        ),
        (
            ["1/2/2025", "2/2/2025", "3/2/2025"],
            ["d/M/yyyy"],
            "3 day(s) if day first, 60 day(s) if month first",
        ),
        (["1/2/2025 8:00", "1/31/2025 8:00:30"], ["M/d/yyyy H:mm", "M/d/yyyy H:mm:ss"], ""),
        (["13/1/2025", "1/13/2025"], ["d/M/yyyy", "M/d/yyyy"], "only be day first, others only month first"),
        (["1.2.2025", "2.2.2025"], ["d.M.yyyy"], ""),
        (["2025-01-02", "2025/01/02"], ["yyyy-MM-dd", "yyyy/MM/dd"], ""),
        (["20250131", "20250201"], ["yyyyMMdd"], ""),
        (["31-Jan-2025 08:15"], ["d-MMM-yyyy HH:mm"], ""),
        (["2025-12-24T18:00:00.123456789Z"], ["yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSSXXX"], ""),
    ],
)
def test_times(times, formats, said):
    assert is_time(times)
    found = find_times(times)
    assert list(found.examples) == formats
    assert said in found.doubt
    assert bool(said) == bool(found.doubt)


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["12/24/2010 8:26", "unknown"],
        ["1.2.3"],
        ["536365"],
        ["24/24/2010"],
        ["2025-01-01 25:00"],
        ["1.5"],
    ],
)
def test_what_is_no_time(values):
    assert not is_time(values)


def test_some_wrong_values_do_not_hide_a_time():
    assert is_time([*(f"2025-01-31 08:{n:02}" for n in range(40)), "unknown"])


def test_a_day_that_is_no_date_tells_the_order():
    assert list(find_times(["2/10/2025", "2/11/2025"]).examples) == ["M/d/yyyy"]
    assert list(find_times(["30/2/2025"]).examples) == ["d/M/yyyy"]


@pytest.mark.parametrize(
    ("numbers", "marks", "doubtful"),
    [
        (["1", "20"], (".", ""), ""),
        (["1.5", "1,234.50"], (".", ","), ""),
        (["1,5", "1.234,50"], (",", "."), ""),
        (["1,5", "1234,50"], (",", ""), ""),
        (["1,5", "1 234,50"], (",", " "), ""),
        (["1,5", "1\u00a0234,50"], (",", "\u00a0"), ""),
        (["1,5", "1\u202f234,50"], (",", "\u202f"), ""),
        (["1.5", "1'234.50"], (".", "'"), ""),
        (["1.234", "5.678"], (".", ""), "1.234"),
        (["1,234"], (",", ""), "1,234"),
        (["1,234,567"], (".", ","), ""),
        (["-.5", "+7."], (".", ""), ""),
    ],
)
def test_marks(numbers, marks, doubtful):
    assert find_marks([["text", "more"], numbers]) == (Marks(*marks), doubtful)


def test_a_number_that_may_be_two_is_said(tmp_path):
    path = sample(tmp_path, table(["qty", "price"], ["1", "1.234"], ["2", "2.500"]))
    assert "# TODO is 1.234 the number 1.234? If it is another" in draft_feed(path, "shop", CONTRACT)


def test_names_are_recognised():
    assert {wanted: alike(wanted, wanted.upper().replace("_", " ")) for wanted in NAMES} == dict.fromkeys(
        NAMES, 1.0
    )
    assert set(SYNONYMS) == set(NAMES)
    for wanted, names in SYNONYMS.items():
        for name in names:
            assert [other for other in SYNONYMS if alike(other, name) == 1.0] == [wanted]
    assert alike("ordered_at", "Order-Date ") == 1
    assert 0.85 <= alike("order_id", "OrdersID") < 1
    assert alike("unit_price", "Total Price") < 0.85


def test_a_guess_by_a_similar_name_and_a_name_that_misleads_are_said(tmp_path):
    header = ["order_ids", "sku", "quantity", "unit price", "order date", "customer_id", "customer_id"]
    rows = [["A1", "P1", "2 pcs", "1.5", "2025-01-31", "C1", "C1"]]
    path = sample(tmp_path, table(header, *rows))
    text = draft_feed(path, "shop", CONTRACT)
    assert "  order_id: order_ids # by a similar name: is it?" in text
    assert (
        "# TODO quantity: not found; quantity (text such as 2 pcs) is called so, but its values are no integer"
        in text
    )
    assert "customer_id" not in drafted(path)["columns"]  # two columns of one name cannot be told apart
    assert "updated_at: order date # no other time of change was found" in text


def test_a_file_of_names_only(tmp_path):
    path = sample(tmp_path, ",".join(NAMES))
    assert drafted(path)["columns"] == {name: name for name in NAMES}
    assert problems(path) == ["timestamps.formats: Tuple should have at least 1 item after validation, not 0"]


def test_lines_that_do_not_split_are_said(tmp_path):
    path = sample(tmp_path, table(NAMES, *[['"A1"', *ROW[1:]]] * 9, ["A1", "2"], ['"torn', *ROW[1:]]))
    assert "# TODO 2 of the lines do not split into 13 fields" in draft_feed(path, "shop", CONTRACT)
    assert problems(path) == []


def test_only_the_first_lines_are_read(tmp_path):
    path = sample(tmp_path, table(NAMES, *[ROW] * SAMPLE_LINES))
    assert read_sample(path).lines == SAMPLE_LINES - 1
    assert f"made from the first {SAMPLE_LINES - 1:,} lines of shop.csv" in draft_feed(path, "shop", CONTRACT)
    long = ["x" * 100_000, *ROW[1:]]
    path = sample(tmp_path, table(NAMES, *[long] * 100))
    assert (read_sample(path).lines, read_sample(path).broken) == (SAMPLE_BYTES // 100_125, 0)


@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_packed_files(tmp_path, packing):
    content = table(NAMES, ROW).encode()
    if packing == "gz":
        path = sample(tmp_path, gzip.compress(content), "day.csv.gz")
    else:
        packed = io.BytesIO()
        with ZipFile(packed, "w") as archive:
            archive.writestr("folder/", "")
            archive.writestr("folder/day.csv", content)
            archive.writestr("__MACOSX/folder/._day.csv", b"\0\1")
        path = sample(tmp_path, packed.getvalue(), "day.csv.zip")
    assert drafted(path)["glob"] == "*.csv*"
    assert problems(path) == []


def archive_of(*names: str) -> bytes:
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "a,b\n1,2\n")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty; a draft needs a file with a header or some lines"),
        ("a.csv", b"\xef\xbb\xbf\r\n\n", "is empty"),
        ("a.csv.gz", gzip.compress(b""), "is empty"),
        (
            "a.csv",
            bytes(range(256)) * 10,
            "holds bytes that no text has (0x00 and others), so it is no CSV file",
        ),
        ("a.csv", b"\x1f\x8b" + b"\x05\x01\x02\xff" * 50, "holds bytes that no text has (0x1f and others)"),
        ("a.xlsx", archive_of("a.xml"), "holds bytes that no text has"),
        ("a.csv.gz", b"a,b\n1,2\n", "cannot be unpacked (Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99)[:-12], "cannot be unpacked (Compressed file ended"),
        ("a.zip", b"PK\x03\x04", "cannot be unpacked (File is not a zip file)"),
        ("a.zip", archive_of(), "has 0 files; give a .zip with exactly one"),
        ("a.zip", archive_of("b.csv", "a.csv"), "has 2 files: a.csv, b.csv; give a .zip with exactly one"),
        (
            "a.csv",
            b"word\nanother\n",
            "has one column only: none of the delimiters , ; | and tab parts its lines",
        ),
    ],
)
def test_what_cannot_be_drafted_is_said_in_one_sentence(tmp_path, name, content, said):
    path = sample(tmp_path, content, name)
    with pytest.raises(WillNotHeal) as error:
        draft_feed(path, "shop", CONTRACT)
    assert str(error.value).startswith(f"{path} {said}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    for path, said in ((tmp_path / "no.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(WillNotHeal, match=f"cannot be read: {said}"):
            read_sample(path)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("a,b", ["a", "b"]),
        ('"a,b",c', ["a,b", "c"]),
        ('"say ""so""",', ['say "so"', ""]),
        ('"torn,b', None),
        ('in"ch,b', None),
        ('"a"x,b', None),
    ],
)
def test_lines_are_split_as_the_job_splits_them(line, fields):
    assert Dialect(",", '"').split(line) == fields


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("'a;b';1\n'c';2\n", (";", "'")),
        ("a|1,5|x\nb|2,5|y\n", ("|", '"')),
        ("a;1,50;2\nb;2,75;3\n", (";", '"')),
        ("a;b,1,2\nc;d,3,4\n", (",", '"')),
        ('"a","x"\n"b","5" pipe"\n"c","y"\n', (",", '"')),
    ],
)
def test_delimiter_and_quote(tmp_path, content, found):
    dialect = read_sample(sample(tmp_path, content)).dialect
    assert (dialect.delimiter, dialect.quote) == found


def test_a_name_is_made_of_the_files():
    assert name_from(Path("/x/Umsätze 2025 (Köln).csv.gz")) == "umsatze_2025_koln"
    assert name_from(Path(".csv")) == name_from(Path("продажи.csv")) == "feed"


CELLS = st.text(max_size=12) | st.sampled_from(
    [*NAMES, *ROW, "1,5", "1.234,5", "31/12/2025", "#", ": ", "'", '"', "- a"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=14), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
)
def test_a_draft_is_yaml_whatever_is_in_the_file(tmp_path, rows, delimiter):
    path = sample(tmp_path, table(*rows, delimiter=delimiter).encode("utf-8", "replace"))
    try:
        found = problems(path)
    except WillNotHeal:
        return
    lacking = (
        "columns: nothing fills the required column",
        "timestamps.formats: Tuple should have at least 1 item",
    )
    assert [problem for problem in found if not problem.startswith(lacking)] == []


def test_a_draft_is_the_same_each_time(tmp_path):
    dice = random.Random(7)
    rows = [dice.sample(ROW, len(ROW)) for _ in range(50)]
    path = sample(tmp_path, table(NAMES, *rows))
    assert draft_feed(path, "shop", CONTRACT) == draft_feed(path, "shop", CONTRACT)
