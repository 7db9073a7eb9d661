"""Laws of the suites, read off their files."""

import re

import great_expectations as gx
import pytest
import sqlglot
import yaml
from sqlglot import exp

from blocks.settings import PROJECT
from tasks.suites import STOP, WARN, query_of, read_anomalies, read_suites

LAYERS = ("raw", "marts_candidate")
SUITES = [suite for layer in LAYERS for suite in read_suites(layer)]
ANOMALIES = [anomaly for layer in LAYERS for anomaly in read_anomalies(layer)]
MARTS = {path.stem.upper() for path in (PROJECT / "dbt/models/marts").rglob("*.sql")}
# Marts on which nothing is left for a suite to find.
LEFT_TO_DBT = {
    "DIM_DATE": "made by a generator from the bounds of the lines; facts_refer_to_members_valid_when_ordered joins it",
    "DIM_EXCHANGE_RATE": "the seed by day; rates_follow_without_gap_or_overlap holds the seed, unique the key",
}
# Columns that tell who somebody is: no key of failing rows may carry them.
PERSONAL = {"customer_id", "customer_segment", "country"}
SINCE = {"judged_since": "2025-01-01 00:00:00", "judged_since_ms": 0}


def checks(suite):
    return suite.get("expectations") or suite["checks"]


def test_each_mart_has_a_suite_or_a_reason_to_have_none():
    judged = {suite["table"] for suite in SUITES if suite["layer"] == "marts_candidate"}
    assert judged - {"CROSS_TABLE_SUMS", "FCT_SALES_MEMBERS"} == MARTS - set(LEFT_TO_DBT)
    assert set(LEFT_TO_DBT) < MARTS


def test_every_file_is_read():
    files = {path.stem for path in (PROJECT / "expectations").iterdir()}
    assert {suite["name"] for suite in SUITES} | {"anomalies"} == files
    assert len(yaml.safe_load((PROJECT / "expectations/anomalies.yml").read_text())) == len(ANOMALIES)


@pytest.mark.parametrize("suite", [*SUITES, *ANOMALIES], ids=lambda s: s.get("name", f"{s['table']} history"))
def test_a_check_warns_or_stops_and_has_a_name_of_its_own(suite):
    assert {check["severity"] for check in checks(suite)} <= {WARN, STOP}
    names = [
        check["id"]
        for other in [*SUITES, *ANOMALIES]
        if other["table"] == suite["table"]
        for check in checks(other)
    ]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]+", name) for name in names)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite["name"])
def test_a_suite_asks_only_what_great_expectations_knows(suite):
    for check in suite["expectations"]:
        kind = "".join(word.title() for word in check["type"].split("_"))
        getattr(gx.expectations, kind)(**check["kwargs"])


@pytest.mark.parametrize("suite", [*SUITES, *ANOMALIES], ids=lambda s: s.get("name", f"{s['table']} history"))
def test_the_query_is_snowflakes_and_gives_what_is_judged(suite):
    (query,) = sqlglot.parse(query_of(suite, SINCE), read="snowflake")
    assert isinstance(query, exp.Select)
    assert not list(query.find_all(exp.Command, exp.Anonymous))
    given = {name.lower() for name in query.named_selects}
    if given != {"*"}:
        columns = {
            check["kwargs"][k] for check in checks(suite) for k in check.get("kwargs", {}) if k == "column"
        }
        measures = {check["measure"] for check in checks(suite) if "measure" in check}
        assert columns | measures | set(suite.get("key", ())) <= given


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite["name"])
def test_keys_of_failing_rows_name_no_person(suite):
    assert not PERSONAL & set(suite["key"])


@pytest.mark.parametrize("layer", LAYERS)
def test_severity_has_one_vocabulary(layer):
    texts = [path.read_text() for path in (PROJECT / "expectations").iterdir()]
    assert not [text for text in texts if re.search(r"severity: (?!warn\b|stop\b)", text)]
    assert {check["severity"] for suite in read_suites(layer) for check in checks(suite)} == {WARN, STOP}
