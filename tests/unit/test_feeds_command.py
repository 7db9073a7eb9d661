"""`sales feeds` as it is typed: what it prints, what it writes, and how it ends."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from blocks.errors import WillNotHeal
from blocks.feeds import JOBS, feed_names, read_feed
from cli.app import app

WHOLE = "order id,sku,qty,price,currency,order date\nA1,P1,2,9.99,EUR,2025-01-31T08:15:00Z\n"


def feeds(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["feeds", *map(str, arguments)])


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yml"
    path.write_text((JOBS / "sources/online_retail.yml").read_text())
    return path


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong.yml"
    path.write_text((JOBS / "sources/online_retail.yml").read_text().replace("currency:", "colour:"))
    return path


def test_check_takes_every_feed_there_is():
    result = feeds("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{name}: ok" for name in feed_names()]


def test_check_names_file_and_key_of_every_problem(good, wrong):
    result = feeds("check", good, "store_sales", wrong)
    assert result.exit_code == 1
    first, second, third, fourth = result.stdout.splitlines()
    assert (first, second) == (f"{good}: ok", "store_sales: ok")
    assert third == f"{wrong}: columns: nothing fills the required column currency"
    assert fourth.startswith(f"{wrong}: colour: unknown column, allowed are source, order_id")


def test_check_as_json(good, wrong):
    result = feeds("check", "--json", good, wrong)
    assert result.exit_code == 1
    fine, told = json.loads(result.stdout)
    assert fine == {"feed": str(good), "ok": True, "problems": []}
    assert (told["feed"], told["ok"], len(told["problems"])) == (str(wrong), False, 2)


def test_check_of_what_is_not_there(tmp_path):
    result = feeds("check", tmp_path / "no.yml")
    assert (result.exit_code, result.stdout) == (
        1,
        f"{tmp_path / 'no.yml'}: cannot be read: No such file or directory\n",
    )
    assert "There is no feed 'nope'" in str(feeds("check", "nope").exception)


def test_show_tells_defaults_and_what_follows(good):
    shown = json.loads(feeds("show", "europe_marketplace").stdout)
    assert shown["derived"]["Warengruppe"] == {"substring": "Artikelnummer", "length": 3}
    assert (shown["decimal"], shown["thousands"], shown["duplicates"]) == (",", ".", "quarantine")
    assert shown["key"] == ["Artikelnummer", "Bestellung"]
    assert "Händler" in shown["file_columns"]
    shown = json.loads(feeds("show", good).stdout)
    assert (shown["name"], shown["delimiter"], shown["duplicates"]) == ("good", ",", "drop")
    assert shown["key"] == shown["file_columns"]
    assert json.loads(feeds("show", "store_sales").stdout)["key"] == []


def test_infer_writes_a_draft_that_can_be_checked(tmp_path):
    file, target = tmp_path / "Day 1.csv", tmp_path / "web_shop.yml"
    file.write_text(WHOLE)
    result = feeds("infer", file)
    assert result.exit_code == 0
    assert "  source: day_1\n" in result.stdout
    assert "Draft written to standard output" in result.stderr
    assert "  source: other\n" in feeds("infer", file, "--name", "other").stdout
    result = feeds("infer", file, "--output", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"Then: sales feeds check {target}" in result.stderr.replace("\n", "")
    assert feeds("check", target).stdout == f"{target}: ok\n"
    assert read_feed(target).constants == {"source": "web_shop"}


def test_infer_overwrites_only_if_told_so(tmp_path):
    file, target = tmp_path / "a.csv", tmp_path / "a.yml"
    file.write_text(WHOLE)
    target.write_text("mine")
    result = feeds("infer", file, "--output", target)
    assert isinstance(result.exception, WillNotHeal)
    assert str(result.exception) == f"{target} exists; give another --output, or --force to overwrite it."
    assert target.read_text() == "mine"
    assert feeds("infer", file, "--output", target, "--force").exit_code == 0
    assert target.read_text().startswith("# A draft")
    result = feeds("infer", file, "--output", tmp_path / "a.yaml")
    assert str(result.exception).endswith("a.yaml does not end with .yml, as the file of a feed does.")
    result = feeds("infer", file, "--output", tmp_path / "no" / "a.yml")
    assert (
        str(result.exception) == f"{tmp_path / 'no' / 'a.yml'} cannot be written: No such file or directory."
    )
