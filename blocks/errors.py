"""The two families of errors, and the one place that decides which family an error belongs to.

What may heal (a timeout, a busy server, a rebalance) is tried again; what will not heal (a wrong password,
bad SQL, a broken contract) fails at once, with a sentence that says what to do.
"""

import re

import httpx

HEALING_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class SalesError(Exception):
    """Any error this project raises on purpose; its text is meant for the person who reads it.

    `what` happened and the `advice`, what to do about it, can be given apart; the text is both.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what} {advice}" if advice else what)
        self.what, self.advice = what, advice


class MayHeal(SalesError):
    """Trying again later may succeed."""


class WillNotHeal(SalesError):
    """Trying again gives the same error until somebody changes something."""


def may_heal(error: BaseException) -> bool:
    """Decide whether an error is worth a retry.

    HTTP answers are judged by status: 408, 409 (Kafka Connect while it rebalances), 425, 429 and 5xx heal.
    Connection failures and timeouts heal, as do Kafka's and Snowflake's own transient errors. Everything
    unknown does not: repeating it would hide it.
    """
    if isinstance(error, MayHeal | httpx.TransportError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in HEALING_STATUSES
    return _kafka_heals(error) or _snowflake_heals(error)


def _kafka_heals(error: BaseException) -> bool:
    from confluent_kafka import KafkaException

    return isinstance(error, KafkaException) and bool(error.args) and error.args[0].retriable()


def _snowflake_heals(error: BaseException) -> bool:
    # A refused login is a DatabaseError, bad SQL a ProgrammingError; only the connection's own are operational.
    # The answers 429 and 5xx have classes of their own, which are not.
    from snowflake.connector import errors

    transient = (
        errors.OperationalError,
        errors.ServiceUnavailableError,
        errors.BadGatewayError,
        errors.GatewayTimeoutError,
        errors.InternalServerError,
        errors.TooManyRequests,
        errors.RequestTimeoutError,
    )
    return isinstance(error, transient)


# What the Snowflake connector says of a lost or busy connection (250003 and SQLSTATE 08 come with refused logins
# too), of HTTP's 429 and 5xx (290429, 290503…), of locks (000625 and the waiters' message) and of its own trouble
# (000603, 000604).
_TRANSIENT = re.compile(
    r"connection (refused|reset|aborted)|timed out|\btimeout\b|temporarily unavailable|service unavailable"
    r"|could not connect to snowflake backend|remote end closed|max retries exceeded"
    r"|\b25000[356]\b|\b290(408|429|5\d\d)\b|\b0*625 \(|\b00060[34] \(|number of waiters for this lock|deadlock",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"incorrect username or password|jwt token is invalid|not allowed to access|user .* locked"
    r"|statement or warehouse timeout",
    re.IGNORECASE,
)


def message_may_heal(text: str) -> bool:
    """Decide as `may_heal` does where there is no exception but its text, as dbt reports it."""
    return bool(_TRANSIENT.search(text)) and not _REFUSED.search(text)
