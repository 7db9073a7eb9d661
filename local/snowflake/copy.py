"""COPY INTO from files: PATTERN, a path below an external stage, INCLUDE_METADATA, and stages on S3.

Stock fakesnow loads a whole `file://` folder, refuses both options, and reads `s3://` by an extension that DuckDB
would have to download. Here the files are listed first, fetched if they are on S3, and handed over by name, so
that upstream's own COPY does the loading, the load history and the result rows. Where S3 is, and as whom it is
asked, boto3 finds out by itself (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, a role, …).
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection
from fakesnow import copy_into as stock
from fakesnow.transforms.stage import TableStages
from snowflake.connector.errors import ProgrammingError
from sqlglot import Expr, exp

from local.snowflake.errors import unsupported

NO_FILES = "SELECT 'Copy executed with 0 files processed.' AS status"
FILE, S3 = "file://", "s3://"
REMOTE_FILE_ERROR = 91016

_stock_inserts: Callable[..., list[Expr]] = stock._inserts
_stock_literal: Callable[[str], exp.Literal] = stock.FileTypeHandler.file_literal
_fetched: ContextVar[Path] = ContextVar("folder of the files that a COPY has fetched from S3")


@contextmanager
def fetching() -> Iterator[None]:
    """Give a COPY a folder for what it fetches, for the time of the `with`."""
    with tempfile.TemporaryDirectory(prefix="stage-") as folder:
        token = _fetched.set(Path(folder))
        try:
            yield
        finally:
            _fetched.reset(token)


def name_files(
    copy: exp.Copy,
    connection: DuckDBPyConnection,
    database: str | None,
    schema: str | None,
    stages: TableStages,
) -> bool:
    """Replace the external stage and PATTERN of a COPY by the files they mean; False if there are none.

    `file://` and `s3://` locations are listed; any other source goes to upstream as it is, and an option that
    upstream does not know is then refused, not ignored.
    """
    source = stock._from_source(copy)
    if not source.startswith("@") or isinstance(copy.args["files"][0], exp.Subquery):
        return True
    table = stock._extract_table(copy.this)
    root, url = (
        stock.stage_url_from_var(name, connection, database, schema, stages, table)
        for name in (source[1:].partition("/")[0], source[1:])
    )
    if not url.startswith((FILE, S3)):
        return True
    option = _take_option(copy, "PATTERN")
    pattern = option.expression.name if option else ".*"
    place, files = fetch_files(url, pattern) if url.startswith(S3) else (f"{FILE}/", list_files(url, pattern))
    names = [exp.Literal.string(file) for file in files]
    copy.set("files", [exp.Table(this=exp.Literal.string(place))])
    copy.append("params", exp.CopyParameter(this=exp.var("FILES"), expression=exp.Tuple(expressions=names)))
    include = _take_option(copy, "INCLUDE_METADATA")
    pairs = include.find_all(exp.EQ) if include else []
    copy.args["metadata"] = {pair.this.name.upper(): pair.expression.name.upper() for pair in pairs}
    copy.args["stage_root"] = root
    return bool(files)


def list_files(url: str, pattern: str) -> list[str]:
    """List files by prefix, as on an object store; the pattern must match the whole path."""
    prefix = url.removeprefix(FILE)
    folder = Path(prefix) if Path(prefix).is_dir() else Path(prefix).parent
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    matching = [file for file in files if file.startswith(prefix) and re.fullmatch(pattern, file)]
    return [file.removeprefix("/") for file in matching]


def fetch_files(url: str, pattern: str) -> tuple[str, list[str]]:
    """Fetch the objects whose keys begin as the url says and match the pattern; give the bucket's url, the keys.

    Raises ProgrammingError with what S3 answered, as Snowflake does.
    """
    # Half a second, at the start of a server that seldom needs them.
    import boto3  # type: ignore[import-untyped]
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    bucket, _, prefix = url.removeprefix(S3).partition("/")
    try:
        client, keys = boto3.client("s3"), []
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            keys += [item["Key"] for item in page.get("Contents", []) if re.fullmatch(pattern, item["Key"])]
        for key in keys:
            target = _fetched.get() / bucket / key
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(target))
    except (BotoCoreError, ClientError) as error:
        raise ProgrammingError(
            msg=f"Failed to access remote file: {error}. Please check your credentials",
            errno=REMOTE_FILE_ERROR,
        ) from error
    return f"{S3}{bucket}/", keys


def literal_of_file(url: str) -> exp.Literal:
    """Name a file to DuckDB: one from S3 by where it was fetched to."""
    if url.startswith(S3):
        return exp.Literal.string(escape(str(_fetched.get() / url.removeprefix(S3))))
    return _stock_literal(url)


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
