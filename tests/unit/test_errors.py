import httpx
import pytest
from confluent_kafka import KafkaError, KafkaException
from snowflake.connector.errors import DatabaseError, OperationalError, ProgrammingError

from blocks.errors import MayHeal, WillNotHeal, may_heal


def answer(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1/")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_busy_answers_may_heal(status):
    assert may_heal(answer(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_refusals_will_not_heal(status):
    assert not may_heal(answer(status))


def test_families():
    assert may_heal(MayHeal("later"))
    assert may_heal(httpx.ConnectError("refused"))
    assert may_heal(TimeoutError())
    assert not may_heal(WillNotHeal("never"))
    assert not may_heal(ValueError("a bug is not retried"))


def test_snowflake_errors():
    assert may_heal(OperationalError("connection reset", errno=250003))
    assert not may_heal(DatabaseError("Incorrect username or password was specified.", errno=250001))
    assert not may_heal(ProgrammingError("syntax error", errno=1003))


def test_kafka_errors():
    assert may_heal(KafkaException(KafkaError(KafkaError._TRANSPORT, retriable=True)))
    assert not may_heal(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
