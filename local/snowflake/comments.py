"""Comments of tables and columns, which dbt's persist_docs writes and `dbt docs` reads."""

import re

from fakesnow import info_schema
from fakesnow.transforms import SUCCESS_NOP
from sqlglot import Expr, exp

ALTER = re.compile(
    r"\s*(?:TABLE|VIEW)\s+(?:IF\s+EXISTS\s+)?(\S+)\s+(?:ALTER|MODIFY)\s(.*)", re.IGNORECASE | re.DOTALL
)
COLUMN_COMMENT = re.compile(
    r"""("[^"]+"|\w+)\s+COMMENT\s+(?:\$\$(.*?)\$\$|'((?:[^']|'')*)')""", re.IGNORECASE | re.DOTALL
)
_stock_table_comment = info_schema.insert_table_comment_sql


def altered_comments(expression: Expr) -> list[Expr]:
    """Turn `ALTER TABLE t ALTER a COMMENT $$x$$, b COMMENT $$y$$` into statements of DuckDB.

    Stock fakesnow refuses several at once and drops a single one, so that columns stay without comments.
    """
    if not (isinstance(expression, exp.Command) and str(expression.this).upper() == "ALTER"):
        return []
    if not (alter := ALTER.match(str(expression.expression))):
        return []
    comments = [
        _comment_on_column(alter[1], column, dollars or quoted.replace("''", "'"))
        for column, dollars, quoted in COLUMN_COMMENT.findall(alter[2])
    ]
    together = exp.Command(this="", expression="; ".join(comments))
    return [together, SUCCESS_NOP.copy()] if comments else []


def created_comments(expression: Expr) -> list[str]:
    """Give what sets the comments in the column list of a CREATE TABLE or VIEW, once it has run.

    Stock fakesnow drops them; dbt comments the columns of a view there.
    """
    if not (isinstance(expression, exp.Create) and isinstance(expression.this, exp.Schema)):
        return []
    table = exp.table_name(expression.this.this, dialect="duckdb", identify=True)
    return [
        _comment_on_column(table, column.this.sql("duckdb"), comment.this.name)
        for column in expression.this.find_all(exp.ColumnDef)
        for comment in column.find_all(exp.CommentColumnConstraint)
    ]


def _comment_on_column(table: str, column: str, comment: str) -> str:
    return f"COMMENT ON COLUMN {table}.{column} IS {exp.Literal.string(comment).sql('duckdb')}"


def quoted_table_comment(catalog: str, schema: str, table: str, comment: str | None) -> str:
    """Store the comment of a table that has an apostrophe, or none at all.

    Stock puts the text between quotes as it is: `it's` is a syntax error after the table was created, and a
    table with properties but no comment gets the comment `None`.
    """
    return _stock_table_comment(catalog, schema, table, (comment or "").replace("'", "''"))
