"""The sales line is declared once, in `spark_jobs/contract.yml`; everything that repeats it must agree.

Compared here, column by column: the DDL of RAW, dbt's sources, the rules in dbt's staging model and the
expectation suites. A column added in one place and forgotten in another fails with its name.
"""

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import sqlglot
import yaml
from sqlglot import exp

ROOT = Path(__file__).parents[2]
CONTRACT = yaml.safe_load((ROOT / "spark_jobs/contract.yml").read_text())
RULES = {rule["id"]: rule for rule in CONTRACT["rules"]}
STAGING_SQL = (ROOT / "dbt/models/staging/kafka/stg_kafka__sales_events.sql").read_text()
SNOWFLAKE_TYPES = {
    "string": "VARCHAR",
    "integer": "NUMBER(38,0)",
    "long": "NUMBER(38,0)",
    "decimal(18,4)": "NUMBER(18,4)",
    "timestamp": "TIMESTAMP_NTZ",
}

Columns = dict[str, tuple[str, bool]]  # name -> (Snowflake type, required)


def contract_columns() -> Columns:
    """Give the columns of a loaded batch row: the contract's, the lineage, and the load's stamp."""
    declared = {**CONTRACT["columns"], **CONTRACT["lineage"]}
    columns = {name: (SNOWFLAKE_TYPES[c["type"]], c["required"]) for name, c in declared.items()}
    return {**columns, "loaded_at": ("TIMESTAMP_NTZ", True)}


def ddl_tables() -> dict[str, Columns]:
    """Read every `create table` of sql/, as {SCHEMA.TABLE: columns in order}."""
    tables = {}
    for path in sorted((ROOT / "sql").glob("*.sql")):
        template = jinja2.Template(path.read_text(), undefined=jinja2.ChainableUndefined)
        for statement in sqlglot.parse(template.render(database="SALES_DW"), read="snowflake"):
            if isinstance(statement, exp.Create) and statement.kind == "TABLE":
                table = statement.this.this
                tables[f"{table.db}.{table.name}".upper()] = {
                    column.name.lower(): (snowflake_type(column.kind), is_not_null(column))
                    for column in statement.this.expressions
                }
    return tables


def snowflake_type(kind: Any) -> str:
    """Spell a type as Snowflake does, without spaces: NUMBER(18,4)."""
    return normal_type(kind.sql("snowflake"))


def normal_type(text: str) -> str:
    """Fold the spellings of one Snowflake type: case, spaces, DECIMAL for NUMBER, TIMESTAMPNTZ."""
    text = text.upper().replace(" ", "").replace("DECIMAL", "NUMBER")
    return text.replace("TIMESTAMPNTZ", "TIMESTAMP_NTZ")


def is_not_null(column: exp.ColumnDef) -> bool:
    """Tell whether a column of a `create table` is declared NOT NULL."""
    return any(isinstance(c.kind, exp.NotNullColumnConstraint) for c in column.constraints)


def dbt_sources() -> dict[str, dict[str, str]]:
    """Read dbt's sources, as {SCHEMA.TABLE: {column: type}} in order."""
    declared = yaml.safe_load((ROOT / "dbt/models/staging/sources.yml").read_text())
    return {
        f"{source['schema']}.{table['name']}".upper(): {
            c["name"]: normal_type(c["data_type"]) for c in table["columns"]
        }
        for source in declared["sources"]
        for table in source["tables"]
    }


def suite(table: str) -> dict[str, dict[str, Any]]:
    """Read a suite's expectations by id."""
    content = yaml.safe_load((ROOT / f"expectations/{table}.yml").read_text())
    return {e["id"]: e for e in content["expectations"]}


def test_raw_ddl_is_the_contract() -> None:
    assert list(ddl_tables()["RAW.SALES_BATCH_RAW"].items()) == list(contract_columns().items())


def test_stream_table_is_what_the_sink_writes() -> None:
    expected = {"record_metadata": ("VARIANT", False), "record_content": ("VARIANT", False)}
    assert ddl_tables()["RAW.SALES_RAW"] == expected


def test_quarantine_carries_the_lineage() -> None:
    columns = ddl_tables()["RAW.SALES_QUARANTINE"]
    for name, lineage in CONTRACT["lineage"].items():
        assert columns[name] == (SNOWFLAKE_TYPES[lineage["type"]], lineage["required"])


def test_dbt_sources_are_the_ddl() -> None:
    ddl = ddl_tables()
    for table, columns in dbt_sources().items():
        declared = {name: kind for name, (kind, _) in ddl[table].items()}
        assert list(columns.items()) == list(declared.items()), table


def test_dbt_staging_knows_every_rule_of_the_contract() -> None:
    """Each required column can be missing, each that is no text can be unreadable, each rule broken."""
    required = [name for name, c in CONTRACT["columns"].items() if c["required"]]
    expected = [f"{name}_missing" for name in required]
    expected += [f"{n}_invalid" for n in required if CONTRACT["columns"][n]["type"] != "string"]
    named = re.findall(r"'(\w+_(?:missing|invalid)|" + "|".join(RULES) + ")'", STAGING_SQL)
    assert sorted(named) == sorted([*expected, *RULES])


def test_dbt_staging_reads_every_column_of_the_contract() -> None:
    read = re.findall(r"json_text\('(\w+)'\)", STAGING_SQL)
    assert read == ["event_id", "event_type", *CONTRACT["columns"]]


def test_dbt_staging_has_the_contracts_values() -> None:
    currencies = re.search(r"currency not in \(([^)]+)\)", STAGING_SQL)
    assert currencies is not None
    assert re.findall(r"'(\w+)'", currencies[1]) == RULES["currency_known"]["value"]
    days = [value.split("T")[0] for value in RULES["ordered_at_plausible"]["value"]]
    assert re.findall(r"'(\d{4}-\d\d-\d\d)'::timestamp_ntz", STAGING_SQL) == days


def test_batch_suite_has_the_contracts_columns() -> None:
    expected = suite("sales_batch_raw")["columns_of_the_contract"]["kwargs"]
    assert expected["column_set"] == list(contract_columns())
    assert expected["exact_match"] is True


@pytest.mark.parametrize("table", ["sales_batch_raw", "sales_raw"])
def test_raw_suites_expect_every_required_column(table: str) -> None:
    required = {name for name, c in CONTRACT["columns"].items() if c["required"]}
    expected = {
        e["kwargs"]["column"]
        for e in suite(table).values()
        if e["type"] == "expect_column_values_to_not_be_null" and e["severity"] == "stop"
    }
    assert required <= expected


@pytest.mark.parametrize("table", ["sales_batch_raw", "sales_raw", "fct_sales", "mart_daily_sales"])
def test_suites_have_the_contracts_values(table: str) -> None:
    """A rule that a suite repeats by its id must repeat its values too."""
    repeated = {i: e["kwargs"] for i, e in suite(table).items() if i in RULES}
    assert "currency_known" in repeated
    for rule_id, kwargs in repeated.items():
        rule = RULES[rule_id]
        assert kwargs["column"] == rule["column"]
        match rule["check"]:
            case "one_of":
                assert kwargs["value_set"] == rule["value"]
            case "not_equal":
                assert kwargs["value_set"] == [rule["value"]]
            case "at_least":
                assert kwargs["min_value"] == rule["value"]
            case "between":
                bounds = [value.replace("T", " ").rstrip("Z") for value in rule["value"]]
                assert [kwargs["min_value"], kwargs["max_value"]] == bounds
