"""CREATE statements that stock fakesnow runs otherwise than Snowflake: constraints and temporary objects."""

from duckdb import DuckDBPyConnection
from sqlglot import Expr, exp

TEMPORARY = "temporary, of session "


def drop_keys(expression: Expr) -> None:
    """Take primary, foreign and unique keys out of a CREATE TABLE.

    Snowflake records such keys and does not enforce them. Stock hands them to DuckDB, which does, and counts
    a key's line as a column, so that dbt's contracts fail.
    """
    if not _is_table_with_columns(expression):
        return
    columns = [column for column in expression.this.expressions if isinstance(column, exp.ColumnDef)]
    keys = (exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint, exp.Reference)
    for column in columns:
        column.set("constraints", [c for c in column.constraints if not isinstance(c.args.get("kind"), keys)])
    expression.this.set("expressions", columns)


def keep_not_null(expression: Expr) -> list[str]:
    """Enforce NOT NULL in `CREATE TABLE t (a number not null) AS SELECT`; give what to run afterwards.

    Stock drops the column definitions of a CTAS after casting, so that a dbt contract holds nothing. The error
    inside the query keeps the statement atomic, the ALTERs that follow hold later inserts to it too.
    """
    if not (_is_table_with_columns(expression) and isinstance(expression.expression, exp.Query)):
        return []
    query, table = expression.expression.unnest(), exp.table_name(expression.this.this, dialect="duckdb")
    afterwards = []
    for i, column in enumerate(expression.this.expressions):
        if any(isinstance(c.args.get("kind"), exp.NotNullColumnConstraint) for c in column.constraints):
            if not query.is_star:
                query.selects[i].replace(_never_null(query.selects[i], column))
            afterwards.append(f"ALTER TABLE {table} ALTER COLUMN {column.this.sql('duckdb')} SET NOT NULL")
    return afterwards


def _is_table_with_columns(expression: Expr) -> bool:
    """Tell CREATE TABLE t (a number, …) from other statements."""
    is_table = isinstance(expression, exp.Create) and expression.kind == "TABLE"
    return is_table and isinstance(expression.this, exp.Schema)


def _never_null(projection: Expr, column: exp.ColumnDef) -> Expr:
    value = projection.unalias()
    complaint = exp.Literal.string(f"NULL result in a non-nullable column {column.name}")
    failing = exp.func("error", complaint)
    case = (
        exp.Case()
        .when(exp.Is(this=exp.paren(value.copy()), expression=exp.null()), failing)
        .else_(value.copy())
    )
    return exp.alias_(case, column.this.copy())


def make_permanent(expression: Expr, session: str) -> list[str]:
    """Make `CREATE TEMPORARY TABLE db.schema.t` a real table that ends with its session.

    DuckDB knows temporary objects only in a schema of their own, so stock fails, and every incremental dbt
    model makes one. The object is marked by its DuckDB comment (not shown by Snowflake's views) and dropped at
    logout or, after a crash, at the next start. Two sessions using one temporary name at once would collide.
    """
    if not (isinstance(expression, exp.Create) and expression.kind in ("TABLE", "VIEW")):
        return []
    properties, table = expression.args.get("properties"), expression.find(exp.Table)
    if not (properties and table and table.db and properties.find(exp.TemporaryProperty)):
        return []
    kept = [p for p in properties.expressions if not isinstance(p, exp.TemporaryProperty)]
    expression.set("properties", exp.Properties(expressions=kept) if kept else None)
    name = exp.table_name(table, dialect="duckdb", identify=True)
    return [f"COMMENT ON {expression.kind} {name} IS '{TEMPORARY}{session}'"]


def drop_temporary_objects(connection: DuckDBPyConnection, session: str = "") -> None:
    """Drop the temporary objects of one session, or of all sessions (at start, after a crash)."""
    drops = connection.execute(
        """
        SELECT format('DROP {} IF EXISTS "{}"."{}"."{}"', kind, database_name, schema_name, name)
        FROM (
            SELECT 'TABLE' AS kind, database_name, schema_name, table_name AS name, comment FROM duckdb_tables()
            UNION ALL
            SELECT 'VIEW', database_name, schema_name, view_name, comment FROM duckdb_views()
        )
        WHERE starts_with(comment, ?)
        """,
        [TEMPORARY + session],
    ).fetchall()
    for (drop,) in drops:
        connection.execute(drop)
