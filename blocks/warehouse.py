"""The warehouse block: prefect-snowflake's connector, able to reach any server of Snowflake's protocol."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from prefect_snowflake import SnowflakeConnector
from pydantic import Field
from snowflake.connector import DictCursor, SnowflakeConnection
from snowflake.connector.errors import Error

from blocks import names
from blocks.errors import MayHeal, WillNotHeal, may_heal

# Beyond this a statement is not slow but lost; the longest here is a full refresh.
STATEMENT_TIMEOUT_SECONDS = 3600
LOGIN_TIMEOUT_SECONDS = 30
# Every statement of a session is ended by the server after the time above, and minutes after its client is gone: a
# killed run's load does not go on beside the next try. Closing a session ends its statement at once.
LIMITS = {"STATEMENT_TIMEOUT_IN_SECONDS": STATEMENT_TIMEOUT_SECONDS, "ABORT_DETACHED_QUERY": True}


class SalesWarehouse(SnowflakeConnector):
    """Snowflake, or whatever answers at `server_url` in Snowflake's protocol.

    `SnowflakeCredentials` has no field for a host; without `server_url` the account's own address is used.
    """

    _block_type_name = "Sales Warehouse"
    _block_type_slug = "sales-warehouse"
    _logo_url: ClassVar[str] = SnowflakeConnector._logo_url

    server_url: str | None = Field(
        default=None, description="http(s)://host:port in place of the account's own."
    )

    def get_connection(self, **connect_kwargs: Any) -> SnowflakeConnection:
        """Connect, adding the server's address where one is set; kwargs go to the Snowflake connector."""
        return super().get_connection(**self.address(), **connect_kwargs)

    @property
    def place(self) -> str:
        """Say which Snowflake this is, for messages."""
        return self.server_url or self.credentials.account

    def address(self) -> dict[str, Any]:
        """Give `host`, `port` and `protocol` of `server_url`; empty for a real account."""
        if not self.server_url:
            return {}
        url = urlsplit(self.server_url)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        return {"host": url.hostname, "port": port, "protocol": url.scheme}

    @contextmanager
    def session(
        self, query_tag: str = "sales-pipeline", **connect_kwargs: Any
    ) -> Iterator[SnowflakeConnection]:
        """Open a connection of its own, closed at the end; an open transaction is rolled back by the close.

        Raises MayHeal if the server cannot be reached, WillNotHeal if it refuses the login.
        """
        try:
            connection = self.credentials.get_client(
                **self.address(),
                database=self.database,
                schema=self.schema_,
                warehouse=self.warehouse,
                session_parameters={"QUERY_TAG": query_tag, "TIMEZONE": "UTC"} | LIMITS,
                login_timeout=LOGIN_TIMEOUT_SECONDS,
                **connect_kwargs,
            )
        except Error as error:
            if may_heal(error):
                raise MayHeal(
                    f"Snowflake at {self.place} cannot be reached ({error.msg}). Is it up?"
                ) from error
            who = f"{self.credentials.user} at {self.place}"
            raise WillNotHeal(
                f"Snowflake refuses {who}: {error.msg} Check the {names.WAREHOUSE} block."
            ) from error
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Run one query in a session of its own; one dict per row, keys in lower case."""
        with self.session() as connection, connection.cursor(DictCursor) as cursor:
            cursor.execute(sql, parameters, timeout=STATEMENT_TIMEOUT_SECONDS)
            return [{name.lower(): value for name, value in row.items()} for row in cursor.fetchall()]
