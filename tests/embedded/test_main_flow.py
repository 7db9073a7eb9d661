"""The main flow, whole, on the embedded stack: what it loads, what it leaves alone, what it refuses."""

import csv
import logging
import shutil
from datetime import datetime
from decimal import Decimal

import pytest

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT
from streaming.generator import START, sale_events, sale_lines, write_store_files
from tasks.publish import fingerprint
from tests.embedded.marts_oracle import MARTS, RATES, Line, assert_published, returns

FAULTS = {"duplicates": 12, "invalid_json": 7, "contract_breaks": 9}
EVENTS = 600


@pytest.fixture(scope="module")
def first_run(pipeline, tmp_path_factory):
    """Three days of store sales, two delivered; and events of every kind."""
    folder = tmp_path_factory.mktemp("store")
    truths = write_store_files(folder, seed=3, files=3, rows=3000)
    for name in sorted(truths)[:2]:
        shutil.copy(folder / name, pipeline.drop("store_sales"))
    report = pipeline.publish(sale_events(3, EVENTS, **FAULTS))
    assert report.produced == EVENTS + sum(FAULTS.values())
    return folder, truths, pipeline.run("store_sales")


def expected(truths, names):
    totals = {"rows_read": 0, "rows_valid": 0, "rows_quarantined": 0, "rows_duplicate": 0}
    for name in names:
        for key in totals:
            totals[key] += getattr(truths[name], key)
    return totals


def test_every_row_of_every_file_is_accounted_for(pipeline, first_run):
    _folder, truths, summary = first_run
    names = sorted(truths)[:2]
    assert {k: summary["batch"][k] for k in expected(truths, names)} == expected(truths, names)
    audit = pipeline.warehouse.rows("select * from MONITORING.LOAD_AUDIT where unit_kind = 'file'")
    by_name = {row["unit_name"]: row for row in audit}
    for name in names:
        row, truth = by_name[name], truths[name]
        assert row["rows_read"] == row["rows_loaded"] + row["rows_quarantined"] + row["rows_duplicate"]
        assert (row["rows_read"], row["rows_loaded"]) == (truth.rows_read, truth.rows_valid)
        assert (row["rows_quarantined"], row["rows_duplicate"]) == (
            truth.rows_quarantined,
            truth.rows_duplicate,
        )


def test_the_drop_is_emptied(pipeline, first_run):
    assert [p for p in pipeline.drop("store_sales").iterdir() if p.is_file()] == []


def test_quarantine_names_rule_file_and_line(pipeline, first_run):
    folder, truths, _summary = first_run
    rows = pipeline.warehouse.rows("select * from RAW.SALES_QUARANTINE where source = 'store_sales'")
    counted: dict[tuple[str, str], int] = {}
    for row in rows:
        lines = (folder / row["file_name"]).read_text().splitlines()
        assert row["raw_line"] == lines[int(row["file_line"]) - 1]
        for rule in row["rule_ids"].split(","):
            counted[row["file_name"], rule] = counted.get((row["file_name"], rule), 0) + 1
    names = sorted(truths)[:2]
    assert counted == {(name, rule): n for name in names for rule, n in truths[name].rules.items()}


def test_every_event_landed_or_is_a_dead_letter(pipeline, first_run):
    stream = first_run[2]["stream"]
    assert stream["produced"] == EVENTS + sum(FAULTS.values())
    assert stream["dead_lettered"] == FAULTS["invalid_json"]
    assert stream["landed"] == stream["produced"] - FAULTS["invalid_json"]
    rejects = pipeline.warehouse.rows("select count(*) as n from INTERMEDIATE.INT_SALES_REJECTS")[0]["n"]
    assert rejects == FAULTS["contract_breaks"]


def store_lines(folder, names):
    """Read the valid lines straight from the files, by the contract's rules: the newest telling of each line."""
    newest = {}
    for name in names:
        for row in csv.DictReader((folder / name).read_text().splitlines()):
            if (line := valid_line(row)) and line[0] >= newest.get(line[1:3], line)[0]:
                newest[line[1:3]] = line
    return [to_line(row) for *_, row in newest.values()]


def valid_line(row):
    """Give (updated_at, order, line number, row), or None for a row that breaks a rule."""
    try:
        good = (
            None not in row
            and int(row["quantity"]) != 0
            and Decimal(row["unit_price"]) >= 0
            and row["currency"] in RATES
            and datetime.fromisoformat(row["ordered_at"]).year >= 2000
            and row["product_id"] != ""
        )
        return (row["updated_at"], row["order_id"], row["line_number"], row) if good else None
    except (ValueError, TypeError, ArithmeticError):
        return None


def to_line(row):
    return Line(
        row["order_id"],
        int(row["line_number"]),
        row["product_id"],
        row["customer_id"] or None,
        row["country"] or None,
        int(row["quantity"]),
        Decimal(str(row["unit_price"])),
        row["currency"],
        datetime.fromisoformat(row["ordered_at"]).replace(tzinfo=None),
    )


@pytest.fixture(scope="module")
def truth(first_run):
    """The lines sold by source: from the files as they were delivered, and from the generator of the events."""
    folder, truths, _summary = first_run
    told = sorted(sale_lines(3, EVENTS, START, 30, "web_shop"), key=lambda line: line["updated_at"])
    newest = {(line["order_id"], line["line_number"]): line for line in told}
    return {
        "store_sales": store_lines(folder, sorted(truths)[:2]),
        "web_shop": [to_line(line) for line in newest.values()],
    }


@pytest.mark.parametrize("source", ["store_sales", "web_shop"])
@pytest.mark.parametrize("mart", MARTS)
def test_mart_is_what_the_lines_add_up_to(pipeline, truth, mart, source):
    assert_published(pipeline.warehouse, mart, source, truth[source])


