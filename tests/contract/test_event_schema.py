"""The event schema agrees with the contract of the sales line, column by column and rule by rule."""

import json
from typing import Any

import pytest
import yaml

from blocks.settings import PROJECT
from streaming.generator import sale_events
from streaming.schema import SCHEMA_FILE, event_fault

CONTRACT = yaml.safe_load((PROJECT / "spark_jobs" / "contract.yml").read_text())
SCHEMA = json.loads(SCHEMA_FILE.read_text())
ENVELOPE = {"event_id", "event_type", "schema_version"}
JSON_TYPES = {
    "string": "string",
    "long": "integer",
    "integer": "integer",
    "decimal(18,4)": "number",
    "timestamp": "string",
}


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    event = next(sale_events(1, 1))
    assert isinstance(event, dict)
    return event


def test_columns_are_the_contracts_plus_the_envelope():
    assert set(SCHEMA["properties"]) == ENVELOPE | set(CONTRACT["columns"])
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"])
    assert SCHEMA["additionalProperties"] is False


@pytest.mark.parametrize("column", CONTRACT["columns"])
def test_type_and_nullability_agree(column):
    declared, schema = CONTRACT["columns"][column], SCHEMA["properties"][column]
    types = schema.get("type", ["string"] if "enum" in schema else None)
    types = [types] if isinstance(types, str) else types
    assert types[0] == JSON_TYPES[declared["type"]]
    assert ("null" in types) == (not declared["required"])


def test_a_good_event_passes_and_one_without_customer_too(good):
    assert event_fault(good) is None
    assert event_fault(good | {"customer_id": None, "customer_segment": None}) is None
    assert event_fault(json.dumps(good).encode()) is None


def test_the_known_currencies_are_the_contracts(good):
    (rule,) = [rule for rule in CONTRACT["rules"] if rule["id"] == "currency_known"]
    assert SCHEMA["properties"]["currency"]["enum"] == rule["value"]


@pytest.mark.parametrize(
    ("breach", "rule"),
    [
        ({"quantity": 0}, "quantity_not_zero"),
        ({"unit_price": -0.01}, "unit_price_not_negative"),
        ({"currency": "JPY"}, "currency_known"),
        ({"ordered_at": "1999-12-31T23:59:59Z"}, "ordered_at_plausible"),
    ],
)
def test_every_rule_of_the_contract_is_enforced(good, breach, rule):
    assert rule in {each["id"] for each in CONTRACT["rules"]}
    assert next(iter(breach)) in event_fault(good | breach)


def test_there_is_a_case_above_for_every_rule():
    assert {rule["id"] for rule in CONTRACT["rules"]} == {
        "quantity_not_zero",
        "unit_price_not_negative",
        "currency_known",
        "ordered_at_plausible",
    }


@pytest.mark.parametrize(
    "breach",
    [
        {"unit_price": 1.23456},
        {"unit_price": "1.2"},
        {"unit_price": float("nan")},
        {"quantity": 1.5},
        {"quantity": True},
        {"updated_at": "2025-01-01 08:15"},
        {"order_id": ""},
        {"schema_version": 2},
        {"surplus": 1},
    ],
)
def test_other_breaches_are_found(good, breach):
    assert event_fault(good | breach)


def test_prices_with_up_to_four_decimals_pass(good):
    for price in (0, 3, 0.1, 0.3, 1.1, 12.3456, 99999.9999, 123456789.01):
        assert event_fault(good | {"unit_price": price}) is None, price


def test_no_json_is_a_fault():
    assert event_fault(b'{"event_id": "1').startswith("not JSON")
    assert event_fault(b"\xff\xfe").startswith("not JSON")
    assert event_fault(b"[]")
