"""All SQL that the project holds is Snowflake's: migrations, statements in Python, checks in YAML.

What dbt makes of its models is judged when it is compiled, in tests/contract/test_dbt_sql.py.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.settings import PROJECT
from tasks.migrations import read_migrations, statements
from tests.architecture.snowflake_sql import offences

# A statement in Python is written in lower case, as in all files; sentences ("Set SALES_…") begin with a capital.
STATEMENT = re.compile(
    r"\s*(select|with|insert into|update|delete from|merge into|create|alter|drop|truncate|copy into|grant|revoke|"
    r"use|show|describe|comment on|call|put|begin|commit|rollback)\b\s*\S*"
)
# These speak to DuckDB, to compare with it or because the embedded warehouse is one.
DUCKDB = ("local/snowflake/", "benchmarks/batch.py", "benchmarks/duckdb_batch.py")
FOLDERS = ("benchmarks", "blocks", "cli", "flows", "local", "streaming", "tasks")
PARAMETERS = re.compile(r"%s|%\(\w+\)s|(?<=[\s(])\?(?=[\s,);:]|$)")
VARIABLES = {"database": "SALES_DW", "processed_url": "s3://bucket/processed/", "stage_options": ""}


def statements_in(path: Path) -> Iterator[tuple[int, str]]:
    """Give line and text of each SQL statement among the strings of a Python file; what is filled in is a name."""
    tree = ast.parse(path.read_text())
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in whole for part in ast.walk(node) if part is not node}
    constants = {
        target.id: text_of(node.value, {})
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        text = None if id(node) in parts else text_of(node, constants)
        if text and STATEMENT.match(text) and is_statement(text):
            yield node.lineno, text


def is_statement(text: str) -> bool:
    """Tell a statement from a phrase that begins alike ('update date'): it has a second clause, or is one word."""
    words = text.split()
    return words in (["begin"], ["commit"], ["rollback"]) or len(words) > 3


def text_of(node: ast.AST, constants: dict[str, str | None]) -> str | None:
    """Give a string's text; where it is filled in, the constant of the file that stands there, or a name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, constants) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        name = node.value.id if isinstance(node.value, ast.Name) else ""
        return constants.get(name) or "x_"
    return None


def filled(text: str) -> str:
    """Fill in what is filled in later: the client's parameters, names in braces, numbers of rows, whole queries."""
    named = re.sub(r"\{\w*\}", "x_", PARAMETERS.sub("''", text))
    return re.sub(r"\bas x_\s*$", "as select 1", re.sub(r"\blimit (x_|'')", "limit 1", named))


def in_python() -> list[Any]:
    return [
        pytest.param(filled(text), id=f"{path.relative_to(PROJECT)}:{line}")
        for folder in FOLDERS
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if not str(path.relative_to(PROJECT)).startswith(DUCKDB)
        for line, text in statements_in(path)
    ]


def in_migrations() -> list[Any]:
    return [
        pytest.param(statement, id=f"{migration.name}-{number}")
        for migration in read_migrations()
        for number, statement in enumerate(statements(migration, VARIABLES), 1)
    ]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)
    elif isinstance(value, str):
        yield value


def in_expectations() -> list[Any]:
    return [
        pytest.param(filled(text), id=f"{path.stem}-{number}")
        for path in sorted((PROJECT / "expectations").glob("*.yml"))
        for number, text in enumerate(strings(yaml.safe_load(path.read_text())), 1)
        if STATEMENT.match(text) and is_statement(text)
    ]


def test_the_statements_are_found():
    assert len(in_migrations()) > 15
    assert len(in_python()) > 60
    assert len(in_expectations()) > 10


@pytest.mark.parametrize("sql", [*in_migrations(), *in_python(), *in_expectations()])
def test_a_statement_is_snowflakes(sql):
    assert offences(sql, twice=True) == [], sql


@pytest.mark.parametrize(
    ("sql", "offence"),
    [
        ("select string_agg(a) from t", "the function string_agg"),
        ("select regexp_matches(a, 'x') from t", "the function regexp_matches"),
        ("select epoch(a) from t", "the function epoch"),
        ("select i from range(10) r(i)", "the function range"),
        ("select a from t where len(b) in (select strftime(c, '%d') from u)", "the function strftime"),
        ("select unnest(a) from t", "the function unnest"),
        ("select columns(*) from t", "COLUMNS(…)"),
        ("select distinct on (a) b from t", "DISTINCT ON"),
        ("select sum(a) filter (where b) from t", "FILTER (WHERE …)"),
        ("from t", "FROM without SELECT"),
        ("select a from (from t)", "FROM without SELECT"),
        ("select a from t limit 10%", "LIMIT in percent"),
        ("select a::hugeint from t", "the type INT128"),
        ("select f.value from t, table(flatten(input => a, outer => true)) f", "OUTER of FLATTEN"),
        ("pivot t on a", "the statement PIVOT"),
        ("summarize t", "the statement summarize"),
        ("install httpfs", "the statement install"),
        ("pragma x", "the statement PRAGMA"),
        ("vacuum t", "sqlfluff cannot read it"),
        ("attach 'x.db' as y", "sqlglot cannot read it"),
        ('select "lower" from t', 'the quoted name "lower", another one than LOWER to Snowflake'),
        ("select a from t where", "sqlglot cannot read it"),
    ],
)
def test_what_only_duckdb_knows_is_found(sql, offence):
    assert any(found.startswith(offence) for found in offences(sql)), offences(sql)


def test_what_snowflake_alone_knows_is_let_through():
    sql = """
    merge into RAW.T using (select f.value:a::varchar as a from table(flatten(input => parse_json('[]'))) f) s
    on T.a = s.a when matched then update set b = 1 when not matched then insert (a, b) values (s.a, 2);
    copy into T from @RAW.STAGE/x/ pattern = '.*[.]parquet' file_format = (type = parquet)
    match_by_column_name = case_insensitive include_metadata = (loaded_at = METADATA$START_SCAN_TIME);
    create or replace schema MARTS clone MARTS_CANDIDATE;
    select a, count_if(b) from T where c is distinct from d group by a qualify row_number() over (order by a) = 1;
    grant select on all tables in schema SALES_DW.MARTS to role ANALYST
    """
    assert offences(sql, twice=True) == []
