"""Channels into the embedded Snowflake: rows and offset tokens, committed together.

Snowpipe Streaming keeps, for each channel (connector_topic_partition), the offset of the last row it has:
the offset token. Here a channel is a sequence of tokens in `<database>._STREAMING.OFFSET_TOKENS`, written in
one transaction with the data; the last of the sequence counts.

Tokens are only ever inserted, never updated, so a transaction that a killed task left open on the server
blocks nobody. That two tasks never write the same place in a sequence is what the table's key holds: a
commit that arrives late, after another task has gone on from the token before it, is refused whole, as
Snowpipe Streaming refuses a channel that was opened again elsewhere.
"""

import json
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import snowflake.connector
from snowflake.connector import SnowflakeConnection
from snowflake.connector.cursor import SnowflakeCursor

from local.sink_config import SinkConfig

LOGIN_TIMEOUT = 5
# The token of a channel that was reset: Snowflake is taken to have nothing of it.
NOTHING = -1

Part = tuple[str, int]


class Channels:
    """All channels of one connector, over one session."""

    def __init__(self, connection: SnowflakeConnection, config: SinkConfig) -> None:
        self.connection, self.config = connection, config
        self.token_table = f"{config.database}._STREAMING.OFFSET_TOKENS"
        self._sequence: dict[Part, int] = {}

    def open(self) -> dict[Part, int]:
        """Read the offset of the last row that Snowflake has, by (topic, partition); absent: it has none.

        Raises ProgrammingError if a target table or one of its two columns is not there.
        """
        with self.connection.cursor() as cursor:
            self._make_token_table(cursor)
            for table in self.config.tables.values():
                cursor.execute(f"select RECORD_METADATA, RECORD_CONTENT from {table} limit 0")  # noqa: S608
            cursor.execute(
                "select topic, partition_number, max(sequence), max_by(offset_token, sequence) "  # noqa: S608
                f"from {self.token_table} where connector = ? group by topic, partition_number",
                (self.config.name,),
            )
            rows = cursor.fetchall()
        self._sequence = {(topic, int(partition)): int(last) for topic, partition, last, _ in rows}
        return {(topic, int(p)): int(token) for topic, p, _, token in rows if int(token) != NOTHING}

    def _make_token_table(self, cursor: SnowflakeCursor) -> None:
        cursor.execute(f"create schema if not exists {self.config.database}._STREAMING")
        cursor.execute(
            f"create table if not exists {self.token_table} (connector varchar not null, topic varchar not null, "
            "partition_number number(38, 0) not null, sequence number(38, 0) not null, "
            "offset_token number(38, 0) not null, committed_at timestamp_ntz not null)"
        )
        # The embedded server holds a key that is added, which Snowflake itself would only write down.
        try:
            cursor.execute(
                f"alter table {self.token_table} add constraint ONE_SUCCESSOR "
                "unique (connector, topic, partition_number, sequence)"
            )
        except snowflake.connector.errors.ProgrammingError as error:
            if "already has the constraint" not in str(error):
                raise

    def commit(
        self, rows: Mapping[str, list[str]], tokens: Mapping[Part, int], wanted: Callable[[], bool]
    ) -> bool:
        """Write rows (JSON objects with `m` and `c`, by table) and tokens in one transaction.

        `wanted` is asked right before the commit: if it says no, everything is rolled back and False returned.
        Raises ProgrammingError if another task has written to one of the channels since they were opened.
        """
        require_reachable(self.config)
        following = {part: self._sequence.get(part, 0) + 1 for part in tokens}
        with self.connection.cursor() as cursor:
            cursor.execute("begin")
            try:
                for table, objects in rows.items():
                    cursor.execute(
                        f"insert into {table} (RECORD_METADATA, RECORD_CONTENT) "  # noqa: S608
                        "select f.value:m, f.value:c from table(flatten(input => parse_json(?))) f",
                        (f"[{','.join(objects)}]",),
                    )
                self._insert_tokens(cursor, tokens, following)
                commit = wanted()
                cursor.execute("commit" if commit else "rollback")
            except snowflake.connector.errors.ProgrammingError:
                # After any other error the session is gone, and its transaction with it.
                cursor.execute("rollback")
                raise
        if commit:
            self._sequence |= following
        return commit

    def reset(self, tokens: Mapping[Part, int]) -> None:
        """Set tokens by hand, NOTHING for a channel that is to begin anew; no rows are written.

        Call `open` first. Raises ProgrammingError if a task has written to one of the channels meanwhile.
        """
        following = {part: self._sequence.get(part, 0) + 1 for part in tokens}
        with self.connection.cursor() as cursor:
            self._insert_tokens(cursor, tokens, following)
        self._sequence |= following

    def _insert_tokens(
        self, cursor: SnowflakeCursor, tokens: Mapping[Part, int], following: Mapping[Part, int]
    ) -> None:
        told = [
            {"t": topic, "p": partition, "s": following[topic, partition], "o": offset}
            for (topic, partition), offset in tokens.items()
        ]
        cursor.execute(
            f"insert into {self.token_table} "  # noqa: S608
            "select ?, f.value:t::varchar, f.value:p::number(38, 0), f.value:s::number(38, 0), "
            "f.value:o::number(38, 0), sysdate() from table(flatten(input => parse_json(?))) f",
            (self.config.name, json.dumps(told)),
        )


@contextmanager
def open_session(config: SinkConfig, patience_seconds: float) -> Iterator[SnowflakeConnection]:
    """Sign in to the Snowflake of the configuration's URL; a URL without scheme means https.

    A call that gets no answer is repeated by the connector, under the same request id, for as long as the
    patience lasts.
    """
    require_reachable(config)
    protocol, host, port = _address(config)
    connection = snowflake.connector.connect(
        account="local",
        host=host,
        port=port,
        protocol=protocol,
        user=config.user,
        password="any",  # noqa: S106 (the key is a reference that only a real worker resolves)  # nosec B106
        database=config.database,
        paramstyle="qmark",
        login_timeout=LOGIN_TIMEOUT,
        network_timeout=math.ceil(patience_seconds),
        socket_timeout=math.ceil(patience_seconds / 3),
        session_parameters={"QUERY_TAG": f"kafka-connect/{config.name}"},
    )
    try:
        yield connection
    finally:
        with suppress(snowflake.connector.errors.Error):
            connection.close()


def require_reachable(config: SinkConfig) -> None:
    """Raise ConnectionError if nobody listens at Snowflake's address: the connector would take long to say so."""
    _, host, port = _address(config)
    try:
        socket.create_connection((host, port), timeout=LOGIN_TIMEOUT).close()
    except OSError as error:
        raise ConnectionError(f"Snowflake at {config.url} cannot be reached: {error}") from error


def _address(config: SinkConfig) -> tuple[str, str, int]:
    url = urlsplit(config.url if "://" in config.url else f"https://{config.url}")
    return url.scheme, url.hostname or "", url.port or {"http": 80, "https": 443}[url.scheme]
