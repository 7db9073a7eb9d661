"""Laws of the dbt project, read off its files, and off what dbt itself makes of them (`dbt parse`: no warehouse).

Which model may stand where, how it is named, that it says its grain, that something tests it, who may read it and
who does, and that its SQL calls nothing but Snowflake: the embedded warehouse is DuckDB underneath and would take
more than that.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.settings import PROJECT
from tasks.dbt_build import dbt_command, run_dbt
from tests.architecture.snowflake_sql import FUNCTIONS, WORDS

DBT = Path(__file__).parents[2] / "dbt"
MODELS = sorted((DBT / "models").rglob("*.sql"))
SQL_FILES = [*MODELS, *sorted((DBT / "data-tests").glob("*.sql")), *sorted((DBT / "macros").glob("*.sql"))]
PREFIXES = {"staging": ("stg_",), "intermediate": ("int_",), "marts": ("dim_", "fct_", "mart_")}

# dbt reads its profile even where it does not connect.
NO_WAREHOUSE = {f"SALES_DBT_{name}": "0" for name in ("ACCOUNT", "USER", "PASSWORD", "PORT")}
PROFILE_TAG = "sales_dbt"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What dbt makes of the project: models with their whole configuration, groups, exposures."""
    target = tmp_path_factory.mktemp("parsed")
    command = dbt_command("parse", "--target-path", str(target))
    assert run_dbt(command, NO_WAREHOUSE, logging.getLogger(__name__)) == 0
    return json.loads((target / "manifest.json").read_text())


def models(manifest: dict[str, Any], *layers: str) -> dict[str, dict[str, Any]]:
    """Give the models of the layers by name."""
    found = {n["name"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    return {name: node for name, node in found.items() if node["fqn"][1] in (layers or PREFIXES)}


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
    assert set(calls) <= ({"source"} if layer(model) == "staging" else {"ref"})


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
    assert called - FUNCTIONS - WORDS - ctes == set()


def test_only_the_profile_reads_the_environment() -> None:
    ymls = [*DBT.glob("*.yml"), *(DBT / "models").rglob("*.yml")]
    readers = [path.name for path in [*SQL_FILES, *ymls] if "env_var(" in path.read_text()]
    assert readers == ["profiles.yml"]


def test_dbt_sees_the_models_that_the_laws_see(manifest):
    assert set(models(manifest)) == {model.stem for model in MODELS}
    assert set(models(manifest, "marts")) == {model.stem for model in MODELS if layer(model) == "marts"}


def test_every_model_has_a_group_whose_owner_is_named(manifest):
    owners = {group["name"]: group["owner"]["name"] for group in manifest["groups"].values()}
    assert all(owners.values())
    assert {
        name: node["group"] for name, node in models(manifest).items() if node["group"] not in owners
    } == {}


def test_the_marts_are_open_to_all_and_nothing_else_is(manifest):
    """Readers of the warehouse build on contracts; what is below the marts may change without asking."""
    access = {name: node["access"] for name, node in models(manifest).items()}
    assert {name for name, value in access.items() if value == "public"} == set(models(manifest, "marts"))


def test_the_marts_are_held_to_their_contracts_and_described_in_the_warehouse(manifest):
    for name, node in models(manifest, "marts").items():
        config = node["config"]
        assert config["contract"]["enforced"], name
        assert config["persist_docs"] == {"relation": True, "columns": True}, name
        assert config["on_schema_change"] == "fail", name


@pytest.mark.parametrize("folder", PREFIXES)
def test_models_are_tagged_and_stored_by_their_layer(manifest, folder):
    schema = {"marts": "MARTS_CANDIDATE"}.get(folder, folder.upper())
    for name, node in models(manifest, folder).items():
        assert folder in node["tags"], name
        assert not (set(PREFIXES) - {folder}) & set(node["tags"]), name
        assert node["config"]["schema"] == schema, name
        assert folder != "staging" or node["config"]["materialized"] == "view", name


def test_no_model_reads_a_layer_above_its_own(manifest):
    order = list(PREFIXES)
    for name, node in models(manifest).items():
        read = [manifest["nodes"][key] for key in node["depends_on"]["nodes"] if key.startswith("model.")]
        assert all(order.index(n["fqn"][1]) <= order.index(node["fqn"][1]) for n in read), name


def test_every_exposure_says_what_it_is_and_whom_to_ask(manifest):
    assert len(manifest["exposures"]) >= 4
    for exposure in manifest["exposures"].values():
        assert exposure["owner"]["name"], exposure["name"]
        assert len(exposure["description"]) > 40, exposure["name"]
        assert exposure["type"] in {"dashboard", "notebook", "analysis", "application"}, exposure["name"]
        assert exposure["maturity"] in {"high", "medium", "low"}, exposure["name"]


def test_exposures_read_marts_and_every_mart_is_read(manifest):
    read = {key for exposure in manifest["exposures"].values() for key in exposure["depends_on"]["nodes"]}
    assert read == {node["unique_id"] for node in models(manifest, "marts").values()}


def test_the_exposure_of_the_report_is_what_the_report_reads(manifest):
    said = manifest["exposures"]["exposure.sales.run_report"]["depends_on"]["nodes"]
    read = re.findall(r"\bMARTS\.(\w+)", (PROJECT / "cli" / "report.py").read_text())
    assert {key.split(".")[-1] for key in said} == {name.lower() for name in read}


def test_queries_are_tagged_by_the_profile_and_by_each_model():
    """Which tags the statements then carry: tests/contract/test_dbt_sql.py."""
    profile = yaml.safe_load((DBT / "profiles.yml").read_text())
    assert profile["sales"]["outputs"]["warehouse"]["query_tag"] == PROFILE_TAG
    macros = (DBT / "macros" / "query_tag.sql").read_text()
    assert re.findall(r"macro (\w+)\(", macros) == ["set_query_tag", "unset_query_tag", "model_query_tag"]


def test_every_source_is_described_and_raw_data_goes_stale(manifest):
    sources = {source["name"]: source for source in manifest["sources"].values()}
    assert all(source["description"] and source["columns"] for source in sources.values())
    for name in ("sales_raw", "sales_batch_raw"):
        assert sources[name]["freshness"]["warn_after"]["count"], name
