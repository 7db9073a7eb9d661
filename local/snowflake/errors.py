"""The errors a client sees."""

from snowflake.connector.errors import ProgrammingError


def unsupported(what: str) -> ProgrammingError:
    """Refuse what the embedded Snowflake cannot do, rather than ignore it."""
    return ProgrammingError(msg=f"The embedded Snowflake does not support {what}.", errno=2, sqlstate="0A000")
