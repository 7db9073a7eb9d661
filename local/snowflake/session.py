"""A login: its transaction, its temporary objects, and the lock that makes its statements take turns."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
from fakesnow.conn import FakeSnowflakeConnection
from snowflake.connector.errors import ProgrammingError
from sqlglot import Expr, exp

from local.snowflake.cursor import Cursor
from local.snowflake.ddl import drop_temporary_objects
from local.snowflake.history import MAX_TEXT, Executed

if TYPE_CHECKING:
    from local.snowflake.persistence import Warehouse

DDL = (exp.Create, exp.Drop, exp.Alter, exp.Comment, exp.TruncateTable)


class Record:
    """A statement under way: when it came, when its turn came, how it ended."""

    def __init__(self, session: "Session", text: str) -> None:
        self._session, self._text = session, text
        self._came = self._began = time.monotonic()
        self._start = datetime.now(UTC).replace(tzinfo=None)
        self._blocked_before = session.blocked_seconds
        self.rows: int | None = None
        self.error: str | None = None

    def begin(self) -> None:
        """Its turn has come."""
        self._began, self._blocked_before = time.monotonic(), self._session.blocked_seconds

    def executed(self) -> Executed:
        """Give it as the history keeps it."""
        return Executed(
            query_id=str(uuid.uuid4()),
            query_text=self._text[:MAX_TEXT],
            session_id=self._session.id,
            query_tag=self._session.parameters.get("QUERY_TAG", ""),
            execution_status="FAIL" if self.error else "SUCCESS",
            error_message=self.error,
            start_time=self._start,
            end_time=datetime.now(UTC).replace(tzinfo=None),
            total_elapsed_time=round((time.monotonic() - self._came) * 1000),
            queued_overload_time=round((self._began - self._came) * 1000),
            transaction_blocked_time=round((self._session.blocked_seconds - self._blocked_before) * 1000),
            rows_produced=self.rows,
        )


class Session(FakeSnowflakeConnection):
    """One login.

    `failed` says that a statement failed inside its transaction, which is therefore gone; `unused`, that a
    transaction was begun and nothing done in it so far.
    """

    _autocommit: bool
    _in_transaction: bool  # upstream counts only implicit transactions; here it is true after BEGIN, too

    def __init__(self, *args: Any, warehouse: "Warehouse", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.id = uuid.uuid4().hex
        self.parameters: dict[str, str] = {}
        self.failed = self.unused = False
        self.blocked_seconds = 0.0
        self.history = warehouse.history
        self._warehouse = warehouse
        self._turn = threading.RLock()
        self._last_used = time.monotonic()

    def cursor(self) -> Cursor:
        """Open a cursor of our own class."""
        return Cursor(self, self._duck_conn)

    @contextmanager
    def recorded(self, text: str) -> Iterator["Record"]:
        """Note a statement in the history once it is over, however it ends."""
        record = Record(self, text)
        try:
            yield record
        except Exception as error:
            record.error = str(error)
            raise
        finally:
            self.history.add(record.executed())

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run one statement at a time: stock lets two requests of one session mix up their results."""
        with self._turn:
            try:
                yield
            finally:
                self._last_used = time.monotonic()

    def admit(self, statement: Expr) -> None:
        """Let a statement pass, unless its transaction is gone; DDL first commits an open transaction.

        Stock answers COMMIT with success after DuckDB has thrown the transaction away, so that a failed load
        looks like a good one; and it runs DDL inside an explicit transaction, where Snowflake commits first.
        """
        failed = self.failed
        if isinstance(statement, (exp.Commit, exp.Rollback)):
            self.failed = False
        if failed and not isinstance(statement, exp.Rollback):
            message = (
                "The transaction was rolled back when a statement in it failed: ROLLBACK and start again."
            )
            raise ProgrammingError(msg=message, errno=90232, sqlstate="25000")
        if self._in_transaction and isinstance(statement, DDL):
            self._in_transaction = False
            self._duck_conn.commit()

    def notice_failure(self) -> None:
        """After an error, find out whether DuckDB threw the whole transaction away."""
        try:
            self._duck_conn.execute("SELECT 1")
        except duckdb.TransactionException:
            self.failed = self._in_transaction
            self.roll_back()

    def begin_anew(self) -> None:
        """Put a fresh transaction in the place of one that ended in a conflict."""
        self._duck_conn.rollback()
        self._duck_conn.begin()

    def roll_back(self) -> None:
        """Roll back whatever is open."""
        with suppress(duckdb.TransactionException):
            self._duck_conn.rollback()
        self._in_transaction = False

    @contextmanager
    def one_transaction(self) -> Iterator[None]:
        """Do all of it or nothing: within the open transaction, else in one of its own."""
        if self._in_transaction:
            yield
            return
        self._duck_conn.begin()
        try:
            yield
            self._duck_conn.commit()
        except BaseException:
            self.roll_back()
            raise

    def roll_back_idle_blockers(self) -> None:
        """Roll back the transactions of other sessions that have been silent for too long.

        A client that was killed inside a transaction never ends it, and its rows could never be changed again.
        Snowflake does the same after five minutes.
        """
        for session in list(self._warehouse.sessions):
            idle = time.monotonic() - session._last_used
            if session is self or not session._in_transaction or idle < self._warehouse.idle_seconds:
                continue
            if session._turn.acquire(blocking=False):
                try:
                    session.failed = True
                    session.roll_back()
                finally:
                    session._turn.release()

    def close(self, retry: bool = True) -> None:
        """End the session at logout or at the server's stop: interrupt, roll back, drop temporary objects."""
        with suppress(duckdb.ConnectionException):  # a logout and the server's stop may come together
            self._duck_conn.interrupt()
            with self._turn:
                self.roll_back()
                drop_temporary_objects(self._duck_conn, self.id)
                super().close(retry)
