"""docs/warehouse-sql.md lists what the embedded warehouse answers without doing: exactly what its code does."""

import re

import pytest
import sqlglot

from blocks.settings import PROJECT
from local.snowflake.functions import SESSION_FUNCTIONS
from local.snowflake.statements import ACCOUNT_OBJECTS, SHOW_COLUMNS, answer
from tests.architecture.snowflake_sql import offences

PAGE = (PROJECT / "docs" / "warehouse-sql.md").read_text()
ANSWERED, _, REST = PAGE.partition("## Answered as done")[2].partition("## Done here in another way")
# The first column of the table: one statement a row.
EXAMPLES = [sql for sql in re.findall(r"^\| `([^`]+)` \|", ANSWERED, re.MULTILINE) if "()" not in sql]


def kinds() -> list[str]:
    """Read off the pattern which kinds of objects are answered as done: DATABASE ROLE, ROLE, …, POLICY."""
    words = re.findall(r"[A-Z]{2,}(?:\\s\+[A-Z]+)*", ACCOUNT_OBJECTS.pattern)
    return [word.replace(r"\s+", " ") for word in words if word not in (r"OR\s+REPLACE", "OR", "REPLACE")]


@pytest.mark.parametrize("sql", EXAMPLES)
def test_an_example_is_snowflakes_and_answered_as_done(sql):
    assert offences(sql, twice=True) == []
    answered = answer(sqlglot.parse_one(sql, read="snowflake"), {})
    assert answered is not None
    assert "successfully" in answered.sql()


@pytest.mark.parametrize("kind", kinds())
def test_each_kind_that_is_answered_as_done_has_an_example(kind):
    assert any(re.search(rf"\b{kind}\b", sql.upper()) for sql in EXAMPLES)


@pytest.mark.parametrize("kind", SHOW_COLUMNS)
def test_each_kind_that_is_never_shown_is_listed(kind):
    assert f"`show {kind.lower()}`" in ANSWERED


@pytest.mark.parametrize("function", SESSION_FUNCTIONS, ids=lambda function: function.sql_name())
def test_each_function_with_a_fixed_answer_is_listed(function):
    assert f"`{function.sql_name().lower()}()`" in ANSWERED


def test_the_list_is_not_empty():
    assert len(kinds()) >= 15
    assert len(EXAMPLES) >= len(kinds())


@pytest.mark.parametrize(
    "sql", ["select 1", "create table T (a number)", "create schema S clone T", "drop table T"]
)
def test_what_is_done_is_not_answered_as_done(sql):
    assert answer(sqlglot.parse_one(sql, read="snowflake"), {}) is None


def test_the_tests_that_the_page_names_are_there():
    named = set(re.findall(r"(?:tests/\w+/)?(test_\w+\.py)", PAGE))
    assert named
    assert named <= {path.name for path in (PROJECT / "tests").rglob("test_*.py")}
