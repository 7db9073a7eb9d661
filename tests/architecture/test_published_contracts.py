"""A published mart's columns stay until a new version of the model takes over: dbt/contracts/published.json."""

import copy
import json
import subprocess
import sys
from datetime import date

import pytest

from tests.architecture.published import PROJECT, RELEASED, breaks, columns_of, contracts

TODAY = date(2026, 1, 31)
ORDERS = {"fct_orders": {"1": {"columns": {"order_key": "varchar", "line_count": "number(38,0)"}}}}


def changed(**columns):
    now = copy.deepcopy(ORDERS)
    now["fct_orders"]["1"]["columns"] |= columns
    return now


def test_the_models_keep_what_the_last_release_promised():
    released = json.loads(RELEASED.read_text())
    assert {"fct_orders", "fct_sales", "mart_daily_sales"} <= released.keys()
    assert breaks(released, contracts(), date.today()) == []


def test_a_planted_removal_from_the_real_models_is_found():
    released = contracts()
    now = copy.deepcopy(released)
    del now["fct_orders"]["1"]["columns"]["order_key"]
    (sentence,) = breaks(released, now, TODAY)
    assert sentence.startswith(
        "fct_orders, version 1, lost the column order_key (varchar before, missing now)"
    )
    assert "version 2" in sentence


def test_another_type_breaks_and_another_column_does_not():
    (sentence,) = breaks(ORDERS, changed(line_count="varchar"), TODAY)
    assert "retyped the column line_count (number(38,0) before, varchar now)" in sentence
    assert breaks(ORDERS, changed(weight="float"), TODAY) == []


def test_a_second_version_may_differ_while_the_first_stays():
    now = changed()
    now["fct_orders"]["2"] = {"columns": {"order_key": "number(38,0)"}}
    assert breaks(ORDERS, now, TODAY) == []
    del now["fct_orders"]["1"]
    assert len(breaks(ORDERS, now, TODAY)) == 1


@pytest.mark.parametrize(("ends", "broken"), [("2026-01-30", 0), ("2026-01-31", 1)])
def test_a_version_may_go_after_the_day_that_was_released_for_it(ends, broken):
    released = copy.deepcopy(ORDERS)
    released["fct_orders"]["1"]["deprecation_date"] = ends
    assert len(breaks(released, {}, TODAY)) == broken


def test_a_versions_columns_are_the_models_less_the_excluded_and_its_own():
    model = {"columns": [{"name": "a", "data_type": "Number(38, 0)"}, {"name": "b", "data_type": "varchar"}]}
    version = {"columns": [{"include": "all", "exclude": ["a"]}, {"name": "C", "data_type": "date"}]}
    assert columns_of({}, model) == {"a": "number(38,0)", "b": "varchar"}
    assert columns_of(version, model) == {"b": "varchar", "c": "date"}


def test_the_command_fails_on_a_release_that_promised_more(tmp_path):
    more = contracts()
    more["fct_orders"]["1"]["columns"]["gone"] = "varchar"
    file = tmp_path / "published.json"
    file.write_text(json.dumps(more))
    command = [sys.executable, "tests/architecture/published.py", "compare", str(file)]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "fct_orders, version 1, lost the column gone" in ran.stdout
