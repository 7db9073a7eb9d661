"""Feeds and contract as declared, and what is said when a declaration is wrong."""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from blocks.errors import WillNotHeal
from blocks.feeds import JOBS, feed_names, job_spec, load_contract, load_feed

GOOD = yaml.safe_load((JOBS / "sources" / "online_retail.yml").read_text())


def declared(folder: Path, **changes: object) -> Path:
    """Write a feed `f` that is the good one with changes; None takes a key away."""
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    (folder / "f.yml").write_text(yaml.safe_dump(content))
    return folder


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
    assert feed_names() == ["online_retail", "store_sales"]
    store, retail = load_feed("store_sales"), load_feed("online_retail")
    assert set(store.columns) | {"source"} == set(load_contract().columns)
    assert (store.delimiter, store.quote, store.encoding, store.header) == (",", '"', "utf-8", True)
    assert retail.columns["ordered_at"] == retail.columns["updated_at"] == "InvoiceDate"
    assert retail.constants == {"source": "online_retail", "currency": "GBP"}
    assert (retail.line_number, retail.timestamps.time_zone) == ("content", "Europe/London")
    assert [rule.id for rule in retail.rules] == ["unit_price_positive"]


def test_an_unknown_feed_is_told_the_known_ones():
    with pytest.raises(WillNotHeal, match=r"no feed 'nope'.*Feeds: online_retail, store_sales"):
        load_feed("nope")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"glob": None}, "glob: Field required"),
        ({"globs": "x"}, "globs: unknown key, allowed are name, glob, delimiter, quote, encoding"),
        ({"delimiter": ";;"}, "delimiter: String should have at most 1 character"),
        ({"encoding": "utf-16"}, "encoding: Input should be 'utf-8', 'iso-8859-1'"),
        ({"line_number": "guess"}, "line_number: Input should be 'column' or 'content'"),
        ({"timestamps": {"formats": []}}, "timestamps.formats: Tuple should have at least 1 item"),
        ({"timestamps": {"formats": ["y"], "zone": "UTC"}}, "timestamps.zone: unknown key, allowed are formats"),
        ({"timestamps": {"formats": ["y"], "time_zone": "Mars"}}, "unknown time zone 'Mars'"),
        ({"rules": [{"id": "r", "column": "quantity", "check": "above", "value": 1}]}, "rules.0.check: Input should"),
        ({"rules": [{"id": "r", "column": "quantity", "check": "between", "value": 1}]}, "between needs a list of two"),
        ({"rules": [{"id": "r", "column": "quantity", "check": "one_of", "value": 1}]}, "one_of needs a list"),
        ({"rules": [{"id": "r", "column": "quantity", "check": "at_least", "value": [1]}]}, "at_least needs one value"),
        ({"rules": [{"id": "r", "column": "amount", "check": "at_least", "value": 1}]}, "unknown column amount"),
        ({"rules": [{"id": "quantity_not_zero", "column": "quantity", "check": "at_least", "value": 1}]}, "used twice"),
        ({"columns": GOOD["columns"] | {"colour": "X"}}, "colour: unknown column, allowed are source, order_id"),
        ({"constants": {"source": "f"}}, "nothing fills the required column currency"),
        ({"constants": GOOD["constants"] | {"quantity": "1"}}, "quantity is filled twice"),
        ({"line_number": "column"}, "nothing fills the required column line_number"),
        ({"columns": GOOD["columns"] | {"source": "Shop"}, "constants": {"currency": "GBP"}}, "must be a constant"),
        ({"header": ["InvoiceNo"]}, "header: lacks the mapped column Country"),
    ],
)  # fmt: skip
def test_a_wrong_feed_is_told_file_key_and_what_is_allowed(tmp_path, changes, said):
    with pytest.raises(WillNotHeal) as error:
        load_feed("f", declared(tmp_path, **changes))
    assert said in str(error.value)
    assert str(tmp_path / "f.yml") in str(error.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "caf\xe9: 1"])
def test_a_file_that_is_no_declaration_is_named(tmp_path, text):
    (tmp_path / "f.yml").write_bytes(text.encode("iso-8859-1"))
    with pytest.raises(WillNotHeal, match=r"f\.yml"):
        load_feed("f", tmp_path)


def test_the_job_is_told_everything():
    files = [{"uri": "file:///raw/a.csv", "name": "a.csv", "checksum": "c", "size": 3}]
    spec = job_spec(load_feed("online_retail"), load_contract(), "b1", files, "file:///out/")
    assert json.loads(json.dumps(spec)) == spec
    assert spec["files"] == [{"uri": "file:///raw/a.csv", "name": "a.csv", "checksum": "c"}]
    assert (spec["batch_id"], spec["output"]) == ("b1", "file:///out")
    assert spec["feed"]["name"] == "online_retail"
    assert list(spec["contract"]["columns"]) == list(load_contract().columns)