def test_truth_has_what_marts_go_wrong_by(truth):
    """Returns, unknown customers, several currencies, corrections: without them the comparison proves little."""
    for lines in truth.values():
        assert {line.quantity < 0 for line in lines} == {True, False}
        assert {line.customer_id is None for line in lines} == {True, False}
        assert {line.currency for line in lines} == {"EUR", "GBP", "USD", "CHF", "SEK", "PLN"}
        assert any(row["has_original"] for row in returns(lines).values())


def test_another_rate_is_something_new(pipeline, first_run, tmp_path):
    """The text of a seed is part of what the marts are made of."""
    shutil.copytree(PROJECT / "dbt", tmp_path / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(PROJECT / "expectations", tmp_path / "expectations")
    unchanged = fingerprint(pipeline.warehouse, tmp_path)
    assert unchanged == fingerprint(pipeline.warehouse)
    with (tmp_path / "dbt/seeds/exchange_rates.csv").open("a") as rates:
        rates.write("JPY,2000-01-01,9999-12-31,0.00610000\n")
    assert fingerprint(pipeline.warehouse, tmp_path) != unchanged


def test_running_again_changes_no_row(pipeline, first_run):
    summary = pipeline.run("store_sales")
    assert summary["marts"] == first_run[2]["marts"]
    assert summary["batch"] == first_run[2]["batch"] | {"new_files": 0}
    assert "dbt" not in summary["seconds"]


def test_events_sent_again_and_a_full_refresh_change_no_sale(pipeline, first_run):
    """Late duplicates and building everything anew are the two ways in which rows could move."""
    pipeline.publish(sale_events(3, EVENTS, **FAULTS))
    summary = pipeline.run("store_sales", rebuild=True)
    assert "dbt" in summary["seconds"]
    assert summary["stream"]["produced"] == 2 * first_run[2]["stream"]["produced"]
    accounting = {"mart_reconciliation"}  # which tells of the events sent again
    assert set(summary["marts"]) == set(first_run[2]["marts"]) > accounting
    for table in set(summary["marts"]) - accounting:
        assert summary["marts"][table] == first_run[2]["marts"][table], table


@pytest.fixture(scope="module")
def next_day(pipeline, first_run):
    """The third file arrives, beside one that is known under another name and one that nobody can read."""
    folder, truths, _summary = first_run
    before = pipeline.run("store_sales")
    drop = pipeline.drop("store_sales")
    shutil.copy(folder / sorted(truths)[2], drop)
    shutil.copy(folder / sorted(truths)[0], drop / "the_same_again.csv")
    (drop / "broken.csv").write_text("order_id,amount\n1,2\n")
    return before, pipeline.run("store_sales")


def test_one_more_file_adds_its_rows_alone(pipeline, first_run, next_day):
    before, after = next_day
    truths = first_run[1]
    assert after["batch"]["new_files"] == 1
    for key, value in expected(truths, [sorted(truths)[2]]).items():
        assert after["batch"][key] - before["batch"][key] == value, key
    sold = pipeline.warehouse.rows(
        "select count(distinct order_id || '/' || line_number::varchar) as n from RAW.SALES_BATCH_RAW "
        "where source = 'store_sales'"
    )
    facts = pipeline.warehouse.rows("select count(*) as n from MARTS.FCT_SALES where source = 'store_sales'")
    assert facts[0]["n"] == sold[0]["n"]


def test_a_file_that_cannot_be_read_is_refused_and_stops_nobody(pipeline, next_day):
    summary = next_day[1]
    assert summary["status"] == "completed_with_refused_files"
    refused = summary["batch"]["refused_files"]
    assert [r["file"] for r in refused] == ["broken.csv"]
    assert refused[0]["reason"].startswith("lacks the columns country, currency, ")
    aside = pipeline.home / "storage/drop/refused/store_sales"
    assert (aside / "broken.csv.reason.txt").read_text() == refused[0]["reason"] + "\n"
    assert (aside / "broken.csv").read_text() == "order_id,amount\n1,2\n"


PLANTED = """
insert into RAW.SALES_BATCH_RAW (source, order_id, line_number, product_id, quantity, unit_price, currency,
    ordered_at, updated_at, batch_id, file_name, file_line, loaded_at)
select 'store_sales', 'planted', 1, 'p', 0, 1, 'EUR', sysdate(), sysdate(), 'planted', 'f', 1, sysdate()
"""


def test_a_failed_check_leaves_the_marts_and_tells_slack(pipeline, next_day):
    with pipeline.warehouse.session() as connection, connection.cursor() as cursor:
        cursor.execute(PLANTED)
    try:
        with pytest.raises(WillNotHeal, match=r"checks of layer raw failed.*\s.*quantity_not_zero"):
            pipeline.run("store_sales")
    finally:
        with pipeline.warehouse.session() as connection, connection.cursor() as cursor:
            cursor.execute("delete from RAW.SALES_BATCH_RAW where batch_id = 'planted'")
    assert pipeline.run("store_sales")["marts"] == next_day[1]["marts"]
    assert [t for t in pipeline.told("run-sales-pipeline Failed") if "checks of layer raw failed" in t]


def test_dbt_unit_tests_pass(pipeline, first_run):
    """They need the tables of a build, so the production build leaves them out."""
    from tasks.dbt_build import dbt_command, dbt_environment, run_dbt

    command = dbt_command("test", "--select", "test_type:unit")
    lines: list[str] = []
    log = logging.getLogger("dbt-unit-tests")
    log.addHandler(_Keep(lines))
    assert run_dbt(command, dbt_environment(pipeline.warehouse), log) == 0, "\n".join(lines[-20:])


class _Keep(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
