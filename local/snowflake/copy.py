"""COPY INTO from files: PATTERN, a path below an external stage, and INCLUDE_METADATA.

Stock fakesnow loads a whole `file://` folder and refuses both options. Here the files are listed first and
handed over by name, so that upstream's own COPY does the loading, the load history and the result rows.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection
from fakesnow import copy_into as stock
from fakesnow.transforms.stage import TableStages
from sqlglot import Expr, exp

from local.snowflake.errors import unsupported

NO_FILES = "SELECT 'Copy executed with 0 files processed.' AS status"
SCHEME = "file://"

_stock_inserts: Callable[..., list[Expr]] = stock._inserts


def name_files(
    copy: exp.Copy,
    connection: DuckDBPyConnection,
    database: str | None,
    schema: str | None,
    stages: TableStages,
) -> bool:
    """Replace the external stage and PATTERN of a COPY by the files they mean; False if there are none.

    Only `file://` locations are listed (`s3://` would be fetched here); any other source goes to upstream as
    it is, and an option that upstream does not know is then refused, not ignored.
    """
    source = stock._from_source(copy)
    if not source.startswith("@") or isinstance(copy.args["files"][0], exp.Subquery):
        return True
    table = stock._extract_table(copy.this)
    root, url = (
        stock.stage_url_from_var(name, connection, database, schema, stages, table)
        for name in (source[1:].partition("/")[0], source[1:])
    )
    if not url.startswith(SCHEME):
        return True
    pattern = _take_option(copy, "PATTERN")
    files = list_files(url.removeprefix(SCHEME), pattern.expression.name if pattern else ".*")
    names = [exp.Literal.string(file.removeprefix("/")) for file in files]
    copy.set("files", [exp.Table(this=exp.Literal.string(f"{SCHEME}/"))])
    copy.append("params", exp.CopyParameter(this=exp.var("FILES"), expression=exp.Tuple(expressions=names)))
    include = _take_option(copy, "INCLUDE_METADATA")
    pairs = include.find_all(exp.EQ) if include else []
    copy.args["metadata"] = {pair.this.name.upper(): pair.expression.name.upper() for pair in pairs}
    copy.args["stage_root"] = root
    return bool(files)


def list_files(prefix: str, pattern: str) -> list[str]:
    """List files by prefix, as on an object store; the pattern must match the whole path."""
    folder = Path(prefix) if Path(prefix).is_dir() else Path(prefix).parent
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    return [file for file in files if file.startswith(prefix) and re.fullmatch(pattern, file)]


def inserts_with_metadata(
    copy: exp.Copy, params: Any, urls: list[str], parquet_info: Any = None
) -> list[Expr]:
    """Fill the columns of INCLUDE_METADATA, which stock does not know, in the INSERT that loads each file."""
    statements = _stock_inserts(copy, params, urls, parquet_info)
    for statement, url in zip(statements, urls, strict=True):
        for column, source in (copy.args.get("metadata") or {}).items():
            projection = next((p for p in statement.expression.expressions if p.alias == column), None)
            if projection is None:
                raise unsupported(f"INCLUDE_METADATA of {column} without MATCH_BY_COLUMN_NAME")
            projection.set("this", _metadata(source, url, copy.args["stage_root"]))
    return statements


def _metadata(source: str, url: str, stage_root: str) -> Expr:
    """Give the value of METADATA$START_SCAN_TIME (UTC) or METADATA$FILENAME (path within the stage)."""
    if source == "METADATA$START_SCAN_TIME":
        return exp.cast(
            exp.Literal.string(str(datetime.now(UTC).replace(tzinfo=None))), exp.DataType.Type.TIMESTAMP
        )
    if source == "METADATA$FILENAME":
        return exp.Literal.string(url.removeprefix(stage_root).removeprefix("/"))
    raise unsupported(source)


def _take_option(copy: exp.Copy, name: str) -> exp.CopyParameter | None:
    """Take a copy option out of the statement, if it is there."""
    options = copy.args.get("params") or []
    copy.set("params", [option for option in options if option.this.name.upper() != name])
    return next((option for option in options if option.this.name.upper() == name), None)
