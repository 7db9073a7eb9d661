"""Laws of the dbt project, read off its files without running dbt.

Which model may stand where, how it is named, that it says its grain, that something tests it, and that its
SQL calls nothing but Snowflake: the embedded warehouse is DuckDB underneath and would take more than that.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DBT = Path(__file__).parents[2] / "dbt"
MODELS = sorted((DBT / "models").rglob("*.sql"))
SQL_FILES = [*MODELS, *sorted((DBT / "data-tests").glob("*.sql")), *sorted((DBT / "macros").glob("*.sql"))]
PREFIXES = {"staging": ("stg_",), "intermediate": ("int_",), "marts": ("dim_", "fct_", "mart_")}

# Functions of Snowflake that the project uses. Check a new one in Snowflake's reference before adding it.
SNOWFLAKE_FUNCTIONS = set(
    re.findall(
        r"\w+",
        """
        array_compact array_construct array_to_string coalesce count count_if date_trunc dateadd datediff day
        dayname dayofweekiso generator iff lag last_day last_value lead left length lpad max md5 min mod month
        monthname nullif number quarter rank round row_number rtrim seq4 sum table timestamp_ntz to_char
        to_timestamp_ntz trim try_cast weekiso year
        """,
    )
)
KEYWORDS = {"and", "as", "from", "in", "join", "on", "or", "over", "select", "where"}


def layer(model: Path) -> str:
    """Name the folder right under models/ in which a model stands."""
    return model.relative_to(DBT / "models").parts[0]


def properties(model: Path) -> dict[str, Any]:
    """Read the entry of a model in the yml beside it."""
    content = yaml.safe_load(model.with_suffix(".yml").read_text())
    (entry,) = content["models"]
    assert entry["name"] == model.stem
    return entry


def without_comments(sql: str) -> str:
    """Drop SQL and Jinja comments, string literals kept."""
    return re.sub(r"\{#.*?#\}|--[^\n]*", "", sql, flags=re.DOTALL)


def pure_sql(sql: str) -> str:
    """Drop comments, string literals and Jinja: what is left is SQL that was written by hand."""
    return re.sub(r"\{%.*?%\}|\{\{.*?\}\}|'[^']*'", " ; ", without_comments(sql), flags=re.DOTALL)


def test_there_are_models_in_every_layer() -> None:
    assert {layer(model) for model in MODELS} == set(PREFIXES)


def test_the_folder_is_no_package() -> None:
    """A dbt/__init__.py would hide the installed dbt; dbt/tests would be collected by pytest."""
    assert not (DBT / "__init__.py").exists()
    assert not (DBT / "tests").exists()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.stem)
def test_model_is_named_by_its_layer(model: Path) -> None:
    assert model.stem.startswith(PREFIXES[layer(model)])
    if layer(model) == "staging":
        assert model.stem.startswith(f"stg_{model.parent.name}__")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.stem)
def test_model_says_its_grain_and_its_columns(model: Path) -> None:
    entry = properties(model)
    assert entry["description"].startswith("One row per ")
    assert entry["columns"]
    assert all(column["description"] for column in entry["columns"])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.stem)
def test_model_is_tested(model: Path) -> None:
    """By a test on a column, by a unit test, or by a singular test that reads it."""
    content = yaml.safe_load(model.with_suffix(".yml").read_text())
    column_tests = any("data_tests" in column for column in content["models"][0]["columns"])
    unit_tests = "unit_tests" in content
    reads = f"ref('{model.stem}')"
    singular = any(reads in path.read_text() for path in (DBT / "data-tests").glob("*.sql"))
    assert column_tests or unit_tests or singular


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.stem)
def test_only_staging_reads_sources(model: Path) -> None:
    calls = re.findall(r"\b(source|ref)\(", without_comments(model.read_text()))
    assert set(calls) == ({"source"} if layer(model) == "staging" else {"ref"})


@pytest.mark.parametrize("model", [m for m in MODELS if layer(m) == "marts"], ids=lambda model: model.stem)
def test_mart_has_a_contract_with_a_tested_key(model: Path) -> None:
    columns = properties(model)["columns"]
    assert all("data_type" in column for column in columns)
    key = columns[0]
    assert key["name"].endswith("_key")
    assert {"type": "not_null"} in key["constraints"]
    assert "unique" in key["data_tests"]


@pytest.mark.parametrize("path", SQL_FILES, ids=lambda path: path.stem)
def test_sql_calls_only_functions_of_snowflake(path: Path) -> None:
    called = set(re.findall(r"\b([a-z_][a-z0-9_]*)\s*\(", pure_sql(path.read_text()).lower()))
    ctes = set(re.findall(r"\b(\w+) as \(", pure_sql(path.read_text())))
    assert called - SNOWFLAKE_FUNCTIONS - KEYWORDS - ctes == set()


def test_only_the_profile_reads_the_environment() -> None:
    ymls = [*DBT.glob("*.yml"), *(DBT / "models").rglob("*.yml")]
    readers = [path.name for path in [*SQL_FILES, *ymls] if "env_var(" in path.read_text()]
    assert readers == ["profiles.yml"]
