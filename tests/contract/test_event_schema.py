"""The event schema agrees with the contract of the sales line, column by column and rule by rule."""

import copy
import hashlib
import json
from itertools import pairwise
from typing import Any

import fastjsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blocks.settings import PROJECT
from streaming.compatibility import incompatible_changes
from streaming.generator import sale_events
from streaming.quick_check import quick_check
from streaming.schema import EVENTS, SCHEMA_FILE, SCHEMA_VERSION, event_fault, event_validator

CONTRACT = yaml.safe_load((PROJECT / "spark_jobs" / "contract.yml").read_text())
SCHEMA = json.loads(SCHEMA_FILE.read_text())
PUBLISHED = sorted(
    (EVENTS / "published").glob(f"sale.v{SCHEMA_VERSION}.*.json"),
    key=lambda path: int(path.stem.split(".")[2]),
)
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
    # What the first revision had is required; what came later cannot be.
    assert set(SCHEMA["required"]) == set(json.loads(PUBLISHED[0].read_text())["properties"])
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


def test_the_schema_is_the_published_one_or_a_compatible_new_revision():
    last = json.loads(PUBLISHED[-1].read_text())
    breaks = incompatible_changes(last, SCHEMA)
    assert breaks == [], f"Make these a version of their own, sale.v{SCHEMA_VERSION + 1}.json."
    revision = len(PUBLISHED)
    assert last == SCHEMA, (
        f"The change is compatible. Publish it: copy it to published/sale.v{SCHEMA_VERSION}.{revision}.json "
        "and add its line to published/SHA256SUMS."
    )


def test_what_was_published_is_never_edited_and_each_revision_keeps_the_promise_of_the_one_before():
    sums = {}
    for line in (EVENTS / "published" / "SHA256SUMS").read_text().splitlines():
        checksum, _, name = line.partition("  ")
        sums[name] = checksum
    files = sorted((EVENTS / "published").glob("*.json"))
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == sums
    assert [path.name for path in PUBLISHED] == [
        f"sale.v{SCHEMA_VERSION}.{revision}.json" for revision in range(len(PUBLISHED))
    ]
    schemas = [json.loads(path.read_text()) for path in PUBLISHED]
    for before, after in pairwise(schemas):
        assert incompatible_changes(before, after) == []


def changed(edit: Any) -> list[str]:
    schema = copy.deepcopy(SCHEMA)
    edit(schema, schema["properties"])
    return incompatible_changes(SCHEMA, schema)


