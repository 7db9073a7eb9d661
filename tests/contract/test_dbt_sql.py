"""What dbt makes of the project is Snowflake's SQL, and says whose it is."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.warehouse import SalesWarehouse
from tasks.dbt_build import DBT_FOLDER, dbt_command, dbt_environment, run_dbt
from tests.architecture.snowflake_sql import offences

MODEL = "stg_monitoring__load_audit"


@pytest.fixture(scope="module")
def dbt(serve_warehouse: Callable[..., SalesWarehouse], tmp_path_factory: pytest.TempPathFactory):
    """Run dbt against a warehouse where nothing is built yet; give its messages and what it compiled, by node."""
    folder = tmp_path_factory.mktemp("dbt_sql")
    warehouse = serve_warehouse(f"file://{folder}/")

    def run(caplog: pytest.LogCaptureFixture, *arguments: str) -> tuple[list[str], dict[str, str]]:
        command = dbt_command("--log-level", "debug", *arguments, "--target-path", str(folder))
        with caplog.at_level(logging.DEBUG, __name__):
            code = run_dbt(command, dbt_environment(warehouse), logging.getLogger(__name__))
        assert code == 0, [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
        compiled = {path.stem: path.read_text() for path in (folder / "compiled").rglob("*.sql")}
        return [record.getMessage() for record in caplog.records], compiled

    return run


def names(*folders: str) -> set[str]:
    return {path.stem for folder in folders for path in Path(DBT_FOLDER / folder).rglob("*.sql")}


def test_every_compiled_node_is_snowflakes_sql(dbt, caplog):
    """Models and tests of every kind; a model that is incremental as its first build."""
    _messages, compiled = dbt(caplog, "compile")
    assert names("models", "data-tests") <= set(compiled)
    assert len(compiled) > len(names("models", "data-tests")) + 15  # and the tests that ymls ask for
    assert {node: found for node, sql in compiled.items() if (found := offences(sql))} == {}


def test_each_model_is_built_under_its_own_query_tag(dbt, caplog):
    messages, _compiled = dbt(caplog, "run", "--select", MODEL)
    tags = [tag for text in messages for tag in re.findall(r"set query_tag = '([^']*)'", text)]
    created = next(n for n, text in enumerate(messages) if "create or replace" in text and MODEL in text)
    tagged = next(n for n, text in enumerate(messages) if f"'sales_dbt:{MODEL}'" in text)
    assert tags == [f"sales_dbt:{MODEL}", "sales_dbt"]
    assert tagged < created
