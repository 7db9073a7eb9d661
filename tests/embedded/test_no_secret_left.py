"""What a run leaves behind holds no secret: Prefect's database, results, logs, dbt's files, storage, MONITORING."""

import gzip
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from pydantic import SecretStr

from blocks.register import register
from blocks.settings import PROJECT

PLANTED = {
    "snowflake_password": "planted-5f1c-of-the-warehouse",
    "kafka_password": "planted-77b0-of-the-cluster",
    "kafka_connect_password": "planted-c2d9-of-the-connector",
    "aws_secret_access_key": "planted-e830-of-the-cloud",
}
WEBHOOK_TOKEN = "planted-90aa-of-the-channel"


@pytest.fixture(scope="module")
def secrets(pipeline) -> Iterator[list[str]]:
    """Run once to the end and once into an error, with secrets that nobody else has in the blocks."""
    webhook = pipeline.settings.alerts_webhook_url.get_secret_value().rsplit("/", 1)[0] + f"/{WEBHOOK_TOKEN}"
    planted = {name: SecretStr(value) for name, value in (PLANTED | {"alerts_webhook_url": webhook}).items()}
    list(register(pipeline.settings.model_copy(update=planted)))
    try:
        assert pipeline.run("store_sales", rebuild=True)["marts"]
        with pytest.raises(Exception, match="no_such_feed"):
            pipeline.run("no_such_feed")
    finally:
        list(register(pipeline.settings))
    return [*PLANTED.values(), WEBHOOK_TOKEN, pipeline.settings.databricks_token.get_secret_value()]


def found_in(text: str | bytes, secrets: list[str]) -> list[str]:
    """Name by their first characters the secrets that are in a text."""
    content = text.encode() if isinstance(text, str) else text
    return [secret[:12] for secret in secrets if secret.encode() in content]


def leaks(folder: Path, secrets: list[str]) -> dict[str, list[str]]:
    """Look through every file of a folder, packed ones unpacked; give what was found by path."""
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        if names := found_in(content, secrets):
            found[str(path)] = names
    return found


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "plain.log").write_text("password=planted-5f1c-of-the-warehouse")
    (tmp_path / "packed.json.gz").write_bytes(gzip.compress(b"planted-77b0-of-the-cluster"))
    assert sorted(leaks(tmp_path, list(PLANTED.values())).values()) == [["planted-5f1c"], ["planted-77b0"]]


def test_prefects_database_holds_none(pipeline, secrets):
    """Parameters, states, artifacts, events, logs; blocks are encrypted there."""
    database = sqlite3.connect(f"file:{pipeline.home}/prefect_server/prefect.db?mode=ro", uri=True)
    tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
    assert {"log", "artifact", "events", "flow_run", "task_run_state", "block_document"} <= set(tables)
    rows = {table: [repr(row) for row in database.execute(f'select * from "{table}"')] for table in tables}
    assert all(rows[table] for table in ("log", "artifact", "events", "flow_run"))
    found = {table: found_in("\n".join(texts), secrets) for table, texts in rows.items()}
    assert {table: names for table, names in found.items() if names} == {}


@pytest.mark.parametrize("folder", ["logs", "storage", "databricks/runs", "connect"])
def test_no_file_of_the_stack_holds_any(pipeline, secrets, folder):
    assert any((pipeline.home / folder).iterdir())
    assert leaks(pipeline.home / folder, secrets) == {}


def test_no_result_of_a_task_holds_any(secrets):
    results = Path(PREFECT_LOCAL_STORAGE_PATH.value())
    assert any(results.iterdir())
    assert leaks(results, secrets) == {}


def test_no_message_holds_any(pipeline, secrets):
    """What was said; the inbox itself must know by which address it came."""
    assert found_in(json.dumps(pipeline.slack()), secrets) == []


def test_dbts_files_hold_none(secrets):
    targets = [PROJECT / "dbt" / "target", *Path(tempfile.gettempdir()).glob("sales-dbt-*")]
    assert {path: names for target in targets for path, names in leaks(target, secrets).items()} == {}


def test_monitoring_holds_none(pipeline, secrets):
    tables = pipeline.warehouse.rows(
        "select table_name from information_schema.tables where table_schema = 'MONITORING' "
        "and table_type = 'BASE TABLE'"
    )
    assert len(tables) >= 6
    for table in tables:
        rows = pipeline.warehouse.rows(f"select * from MONITORING.{table['table_name']}")
        assert found_in(json.dumps(rows, default=str), secrets) == [], table
