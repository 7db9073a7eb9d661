"""CREATE … CLONE of schemas and tables.

Stock fakesnow has no clone of a schema, and its clone of a table forgets OR REPLACE and NOT NULL. Publishing
the marts is one `CREATE OR REPLACE SCHEMA … CLONE`, so here it is one DuckDB transaction: a reader sees all of
the old tables or all of the new ones. Data is copied, where Snowflake shares it until it changes. A cloned view
goes on reading what the original reads, as in Snowflake.
"""

import re
from typing import NamedTuple

from duckdb import CatalogException, DuckDBPyConnection
from sqlglot import exp

from local.snowflake.ddl import TEMPORARY

HEAD = re.compile(r'CREATE (TABLE|VIEW) (?:(?:"[^"]+"|[^".\s(]+)\.?)+')

OBJECTS = """
    SELECT name, sql FROM (
        SELECT 1 AS rank, database_name, schema_name, table_name AS name, sql, comment FROM duckdb_tables()
        UNION ALL
        SELECT 2, database_name, schema_name, view_name, sql, comment FROM duckdb_views()
    )
    WHERE database_name = $1 AND schema_name = $2 AND name = coalesce($3, name)
        AND NOT starts_with(coalesce(comment, ''), $4)
    ORDER BY rank, name
"""
COLUMN_COMMENTS = """
    SELECT column_name, replace(comment, '''', '''''') FROM duckdb_columns()
    WHERE database_name = $1 AND schema_name = $2 AND table_name = $3 AND comment IS NOT NULL
"""
TABLE_COMMENTS = """
    INSERT OR REPLACE INTO _fs_global._fs_information_schema._fs_tables_ext
    SELECT $4, $5, coalesce($6, ext_table_name), comment FROM _fs_global._fs_information_schema._fs_tables_ext
    WHERE ext_table_catalog = $1 AND ext_table_schema = $2 AND ext_table_name = coalesce($3, ext_table_name)
"""
TEXT_LENGTHS = """
    INSERT OR REPLACE INTO _fs_global._fs_information_schema._fs_columns_ext
    SELECT $4, $5, coalesce($6, ext_table_name), ext_column_name, ext_character_maximum_length,
        ext_character_octet_length
    FROM _fs_global._fs_information_schema._fs_columns_ext
    WHERE ext_table_catalog = $1 AND ext_table_schema = $2 AND ext_table_name = coalesce($3, ext_table_name)
"""


class Name(NamedTuple):
    """The full name of a schema, or of a table in it."""

    database: str
    schema: str
    table: str | None = None

    def sql(self) -> str:
        """Quote the name for DuckDB."""
        return ".".join(f'"{part}"' for part in self if part)


def clone(connection: DuckDBPyConnection, create: exp.Create, database: str, schema: str) -> None:
    """Run CREATE [OR REPLACE] SCHEMA or TABLE … CLONE; identifiers must be upper case already.

    Raises duckdb.Error: the source does not exist, the target does, or somebody else is changing the target.
    """
    new, old = create.find(exp.Table), create.args["clone"].this
    if create.kind == "SCHEMA":
        target, source = Name(new.catalog or database, new.db), Name(old.db or database, old.name)
    else:
        target, source = (Name(t.catalog or database, t.db or schema, t.name) for t in (new, old))
    with connection.cursor() as cursor:
        cursor.execute(f'USE "{source.database}"')  # the stored text of a view leaves its own database out
        objects = _objects(cursor, source)
        cursor.begin()
        if create.args.get("replace"):
            cursor.execute(f"DROP {create.kind} IF EXISTS {target.sql()} CASCADE")
        if create.kind == "SCHEMA":
            cursor.execute(f"CREATE SCHEMA {target.sql()}")
        for name, sql in objects:
            _copy_object(
                cursor, sql, source._replace(table=name), target._replace(table=target.table or name)
            )
        cursor.commit()
        # In fakesnow's own database, which DuckDB cannot write in the same transaction.
        cursor.execute(TABLE_COMMENTS, [*source, *target])
        cursor.execute(TEXT_LENGTHS, [*source, *target])


def _objects(cursor: DuckDBPyConnection, source: Name) -> list[tuple[str, str]]:
    """List (name, CREATE statement): the tables of a schema, then its views; or one table."""
    schemas = cursor.execute("FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?", source[:2])
    objects = cursor.execute(OBJECTS, [*source, TEMPORARY]).fetchall() if schemas.fetchone() else None
    if objects is None or (source.table and not objects):
        raise CatalogException(f"Object '{'.'.join(filter(None, source))}' does not exist or not authorized.")
    return objects


def _copy_object(cursor: DuckDBPyConnection, sql: str, source: Name, target: Name) -> None:
    """Make a table or view like its original, with rows, constraints and the comments of its columns."""
    cursor.execute(HEAD.sub(lambda head: f"CREATE {head[1]} {target.sql()}", sql, count=1))
    if sql.startswith("CREATE TABLE"):
        cursor.execute(f"INSERT INTO {target.sql()} FROM {source.sql()}")
    for column, comment in cursor.execute(COLUMN_COMMENTS, list(source)).fetchall():
        cursor.execute(f"COMMENT ON COLUMN {target.sql()}.\"{column}\" IS '{comment}'")
