"""Offsets of the embedded Kafka Connect: a gap fails the task, and an operator may accept the loss."""

import pytest

from blocks import names
from tasks.kafka import topic_offsets
from tasks.stream_audit import account
from tests.contract.stream_pipe import StreamPipe

PATH = f"/connectors/{names.CONNECTOR}"


@pytest.fixture
def pipe(start_service, serve_warehouse, tmp_path) -> StreamPipe:
    return StreamPipe(start_service, serve_warehouse, tmp_path)


def entry(partition: int, offset: int | None, topic: str = names.TOPIC) -> dict:
    told = None if offset is None else {"kafka_offset": offset}
    return {"partition": {"kafka_topic": topic, "kafka_partition": partition}, "offset": told}


def call(pipe: StreamPipe, method: str, what: str, **request) -> tuple[int, str]:
    with pipe.connect.client() as http:
        answer = http.request(method, f"{PATH}/{what}", **request)
    return answer.status_code, answer.json().get("message", "") if answer.content else ""


def test_a_gap_fails_the_task_until_an_operator_accepts_the_loss(pipe):
    pipe.send({"n": 0})
    pipe.drain()
    assert account(pipe.warehouse, pipe.cluster, "before")[0].missing == 0
    assert call(pipe, "PUT", "stop")[0] == 204
    for _ in range(80):  # 8 MB: the log keeps the last 5
        pipe.send(b'"' + b"x" * 100_000 + b'"')
    assert call(pipe, "PUT", "resume")[0] == 202

    trace = pipe.wait_until_it_fails()
    low, high = topic_offsets(pipe.cluster, names.TOPIC)[0]
    assert 1 < low < high == 81
    assert f"the log begins at {low}, the next offset to write is 1: {low - 1} events are lost" in trace
    assert f"PATCH {PATH}/offsets" in trace
    assert len(pipe.landed()) == 1

    change = {"json": {"offsets": [entry(0, low)]}}
    status, message = call(pipe, "PATCH", "offsets", **change)
    assert (status, message) == (
        400,
        "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the "
        f"specified connector by issuing a 'PUT' request to the '{PATH}/stop' endpoint",
    )
    assert call(pipe, "PUT", "stop")[0] == 204
    status, message = call(pipe, "PATCH", "offsets", **change)
    assert (status, message) == (200, "The offsets for this connector have been altered successfully")
    assert call(pipe, "PUT", "resume")[0] == 202
    pipe.drain()
    assert [position for position, _, _ in pipe.landed()] == [(0, 0), *((0, n) for n in range(low, high))]
    # The loss stays on the books.
    (stretch,) = account(pipe.warehouse, pipe.cluster, "after")
    assert (stretch.start, stretch.end, stretch.landed, stretch.missing) == (1, 81, 81 - low, low - 1)


def test_offsets_never_go_back_but_a_reset_writes_everything_again(pipe):
    pipe.send({"n": 0}, {"n": 1}, {"n": 2})
    pipe.drain()
    call(pipe, "PUT", "stop")
    status, message = call(pipe, "PATCH", "offsets", json={"offsets": [entry(0, 2)]})
    assert status == 400
    assert "offset 2 is in Snowflake already" in message
    assert call(pipe, "PATCH", "offsets", json={"offsets": [entry(9, 5)]})[0] == 400
    assert call(pipe, "PATCH", "offsets", json={"offsets": [entry(0, 5, "other")]})[0] == 400
    assert call(pipe, "PATCH", "offsets", json={"offsets": []})[0] == 400
    assert call(pipe, "PATCH", "offsets", content=b"{}")[0] == 400
    call(pipe, "PUT", "resume")
    pipe.send({"n": 3})
    pipe.drain()
    assert [event["n"] for _, _, event in pipe.landed()] == [0, 1, 2, 3]

    call(pipe, "PUT", "stop")
    status, message = call(pipe, "DELETE", "offsets")
    assert (status, message) == (200, "The offsets for this connector have been reset successfully")
    with pipe.connect.client() as http:
        offsets = http.get(f"{PATH}/offsets").json()["offsets"]
    assert [each["offset"]["kafka_offset"] for each in offsets] == [0, 0, 0, 0]
    call(pipe, "PUT", "resume")
    pipe.drain()
    assert [event["n"] for _, _, event in pipe.landed()] == [0, 1, 2, 3, 0, 1, 2, 3]
    call(pipe, "PUT", "stop")
    assert call(pipe, "PATCH", "offsets", json={"offsets": [entry(0, None)]})[0] == 200
    assert call(pipe, "DELETE", "offsets")[0] == 200
