"""Channels into the embedded Snowflake: rows and offset tokens, committed together.

Snowpipe Streaming keeps, for each channel (connector_topic_partition), the offset of the last row it has:
the offset token. Here tokens are rows of `<database>._STREAMING.CHANNELS`, written in one transaction with
the data. They are only ever inserted, never updated (the largest counts), so a transaction that a killed
task left open on the server blocks nobody.
"""

import json
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import snowflake.connector
from snowflake.connector import SnowflakeConnection

from local.sink_config import SinkConfig

LOGIN_TIMEOUT = 5

Part = tuple[str, int]


class Channels:
    """All channels of one connector, over one session."""

    def __init__(self, connection: SnowflakeConnection, config: SinkConfig) -> None:
        self.connection, self.config = connection, config
        self.token_table = f"{config.database}._STREAMING.CHANNELS"

    def tokens(self) -> dict[Part, int]:
        """Read the offset of the last row that Snowflake has, by (topic, partition); absent: it has none.

        Raises ProgrammingError if a target table or one of its two columns is not there.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(f"create schema if not exists {self.config.database}._STREAMING")
            cursor.execute(
                f"create table if not exists {self.token_table} (connector varchar not null, topic varchar not null, "
                "partition_number number(38, 0) not null, offset_token number(38, 0) not null, "
                "committed_at timestamp_ntz not null)"
            )
            for table in self.config.tables.values():
                cursor.execute(f"select RECORD_METADATA, RECORD_CONTENT from {table} limit 0")  # noqa: S608
            cursor.execute(
                f"select topic, partition_number, max(offset_token) from {self.token_table} "  # noqa: S608
                "where connector = ? group by topic, partition_number",
                (self.config.name,),
            )
            return {(topic, int(partition)): int(token) for topic, partition, token in cursor.fetchall()}

    def commit(
        self, rows: Mapping[str, list[str]], tokens: Mapping[Part, int], wanted: Callable[[], bool]
    ) -> bool:
        """Write rows (JSON objects with `m` and `c`, by table) and tokens in one transaction.

        `wanted` is asked right before the commit: if it says no, everything is rolled back and False returned.
        """
        require_reachable(self.config)
        told = [{"t": topic, "p": partition, "o": offset} for (topic, partition), offset in tokens.items()]
        with self.connection.cursor() as cursor:
            cursor.execute("begin")
            try:
                for table, objects in rows.items():
                    cursor.execute(
                        f"insert into {table} (RECORD_METADATA, RECORD_CONTENT) "  # noqa: S608
                        "select f.value:m, f.value:c from table(flatten(input => parse_json(?))) f",
                        (f"[{','.join(objects)}]",),
                    )
                cursor.execute(
                    f"insert into {self.token_table} "  # noqa: S608
                    "select ?, f.value:t::varchar, f.value:p::number(38, 0), f.value:o::number(38, 0), sysdate() "
                    "from table(flatten(input => parse_json(?))) f",
                    (self.config.name, json.dumps(told)),
                )
                commit = wanted()
                cursor.execute("commit" if commit else "rollback")
            except snowflake.connector.errors.ProgrammingError:
                # After any other error the session is gone, and its transaction with it.
                cursor.execute("rollback")
                raise
        return commit


@contextmanager
def open_session(config: SinkConfig, patience_seconds: float) -> Iterator[SnowflakeConnection]:
    """Sign in to the Snowflake of the configuration's URL; a URL without scheme means https.

    A call that gets no answer is repeated by the connector for as long as the patience lasts.
    """
    require_reachable(config)
    protocol, host, port = _address(config)
    connection = snowflake.connector.connect(
        account="local",
        host=host,
        port=port,
        protocol=protocol,
        user=config.user,
        password="any",  # noqa: S106 (the key is a reference that only a real worker resolves)
        paramstyle="qmark",
        login_timeout=LOGIN_TIMEOUT,
        network_timeout=math.ceil(patience_seconds),
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
