"""One statement on its way: where it meets the patches, in the order in which it meets them."""

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import duckdb
from fakesnow import transforms
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.params import MutableParams
from snowflake.connector.errors import Error, ProgrammingError
from sqlglot import Expr, exp, parse_one

from local.snowflake import comments, copy, ddl, dml, functions, numbers, statements
from local.snowflake.clone import clone

if TYPE_CHECKING:
    from local.snowflake.session import Session

logger = logging.getLogger("local.snowflake")

LOCK_TIMEOUT_SECONDS = 60.0
RETRY_SECONDS = 0.05


class Cursor(FakeSnowflakeCursor):
    """Upstream's cursor with our steps before, around and after its own."""

    _conn: "Session"
    # the result that was fetched last, and name and type of its columns
    _columns: tuple[Any, list[tuple[str, str]]] | None = None

    def execute(self, command: str, *args: Any, **kwargs: Any) -> FakeSnowflakeCursor:
        """Run a statement in the session's turn; every error becomes one of Snowflake.

        Stock lets most errors of DuckDB through, the server answers HTTP 500, and the client tries for ever.
        """
        with self._conn.recorded(command) as record, self._conn.turn():
            record.begin()
            try:
                done = self._execute_when_unlocked(command, *args, **kwargs)
            except Error:
                self._conn.notice_failure()
                raise
            except Exception as error:
                self._conn.notice_failure()
                message = str(error) if isinstance(error, duckdb.Error) else repr(error)
                logger.warning("%s: %s", message, command, exc_info=not isinstance(error, duckdb.Error))
                raise ProgrammingError(msg=message, errno=90001, sqlstate="22000") from error
            record.rows = self._arrow_table.num_rows if self._arrow_table is not None else None
            return done

    def _execute_when_unlocked(self, command: str, *args: Any, **kwargs: Any) -> FakeSnowflakeCursor:
        """Try again while another transaction holds the rows: Snowflake waits, DuckDB fails at once.

        Inside a transaction only its first statement can be tried again: the conflict ends the transaction.
        """
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            in_transaction, unused = self._conn._in_transaction, self._conn.unused
            try:
                done = super().execute(command, *args, **kwargs)
            except duckdb.TransactionException as error:
                lost = in_transaction and not unused
                if lost or "onflict" not in str(error) or time.monotonic() > deadline:
                    raise
            else:
                self._conn.unused = self._conn.unused and not unused
                return done
            if in_transaction:
                self._conn.begin_anew()
            self._conn.roll_back_idle_blockers()
            time.sleep(RETRY_SECONDS)
            self._conn.blocked_seconds += RETRY_SECONDS

    def check_db_and_schema(self, expression: Expr) -> None:
        """Spare account-level statements, which need no current database, upstream's check for one."""
        if not statements.is_account_level(expression):
            super().check_db_and_schema(expression)

    def _inline_variables(self, sql: str) -> str:
        """Replace session variables only where some are set.

        Stock takes `'$abc'` inside any text for a variable and refuses the statement.
        """
        return super()._inline_variables(sql) if self._conn.variables._variables else sql

    def _transform_explode(self, expression: Expr) -> list[Expr]:
        """Split a statement into several, as upstream does; MERGE stays whole, for DuckDB runs it itself."""
        self._conn.admit(expression)
        if isinstance(expression, exp.Merge):
            return [expression]
        return comments.altered_comments(expression) or super()._transform_explode(expression)

    def _transform(self, expression: Expr, params: MutableParams | None) -> Expr:
        """Rewrite a statement for DuckDB: our rewriting first, then upstream's."""
        if answer := statements.answer(expression, self._conn.parameters):
            return answer
        if expression.args.get("clone"):
            return expression.transform(transforms.upper_case_unquoted_identifiers)
        self._conn.history.show(expression, self._duck_conn)
        ddl.drop_keys(expression)
        afterwards = comments.created_comments(expression) + ddl.keep_not_null(expression)
        afterwards += ddl.make_permanent(expression, self._conn.id)
        expression = expression.transform(functions.translate, copy=False)
        expression = expression.transform(numbers.refuse_division_by_zero, copy=False)
        transformed = super()._transform(expression, params)
        transformed.args["afterwards"] = afterwards
        return transformed

    def _describe_last_sql(self) -> list[tuple[str, str, str, None, None, None]]:
        """Give name and type of the result's columns as DuckDB told them with the result.

        Stock parses the statement once more and has DuckDB plan it again to DESCRIBE it: a third of what a
        short statement costs.
        """
        if self._columns is None or self._columns[0] is not self._arrow_table:
            described: list[tuple[str, str, str, None, None, None]] = super()._describe_last_sql()
            return described
        return [(name, kind, "YES", None, None, None) for name, kind in self._columns[1]]

    def _execute(self, transformed: Expr, params: MutableParams | None = None) -> None:
        """Run a rewritten statement; the kinds that upstream runs otherwise than Snowflake go their own way."""
        if isinstance(transformed, exp.Copy):
            self._copy(transformed, params)
        elif isinstance(transformed, exp.Merge):
            self._fetch(dml.native_merge(transformed), params)
            actions = self._arrow_table.column(0).to_pylist()
            self._fetch(dml.merge_counts(transformed, actions))
        elif transformed.args.get("clone"):
            clone(self._duck_conn, transformed, self._conn.database or "", self._conn.schema or "")
            self._fetch(parse_one("SELECT 'Statement executed successfully.' AS status"))
        elif isinstance(transformed, exp.Transaction | exp.Commit | exp.Rollback):
            self._begin_or_end(transformed)
        else:
            self._fetch(transformed, params)
        for statement in transformed.args.get("afterwards") or []:
            self._duck_conn.execute(statement)

    def _fetch(self, transformed: Expr, params: MutableParams | None = None) -> None:
        """Have upstream run a statement, and remember the types of its result while DuckDB knows them."""
        super()._execute(transformed, params)
        described = self._duck_conn.description or []
        self._columns = self._arrow_table, [(column[0], str(column[1])) for column in described]

    def _copy(self, statement: exp.Copy, params: MutableParams | None) -> None:
        """Run a COPY in one transaction: stock loads each file in one of its own."""
        session = self._conn
        where = session.database, session.schema, session.table_stages
        with copy.fetching():
            if not copy.name_files(statement, self._duck_conn, *where):
                self._fetch(parse_one(copy.NO_FILES))
                return
            with session.one_transaction() if session._autocommit else nullcontext():
                self._fetch(statement, params)

    def _begin_or_end(self, statement: Expr) -> None:
        """Keep account of explicit transactions; BEGIN within one does nothing, as in Snowflake.

        Stock hands it to DuckDB, which throws the open transaction away.
        """
        begins = isinstance(statement, exp.Transaction)
        nested = begins and self._conn._in_transaction
        self._conn._in_transaction = nested  # over with COMMIT or ROLLBACK, however that turns out
        self._fetch(transforms.SUCCESS_NOP if nested else statement)
        self._conn._in_transaction = begins
        self._conn.unused = begins and not nested
