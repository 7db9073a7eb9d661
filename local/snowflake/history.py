"""What was executed here, for INFORMATION_SCHEMA.QUERY_HISTORY; stock has no such function.

The latest statements only, in memory and gone at a stop, where Snowflake keeps seven days. The columns are a part of
Snowflake's, named alike. Queueing is what this server really has of it: a statement waits for the session's turn
(queued_overload_time), or for rows that another transaction holds (transaction_blocked_time).
"""

import threading
from collections import deque
from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow
from duckdb import DuckDBPyConnection
from sqlglot import Expr, exp

MAX_STATEMENTS = 10_000
MAX_TEXT = 2_000
VIEW = "_QUERY_HISTORY"


@dataclass(frozen=True)
class Executed:
    """One statement that is over; times of day in UTC, durations in milliseconds."""

    query_id: str
    query_text: str
    session_id: str
    query_tag: str
    execution_status: str
    error_message: str | None
    start_time: datetime
    end_time: datetime
    total_elapsed_time: int
    queued_overload_time: int
    transaction_blocked_time: int
    rows_produced: int | None
    queued_provisioning_time: int = 0


SCHEMA = pyarrow.schema(
    [
        (name, pyarrow.string())
        for name in ("query_id", "query_text", "session_id", "query_tag", "execution_status", "error_message")
    ]
    + [(name, pyarrow.timestamp("us")) for name in ("start_time", "end_time")]
    + [
        (name, pyarrow.int64())
        for name in (
            *("total_elapsed_time", "queued_overload_time", "transaction_blocked_time"),
            *("rows_produced", "queued_provisioning_time"),
        )
    ]
)


class QueryHistory:
    """The latest statements of all sessions, the oldest first."""

    def __init__(self) -> None:
        self._statements: deque[Executed] = deque(maxlen=MAX_STATEMENTS)
        self._lock = threading.Lock()

    def add(self, statement: Executed) -> None:
        """Note one that is over; the oldest makes room for it."""
        with self._lock:
            self._statements.append(statement)

    def show(self, statement: Expr, connection: DuckDBPyConnection) -> Expr:
        """Let TABLE(INFORMATION_SCHEMA.QUERY_HISTORY(…)) read what was executed, with its range and limit."""
        for call in list(statement.find_all(exp.TableFromRows)):
            function = call.find(exp.Anonymous)
            if function is None or function.name.upper() != "QUERY_HISTORY":
                continue
            with self._lock:
                rows = [asdict(each) for each in self._statements]
            connection.register(VIEW, pyarrow.Table.from_pylist(rows, schema=SCHEMA))
            query = exp.select("*").from_(exp.to_table(VIEW)).order_by("end_time desc")
            given = {argument.this.name.lower(): argument.expression for argument in function.expressions}
            if start := given.get("end_time_range_start"):
                query = query.where(exp.column("end_time") >= exp.cast(start.copy(), "timestamp"))
            if end := given.get("end_time_range_end"):
                query = query.where(exp.column("end_time") <= exp.cast(end.copy(), "timestamp"))
            alias = call.args.get("alias")
            limited = query.limit(int(given["result_limit"].name) if "result_limit" in given else 100)
            call.replace(limited.subquery(alias.name if alias else "query_history"))
        return statement
