"""`sales demo` as a user runs it: killed in the middle, run to its end, run again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

EVENTS = 400


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SALES_", "PREFECT_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", "--events", str(EVENTS), *arguments],
        env=kept | {"SALES_HOME": str(home / "stack"), "SALES_BUILD": str(home / "build"), "COLUMNS": "120"},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def spark_of(home: Path) -> list[psutil.Process]:
    """The processes of the Spark run of this home's stack: the job's Python and its JVM."""
    marks = str(home / "stack")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any("spec.json" in part and marks in part for part in process.info["cmdline"] or [])
    ]


@pytest.fixture(scope="module")
def first(home) -> tuple[subprocess.CompletedProcess[str], dict]:
    """The second attempt, after one that was killed without warning while Spark ran."""
    killed = start(home)
    deadline = time.monotonic() + 180
    while not spark_of(home):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    return finish(home)


def finish(home: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    process = start(home, *arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    return done, json.loads((home / "build" / "summary.json").read_text())


def test_the_summary_adds_up_after_a_kill(first):
    summary = first[1]
    batch, stream = summary["batch"], summary["stream"]
    assert summary["status"] == "completed"
    assert batch["rows_read"] == 20_000
    assert batch["rows_read"] == batch["rows_valid"] + batch["rows_quarantined"] + batch["rows_duplicate"]
    assert batch["rows_quarantined"] > 0 < batch["rows_duplicate"]
    assert stream["produced"] == stream["landed"] + stream["dead_lettered"]
    assert stream["dead_lettered"] > 0
    assert stream["produced"] % EVENTS == 0
    assert {"fct_sales", "dim_customer", "dim_product", "dim_date", "mart_daily_sales"} <= set(
        summary["marts"]
    )
    assert all(mart["rows"] > 0 for mart in summary["marts"].values())
    assert {"check_stream", "land", "spark", "load", "check_raw", "dbt", "check_marts", "publish"} == set(
        summary["seconds"]
    )


def test_the_terminal_shows_progress_and_the_same_numbers(first):
    done, summary = first
    assert "embedded stack started" in done.stderr
    assert "Databricks run" in done.stderr
    assert f"{summary['batch']['rows_valid']:,}" in done.stdout
    assert f"{summary['marts']['fct_sales']['rows']:,} rows" in done.stdout
    assert "Traceback" not in done.stderr


def test_running_again_changes_nothing_and_prints_json(home, first):
    done, summary = finish(home, "--json")
    assert json.loads(done.stdout) == summary
    assert summary["marts"] == first[1]["marts"]
    assert summary["stream"] == first[1]["stream"]
    assert summary["batch"] == first[1]["batch"] | {"new_files": 0}


def test_the_report_needs_nothing_else(home, first):
    page = (home / "build" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert "src=" not in page
    assert f"{first[1]['marts']['fct_sales']['rows']:,} rows" in page


def test_the_report_draws_in_a_browser(home, first):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on this machine (Debian's package is `chromium`)")
    quiet = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-sync",
    )
    dom = subprocess.run(
        [
            browser,
            *quiet,
            f"--user-data-dir={home / 'browser'}",
            "--dump-dom",
            f"file://{home}/build/report.html",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert "Net sales by month and currency" in dom
    assert dom.count('class="bar') >= 20
