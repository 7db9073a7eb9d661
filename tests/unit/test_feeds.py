"""Feeds and contract as declared, and what is said when a declaration is wrong."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from blocks.errors import WillNotHeal
from blocks.feeds import (
    JOBS,
    PATTERN_LETTERS,
    Derived,
    Feed,
    Rule,
    Timestamps,
    WrongDeclaration,
    feed_names,
    job_spec,
    load_contract,
    load_feed,
    read_feed,
)
from blocks.settings import PROJECT

GOOD = yaml.safe_load((JOBS / "sources" / "online_retail.yml").read_text())
SHIPPED = ["europe_marketplace", "online_retail", "store_sales"]


def declared(folder: Path, **changes: object) -> Path:
    """Write a feed `f` that is the good one with changes; None takes a key away."""
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    (folder / "f.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def rule(**changes: object) -> dict[str, object]:
    return {"rules": [{"id": "r", "column": "quantity", "check": "at_least", "value": 1} | changes]}


def derived(**how: object) -> dict[str, object]:
    return {"derived": {"Made": how}}


def test_the_contract_is_the_sales_line():
    contract = load_contract()
    assert contract.key == ("source", "order_id", "line_number")
    assert list(contract.columns)[:3] == ["source", "order_id", "line_number"]
    assert contract.columns["unit_price"].type == "decimal(18,4)"
    assert not contract.columns["customer_id"].required
    assert list(contract.lineage) == ["batch_id", "file_name", "file_line"]
    assert [rule.id for rule in contract.rules] == [
        "quantity_not_zero",
        "unit_price_not_negative",
        "currency_known",
        "ordered_at_plausible",
    ]
    with pytest.raises(ValidationError, match="frozen"):
        contract.version = 2


def test_every_feed_loads():
    assert feed_names() == SHIPPED
    store, retail = load_feed("store_sales"), load_feed("online_retail")
    assert set(store.columns) | {"source"} == set(load_contract().columns)
    assert (store.delimiter, store.quote, store.encoding, store.header) == (",", '"', "utf-8", True)
    assert retail.columns["ordered_at"] == retail.columns["updated_at"] == "InvoiceDate"
    assert retail.constants == {"source": "online_retail", "currency": "GBP"}
    assert (retail.line_number, retail.timestamps.time_zone) == ("content", "Europe/London")
    assert [rule.id for rule in retail.rules] == ["unit_price_positive"]
    assert (retail.decimal, retail.thousands, retail.duplicates, retail.derived) == (".", "", "drop", {})


def test_a_feed_may_be_of_quite_another_shape():
    feed = load_feed("europe_marketplace")
    assert (feed.delimiter, feed.encoding, feed.decimal, feed.thousands) == (";", "windows-1252", ",", ".")
    assert feed.derived["Bestellung"].parts == ("Händler", "Bestellnummer")
    assert feed.derived["Warengruppe"].parts == ("Artikelnummer",)
    assert feed.derived["Land"].parts == ()
    assert set(feed.file_columns) == set(feed.header)
    assert feed.key_columns == ("Artikelnummer", "Bestellung")
    assert feed.duplicates == "quarantine"
    assert load_feed("online_retail").key_columns == tuple(sorted(set(GOOD["columns"].values())))


def test_an_unknown_feed_is_told_the_known_ones():
    with pytest.raises(WillNotHeal, match=rf"no feed 'nope'.*Feeds: {', '.join(SHIPPED)}"):
        load_feed("nope")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"glob": None}, "glob: Field required"),
        ({"globs": "x"}, "globs: unknown key, allowed are name, glob, delimiter, quote, encoding"),
        ({"delimiter": ";;"}, "delimiter: String should match pattern '^[^\\r\\n]$'"),
        ({"delimiter": "\n"}, "delimiter: String should match pattern"),
        ({"quote": "''"}, "quote: String should match pattern '^[^\\r\\n]?$'"),
        ({"quote": ","}, "quote and delimiter are the same"),
        ({"encoding": "utf-7"}, "encoding: Input should be 'utf-8', 'utf-16', 'iso-8859-1'"),
        ({"header": False}, "header.literal[True]: Input should be True"),
        ({"decimal": ";"}, "decimal: Input should be '.' or ','"),
        ({"thousands": "_"}, "thousands: Input should be '', '.', ',', ' ', "),
        ({"thousands": "."}, "thousands and decimal are the same"),
        ({"decimal": ",", "thousands": ","}, "thousands and decimal are the same"),
        ({"duplicates": "ignore"}, "duplicates: Input should be 'drop', 'keep' or 'quarantine'"),
        ({"line_number": "guess"}, "line_number: Input should be 'column' or 'content'"),
        ({"line_number": "column", "key": ["InvoiceNo"]}, "key serves line_number: content only"),
        ({"key": ["Colour"]}, "key: Colour is not mapped, allowed are InvoiceNo, StockCode, Description, Quantity"),
        ({"timestamps": {"formats": []}}, "timestamps.formats: Tuple should have at least 1 item"),
        ({"timestamps": {"formats": ["y"], "zone": "UTC"}}, "timestamps.zone: unknown key, allowed are formats"),
        ({"timestamps": {"formats": ["y"], "time_zone": "Mars"}}, "unknown time zone 'Mars'"),
        ({"timestamps": {"formats": ["YYYY"]}}, f"no letter of a datetime pattern; allowed are {PATTERN_LETTERS}"),
        ({"timestamps": {"formats": ["yyyyTHH"]}}, "'yyyyTHH': 'T' is no letter of a datetime pattern"),
        (derived(), "derived.Made: give exactly one of concat, file_name, substring"),
        (derived(concat=["Country"], file_name="(a)"), "derived.Made: give exactly one of concat, file_name"),
        (derived(substring="Country"), "derived.Made: substring needs a length"),
        (derived(substring="Country", length=-1), "derived.Made.length: Input should be greater than or equal to 0"),
        (derived(substring="Country", length=1, start=0), "derived.Made.start: Input should be greater than"),
        (derived(file_name="sales_"), "derived.Made: file_name needs a regular expression with exactly one group"),
        (derived(file_name="(a)(b)"), "derived.Made: file_name needs a regular expression with exactly one group"),
        (derived(file_name="("), "derived.Made: file_name is no regular expression: missing )"),
        (derived(glue="-"), "derived.Made.glue: unknown key, allowed are concat, separator, file_name, substring"),
        ({"derived": {"A": {"concat": ["B"]}, "B": {"concat": ["Country"]}}}, "derived.A: B is derived below it"),
        ({"derived": {"A": {"concat": ["A"]}}}, "derived.A: A is derived below it; put it above"),
        (rule(check="above"), "rules.0.check: Input should be 'not_equal', 'at_least'"),
        (rule(check="between"), "between needs a list of two values"),
        (rule(check="one_of"), "one_of needs a list of values"),
        (rule(check="one_of", value=[]), "one_of needs a list of values"),
        (rule(value=[1]), "at_least needs one value"),
        (rule(id="Not So"), "rules.0.id: String should match pattern"),
        (rule(column="amount"), "rules.r: unknown column amount, allowed are source, order_id"),
        (rule(id="quantity_not_zero"), "rules.quantity_not_zero: the id is used twice"),
        *((rule(id=job), f"rules.{job}: the job itself uses this id; choose another") for job in
          ("malformed_row", "encoding_invalid", "duplicate_row", "quantity_missing", "ordered_at_invalid")),
        (rule(value="few"), "rules.r: 'few' is no integer, which quantity is"),
        (rule(value=1.5), "rules.r: 1.5 is no integer, which quantity is"),
        (rule(value=None), "rules.r: None is no integer, which quantity is"),
        (rule(check="between", value=[1, "x"]), "rules.r: 'x' is no integer, which quantity is"),
        (rule(column="unit_price", value="1,50"), "rules.r: '1,50' is no decimal(18,4), which unit_price is"),
        (rule(column="unit_price", value=float("nan")), "rules.r: nan is no decimal(18,4), which unit_price is"),
        (rule(column="ordered_at", value="last week"), "rules.r: 'last week' is no timestamp, which ordered_at is"),
        (rule(column="country", check="one_of", value=["DE", False]), "rules.r: False is no string, which country is"),
        ({"constants": GOOD["constants"] | {"currency": "XXX"}}, "constants.currency: 'XXX' breaks currency_known"),
        ({"columns": GOOD["columns"] | {"colour": "X"}}, "colour: unknown column, allowed are source, order_id"),
        ({"constants": {"source": "f"}}, "nothing fills the required column currency"),
        ({"constants": GOOD["constants"] | {"quantity": "1"}}, "quantity is filled twice"),
        ({"columns": GOOD["columns"] | {"line_number": "Line"}}, "columns: line_number is filled twice"),
        ({"line_number": "column"}, "nothing fills the required column line_number"),
        ({"columns": GOOD["columns"] | {"source": "Shop"}, "constants": {"currency": "GBP"}}, "must be a constant"),
        ({"header": ["InvoiceNo"]}, "header: lacks the mapped column Country"),
        ({"header": [*GOOD["columns"].values(), "Country"]}, "header: Country is named twice"),
        (derived(concat=["Colour"]) | {"header": list(GOOD["columns"].values())}, "lacks the mapped column Colour"),
    ],
)  # fmt: skip
def test_a_wrong_feed_is_told_file_key_and_what_is_allowed(tmp_path, changes, said):
    with pytest.raises(WillNotHeal) as error:
        load_feed("f", declared(tmp_path, **changes))
    assert said in str(error.value)
    assert str(tmp_path / "f.yml") in str(error.value)


def test_every_problem_is_told_at_once(tmp_path):
    with pytest.raises(WrongDeclaration) as error:
        load_feed("f", declared(tmp_path, constants={"source": "f"}, key=["Colour"]))
    assert [problem.partition(":")[0] for problem in error.value.problems] == ["columns", "key"]
    assert str(error.value) == f"{tmp_path / 'f.yml'}: {'; '.join(error.value.problems)}"


@pytest.mark.parametrize(
    "changes",
    [
        derived(concat=["Country", "InvoiceNo"], separator=" "),
        {"derived": {"A": {"substring": "Country", "length": 2}, "B": {"concat": ["A", "InvoiceNo"]}}},
        {"key": ["InvoiceNo", "StockCode"], "decimal": ",", "thousands": "\u202f", "duplicates": "keep"},
        {"timestamps": {"formats": ["yyyy-MM-dd'Then'HH:mm[:ss]"]}},
        rule(column="ordered_at", value="2020-01-01T00:00:00Z"),
        rule(column="unit_price", check="between", value=[0, "12.5"]),
    ],
)
def test_what_is_allowed_is_taken(tmp_path, changes):
    assert load_feed("f", declared(tmp_path, **changes)) == read_feed(tmp_path / "f.yml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "keys and values are expected, found list"),
        ("", "keys and values are expected, found NoneType"),
        ("a: [", "cannot be read: line 1: expected the node content"),
        ("caf\xe9: 1", "cannot be read: 'utf-8' codec can't decode byte 0xe9"),
        ("glob: a\nname: f\nglob: b\n", "cannot be read: line 3: 'glob' is given twice"),
        ("rules:\n- {id: a, id: b}\n", "cannot be read: line 2: 'id' is given twice"),
        ("? [a]\n: b\n", "cannot be read: line 1: found unhashable key"),
        ("a: 2025-02-30\n", "cannot be read: day is out of range for month"),
    ],
)
def test_a_file_that_is_no_declaration_is_named(tmp_path, text, said):
    (tmp_path / "f.yml").write_bytes(text.encode("iso-8859-1"))
    with pytest.raises(WrongDeclaration) as error:
        load_feed("f", tmp_path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "f.yml"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WrongDeclaration, match=r"f\.yml: cannot be read: No such file"):
        read_feed(tmp_path / "f.yml")


def arrived(name: str, checksum: str) -> dict[str, object]:
    return {"uri": f"file:///raw/{checksum}/{name}", "name": name, "checksum": checksum, "size": 3}


def test_the_job_is_told_everything():
    files = [{"uri": "file:///raw/a.csv", "name": "a.csv", "checksum": "c", "size": 3}]
    spec = job_spec(load_feed("online_retail"), load_contract(), "b1", files, "file:///out/")
    assert json.loads(json.dumps(spec)) == spec
    told = {
        "uri": "file:///raw/a.csv",
        "name": "a.csv",
        "checksum": "c",
        "file_name": "a.csv",
        "from_name": [],
    }
    assert spec["files"] == [told]
    assert (spec["batch_id"], spec["output"]) == ("b1", "file:///out")
    assert spec["feed"]["name"] == "online_retail"
    assert spec["feed"]["file_columns"] == spec["feed"]["key"] == sorted(set(GOOD["columns"].values()))
    assert list(spec["feed"]["texts"]) == spec["feed"]["file_columns"]
    assert list(spec["contract"]["columns"]) == list(load_contract().columns)


def test_the_job_is_told_what_the_file_has_and_what_is_made(tmp_path):
    parts = {"Shop": {"file_name": r"^shop-(\w+)\."}, "Order": {"concat": ["Shop", "InvoiceNo"]}}
    columns = GOOD["columns"] | {"order_id": "Order"}
    changes = {"derived": parts, "columns": columns, "key": ["Order"], "encoding": "utf-16"}
    feed = load_feed("f", declared(tmp_path, **changes))
    files = [arrived("shop-7.csv", "c"), arrived("else.csv", "d")]
    spec = job_spec(feed, load_contract(), "b1", files, "file:///out")
    assert [file["from_name"] for file in spec["files"]] == [["7", None], [None, None]]
    assert "Order" not in spec["feed"]["file_columns"]
    assert {"InvoiceNo", "StockCode"} < set(spec["feed"]["file_columns"])
    assert list(spec["feed"]["texts"])[-2:] == ["Shop", "Order"]
    assert len(set(spec["feed"]["texts"].values())) == len(spec["feed"]["texts"])
    assert (spec["feed"]["key"], spec["feed"]["encoding"]) == (["Order"], "utf-8")


def test_files_of_one_name_are_told_apart_by_their_checksum():
    files = [arrived("a.csv", "1" * 64), arrived("b.csv", "2" * 64), arrived("a.csv", "3" * 64)]
    spec = job_spec(load_feed("store_sales"), load_contract(), "b1", files, "file:///out")
    labels = [file["file_name"] for file in spec["files"]]
    assert labels == [f"a.csv ({'1' * 16})", "b.csv", f"a.csv ({'3' * 16})"]


def test_a_file_given_twice_is_refused():
    files = [arrived("a.csv", "1" * 64), arrived("a.csv", "1" * 64)]
    with pytest.raises(WillNotHeal, match=r"The batch has a file twice: a\.csv \(1111111111111111\)\."):
        job_spec(load_feed("store_sales"), load_contract(), "b1", files, "file:///out")


@pytest.mark.parametrize("model", [Feed, Timestamps, Derived, Rule])
def test_the_reference_names_every_key(model):
    text = (PROJECT / "docs" / "feeds.md").read_text()
    assert [key for key in model.model_fields if f"`{key}`" not in text] == []


def test_the_example_of_the_reference_is_a_feed(tmp_path):
    (example,) = re.findall(r"```yaml\n(glob:.*?)```", (PROJECT / "docs" / "feeds.md").read_text(), re.DOTALL)
    (tmp_path / "f.yml").write_text(example)
    assert read_feed(tmp_path / "f.yml").columns["order_id"]


@pytest.mark.parametrize("name", ["refused", "Store", "2nd", "my-feed", "_hidden", "a b"])
def test_a_feed_has_a_name_that_folders_can_have(tmp_path, name):
    declared(tmp_path).joinpath("f.yml").rename(tmp_path / f"{name}.yml")
    with pytest.raises(WillNotHeal, match=rf"name: '{name}' cannot name a feed; allowed are small letters"):
        load_feed(name, tmp_path)
