"""The places inside fakesnow that cannot be reached by a subclass."""

from string import Template

import pyarrow
from fakesnow import arrow, copy_into, cursor, info_schema, server, transforms
from sqlglot import Expr, exp

from local.snowflake import comments, copy, numbers, parsing

_stock_to_timestamp = transforms.to_timestamp
_stock_timestamps = arrow.timestamp_to_sf_struct
_stock_tables_view = info_schema.SQL_CREATE_INFORMATION_SCHEMA_TABLES_VIEW.template
_TABLES_AND_VIEWS = """
from (
    select database_name, schema_name, table_name, 'BASE TABLE' as kind, estimated_size from duckdb_tables
    union all
    select database_name, schema_name, view_name, 'VIEW', null from duckdb_views
) tables
"""


def apply_patches() -> None:
    """Put our functions in the place of upstream's; doing it twice does no harm."""
    server.parse_one = parsing.parse_request
    cursor.parse_one = parsing.parse_once
    transforms.numeric_agg_implicit_cast = numbers.exact_sum
    copy_into._inserts = copy.inserts_with_metadata
    copy_into.FileTypeHandler.file_literal = staticmethod(copy.literal_of_file)
    transforms.to_timestamp = try_cast_to_timestamp
    arrow.timestamp_to_sf_struct = null_timestamps
    info_schema.insert_table_comment_sql = comments.quoted_table_comment
    info_schema.SQL_CREATE_INFORMATION_SCHEMA_TABLES_VIEW = tables_and_views()


def tables_and_views() -> Template:
    """Let INFORMATION_SCHEMA.TABLES list views too, as Snowflake's does.

    Stock lists tables only, so that `dbt docs` knows nothing of the columns of a view.
    """
    sql = _stock_tables_view.replace("create view if not exists", "create or replace view")
    sql = sql.replace("from duckdb_tables tables", _TABLES_AND_VIEWS)
    return Template(sql.replace("'BASE TABLE' AS", "tables.kind AS"))


def try_cast_to_timestamp(node: Expr) -> Expr:
    """Let TRY_CAST(x AS TIMESTAMP) give NULL for what is no timestamp.

    Stock takes it for a CAST and raises.
    """
    return node if isinstance(node, exp.TryCast) else _stock_to_timestamp(node)


def null_timestamps(column: pyarrow.ChunkedArray) -> pyarrow.StructArray:
    """Send NULL timestamps as NULL; stock sends them as 1970-01-01."""
    column = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    values = _stock_timestamps(column)
    return pyarrow.StructArray.from_arrays(values.flatten(), fields=list(values.type), mask=column.is_null())