COMPATIBLE = {
    "nothing": lambda _schema, _fields: None,
    "an optional field": lambda _schema, fields: fields.update(channel={"type": ["string", "null"]}),
    "prose": lambda schema, fields: (schema.update(title="x"), fields["quantity"].update(description="x")),
    "another order": lambda schema, fields: (
        schema["required"].reverse(),
        fields["currency"]["enum"].reverse(),
        fields["country"]["type"].reverse(),
    ),
}
INCOMPATIBLE = {
    "a field removed": (lambda _s, f: f.pop("country"), "the event: country was removed"),
    "a field renamed": (lambda _s, f: f.update(land=f.pop("country")), "the event: country was removed"),
    "a new field required": (
        lambda s, f: (f.update(channel={"type": "string"}), s["required"].append("channel")),
        "the event: channel became required",
    ),
    "a field left out": (
        lambda s, _f: s["required"].remove("country"),
        "the event: country is not required any more",
    ),
    "null forbidden": (
        lambda _s, f: f["country"].update(type="string"),
        "country: type null is not allowed any more",
    ),
    "null allowed": (
        lambda _s, f: f["quantity"].update(type=["integer", "null"]),
        "quantity: type null is new to consumers",
    ),
    "another type": (
        lambda _s, f: f["unit_price"].update(type="string"),
        "unit_price: type number is not allowed any more",
    ),
    "a type given up": (lambda _s, f: f["line_number"].pop("type"), "line_number: type removed"),
    "a currency less": (
        lambda _s, f: f["currency"]["enum"].remove("PLN"),
        "currency: enum PLN is not allowed any more",
    ),
    "a currency more": (
        lambda _s, f: f["currency"]["enum"].append("NOK"),
        "currency: enum NOK is new to consumers",
    ),
    "choices for a text": (lambda _s, f: f["country"].update(enum=["Spain"]), "country: enum added"),
    "another pattern": (
        lambda _s, f: f["event_id"].update(pattern="^x$"),
        "event_id: pattern changed from ^[0-9a-f]{8}",
    ),
    "a pattern for a text": (lambda _s, f: f["order_id"].update(pattern="^A"), "order_id: pattern changed"),
    "a bound raised": (lambda _s, f: f["unit_price"].update(minimum=1), "unit_price: minimum tightened"),
    "a bound lowered": (lambda _s, f: f["unit_price"].update(minimum=-1), "unit_price: minimum loosened"),
    "a new bound": (lambda _s, f: f["order_id"].update(maxLength=9), "order_id: maxLength tightened"),
    "a bound gone": (lambda _s, f: f["order_id"].pop("minLength"), "order_id: minLength loosened"),
    "fewer decimals": (lambda _s, f: f["unit_price"].update(multipleOf=0.01), "unit_price: multipleOf changed"),
    "another constant": (lambda _s, f: f["schema_version"].update(const=2), "schema_version: const changed"),
    "an exception gone": (lambda _s, f: f["quantity"].pop("not"), "quantity: not changed"),
    "another exception": (lambda _s, f: f["quantity"].update({"not": {"const": 1}}), "quantity not: const changed"),
    "anything allowed": (
        lambda s, _f: s.update(additionalProperties=True),
        "the event: additionalProperties changed",
    ),
    "a rule of another kind": (lambda s, _f: s.update(dependencies={"a": ["b"]}), "the event: dependencies changed"),
}  # fmt: skip


@pytest.mark.parametrize("edit", COMPATIBLE.values(), ids=list(COMPATIBLE))
def test_compatible_changes_pass(edit):
    assert changed(edit) == []


@pytest.mark.parametrize(("edit", "said"), INCOMPATIBLE.values(), ids=list(INCOMPATIBLE))
def test_incompatible_changes_are_named(edit, said):
    (change, *_) = changed(edit)
    assert change.startswith(said)


def test_a_schema_that_allowed_more_is_tightened():
    assert incompatible_changes(SCHEMA | {"additionalProperties": True}, SCHEMA) == [
        "the event: additionalProperties tightened"
    ]


ODDITIES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.none(), max_size=1),
    st.sampled_from(["EUR", "return", "2025-01-31T08:15:00Z", "2025-01-31T08:15:00Z\n", 1.0, 0.00005, -0.0, 10**14]),
)  # fmt: skip
EXTENDED = copy.deepcopy(SCHEMA)
EXTENDED["properties"]["channel"] = {"type": ["string", "null"]}
EXTENDED_VALIDATOR = fastjsonschema.compile(EXTENDED)


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "channel"]), ODDITIES, max_size=2))
def test_the_quick_check_says_yes_only_to_what_the_schema_allows(odd):
    event = next(sale_events(1, 1)) | odd
    for schema, validate in ((SCHEMA, event_validator()), (EXTENDED, EXTENDED_VALIDATOR)):
        if quick_check(schema)(event):
            validate(event)


def test_the_quick_check_knows_every_rule_of_the_schema():
    good = list(sale_events(1, 500))
    assert all(quick_check(SCHEMA)(event) for event in good)
    assert all(quick_check(EXTENDED)(event | {"channel": None}) for event in good)
    unknown = copy.deepcopy(SCHEMA)
    unknown["properties"]["country"]["format"] = "iso-country"
    assert not any(quick_check(unknown)(event) for event in good)
