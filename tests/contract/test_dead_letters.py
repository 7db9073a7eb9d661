"""Dead letters are shown by reason, mended, and replayed once, and every event stays accounted for."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from blocks import names
from blocks.errors import MayHeal, WillNotHeal
from blocks.settings import PROJECT
from cli.dead_letters import app
from streaming.generator import sale_events
from streaming.producer import publish
from streaming.schema import event_fault
from tasks import letter_replays
from tasks.dead_letters import Selection, group_letters, read_letters
from tasks.letter_replays import replay_as_they_are, replay_mended, replayed_letters
from tasks.stream_audit import account
from tests.contract.stream_pipe import StreamPipe

GOOD, NO_JSON, WRONG, VALID_NOW = 30, 5, 4, 3
# Sends letters as they are, and is killed where it would note that they are claimed, or sent.
KILLED_REPLAY = """
import os, signal, sys
from tasks import letter_replays
from tasks.dead_letters import read_letters
from tests.contract.test_dead_letters import systems_at
note, at = letter_replays._note, sys.argv[1]

def note_or_die(warehouse, replay_id, status, *rest):
    if status == at:
        os.kill(os.getpid(), signal.SIGKILL)
    note(warehouse, replay_id, status, *rest)
    if at == "after claimed" and status == "claimed":
        os.kill(os.getpid(), signal.SIGKILL)

letter_replays._note = note_or_die
warehouse, cluster = systems_at(*sys.argv[2:])
letter_replays.replay_as_they_are(warehouse, cluster, read_letters(cluster))
"""


def systems_at(url: str, bootstrap: str) -> tuple[Any, Any]:
    from blocks.register import kafka_from, warehouse_from
    from blocks.settings import Settings

    settings = Settings(
        snowflake_account="local",
        snowflake_password="p",
        snowflake_endpoint=url,
        kafka_bootstrap_servers=bootstrap,
        kafka_security_protocol="PLAINTEXT",
    )
    return warehouse_from(settings), kafka_from(settings)


@pytest.fixture
def pipe(start_service, serve_warehouse, tmp_path) -> StreamPipe:
    return StreamPipe(start_service, serve_warehouse, tmp_path)


@pytest.fixture
def dlq(pipe, monkeypatch, tmp_path) -> Callable[..., Result]:
    """Run `sales connector dlq` against the pipe."""
    values = {
        "HOME": tmp_path / "none",
        "SNOWFLAKE_ACCOUNT": "local",
        "SNOWFLAKE_PASSWORD": "p",
        "SNOWFLAKE_ENDPOINT": pipe.warehouse.server_url,
        "KAFKA_BOOTSTRAP_SERVERS": pipe.cluster.bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SALES_{name}", str(value))

    def run(*arguments: Any) -> Result:
        return CliRunner().invoke(app, [str(each) for each in arguments])

    return run


def events(seed: int, count: int) -> list[dict[str, Any]]:
    return [event for event in islice(sale_events(seed, count), count) if isinstance(event, dict)]


def refuse(
    pipe: StreamPipe, *letters: dict[str, Any], reason: str = "data.currency must be one of ['EUR']"
) -> None:
    """Put valid events on the dead letters, as a producer with an older schema does."""
    for event in letters:
        pipe.send(
            event,
            topic=names.DEAD_LETTER_TOPIC,
            key=event["order_id"],
            headers=[("source", event["source"].encode()), ("error.reason", reason.encode())],
        )


@pytest.fixture
def filled(pipe) -> StreamPipe:
    """30 good events; letters: 5 that are no JSON, 4 that break the schema, 3 that are valid by today's schema."""
    wrong = [event | {"quantity": 0, "source": "kiosk"} for event in events(2, WRONG)]
    broken = [json.dumps(event)[:-1].encode() for event in events(3, NO_JSON)]
    publish(pipe.cluster, [*events(1, GOOD), *wrong])
    pipe.send(*broken)
    refuse(pipe, *events(4, VALID_NOW))
    pipe.drain()
    account(pipe.warehouse, pipe.cluster, "before")
    return pipe


def test_letters_are_shown_mended_and_sent_once(filled, dlq, tmp_path):
    groups = json.loads(dlq("show", "--json", "--limit", 2).stdout)
    assert [(g["letters"], g["replayed"], g["writer"], g["source"]) for g in groups[:2]] == [
        (NO_JSON, 0, names.CONNECTOR, "unknown"),
        (WRONG, 0, "producer", "kiosk"),
    ]
    assert sum(group["letters"] for group in groups) == NO_JSON + WRONG + VALID_NOW
    assert groups[0]["reason"].startswith("Converting byte[] to Kafka Connect data failed")
    assert len(groups[0]["examples"]) == 2
    assert groups[0]["oldest"] <= groups[0]["examples"][0]["at"] <= groups[0]["newest"]
    assert [g["letters"] for g in json.loads(dlq("show", "--json", "--source", "kiosk").stdout)] == [WRONG]
    assert [g["letters"] for g in json.loads(dlq("show", "--json", "--reason", "byte[]").stdout)] == [NO_JSON]
    assert "kiosk" in dlq("show").stdout

    as_is = ("replay", "--as-is", "--json")
    unsent = NO_JSON + WRONG
    assert json.loads(dlq(*as_is).stdout) == {"sent": VALID_NOW, "sent_before": 0, "still_wrong": unsent}
    assert json.loads(dlq(*as_is).stdout) == {"sent": 0, "sent_before": VALID_NOW, "still_wrong": unsent}

    file = tmp_path / "letters.jsonl"
    assert dlq("replay", "--edit", file).exit_code == 0
    assert isinstance(dlq("replay", "--edit", file).exception, WillNotHeal)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert Counter("event" in line for line in lines) == {True: WRONG, False: NO_JSON}
    for line in lines[1:]:
        mend(line)
    file.write_text("\n".join(map(json.dumps, lines)))
    refused = dlq("replay", "--from", file, "--json")
    assert isinstance(refused.exception, WillNotHeal)
    assert "1 lines of" in str(refused.exception)
    assert "line 1: " in str(refused.exception)
    mend(lines[0])
    file.write_text("\n".join(map(json.dumps, lines)))
    from_file = ("replay", "--from", file, "--json")
    assert json.loads(dlq(*from_file).stdout) == {"sent": unsent, "sent_before": 0, "still_wrong": 0}
    assert json.loads(dlq(*from_file).stdout) == {"sent": 0, "sent_before": unsent, "still_wrong": 0}
    assert sum(group["replayed"] for group in json.loads(dlq("show", "--json").stdout)) == unsent + VALID_NOW
    require_accounted(filled)


def mend(line: dict[str, Any]) -> None:
    if "event" in line:
        line["event"]["quantity"] = 1
    else:
        line["text"] += "}"


def require_accounted(pipe: StreamPipe) -> None:
    """Hold that all events landed, each once and valid, and that the audit of before and after adds up."""
    pipe.drain()
    account(pipe.warehouse, pipe.cluster, "after")
    rows = pipe.warehouse.rows("select record_metadata m, record_content c from RAW.SALES_RAW")
    told = [(json.loads(row["m"]), json.loads(row["c"])) for row in rows]
    everything = GOOD + NO_JSON + WRONG + VALID_NOW
    assert len({event["event_id"] for _, event in told}) == len(told) == everything
    assert [event_fault(event) for _, event in told if event_fault(event)] == []
    replayed = [metadata for metadata, _ in told if "replay.of" in metadata["headers"]]
    assert {m["headers"]["replay.of"] for m in replayed} == replayed_letters(pipe.warehouse)
    assert len(replayed) == everything - GOOD
    assert {name for m in replayed for name in m["headers"]} == {
        "replay.of",
        "source",
        "schema_version",
        "trace_id",
    }
    assert all(m["key"] == event["order_id"] for m, event in told)
    (sums,) = pipe.warehouse.rows(
        "select sum(rows_read) r, sum(rows_loaded) l, sum(rows_quarantined) q, sum(end_offset - start_offset) o "
        "from MONITORING.LOAD_AUDIT where unit_kind = 'partition'"
    )
    assert {name: int(value) for name, value in sums.items()} == {
        "r": everything + NO_JSON,
        "l": everything,
        "q": NO_JSON,
        "o": everything + NO_JSON,
    }


def test_copies_of_a_letter_are_one_letter(filled):
    before = list(read_letters(filled.cluster))
    producer = Producer(filled.cluster.client_config())
    for letter in before:
        if letter.writer == names.CONNECTOR:
            producer.produce(names.DEAD_LETTER_TOPIC, letter.value, partition=0, headers=letter.headers)
    assert producer.flush(10) == 0
    assert [letter.name for letter in read_letters(filled.cluster)] == [letter.name for letter in before]
    assert {letter.name for letter in before if letter.writer == names.CONNECTOR} == {
        f"{names.TOPIC}/0/{letter.name.rsplit('/', 1)[1]}"
        for letter in before
        if letter.writer == names.CONNECTOR
    }


def test_letters_are_selected_by_reason_source_and_place(filled):
    letters = list(read_letters(filled.cluster))
    kiosk = [letter for letter in letters if letter.source == "kiosk"]
    assert list(read_letters(filled.cluster, Selection(source="kiosk"))) == kiosk
    one = kiosk[-1]
    place = Selection(partition=one.partition, first_offset=one.offset, last_offset=one.offset)
    assert list(read_letters(filled.cluster, place)) == [one]
    assert list(read_letters(filled.cluster, Selection(reason="NO SUCH"))) == []
    assert [group.letters for group in group_letters(kiosk, {one.name}, 0)] == [WRONG]
    assert [group.replayed for group in group_letters(kiosk, {one.name}, 0)] == [1]


@pytest.mark.parametrize(("killed_at", "on_topic"), [("sent", VALID_NOW), ("after claimed", 0)])
def test_a_replay_that_is_killed_is_finished_by_the_next(filled, monkeypatch, killed_at, on_topic):
    where = filled.warehouse.server_url, filled.cluster.bootstrap_servers
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED_REPLAY, killed_at, *where], cwd=PROJECT, check=False
    )
    assert done.returncode == -9
    assert replayed_letters(filled.warehouse) == set()
    with pytest.raises(MayHeal, match=r"Run this again in 1\d\d seconds"):
        replay_as_they_are(filled.warehouse, filled.cluster, read_letters(filled.cluster))
    monkeypatch.setattr(letter_replays, "CLAIM_SECONDS", 0)
    report = replay_as_they_are(filled.warehouse, filled.cluster, read_letters(filled.cluster))
    assert (report.sent, report.sent_before) == (VALID_NOW - on_topic, on_topic)
    filled.drain()
    assert len(filled.landed()) == GOOD + VALID_NOW
    assert len(replayed_letters(filled.warehouse)) == VALID_NOW


def test_of_two_replays_at_the_same_time_one_gives_way(filled):
    names_of = [letter.name for letter in read_letters(filled.cluster) if not letter.fault]
    letter_replays._claim(filled.warehouse, filled.cluster, "first", names_of)
    with pytest.raises(MayHeal, match="Another replay is sending some of these letters"):
        letter_replays._claim(filled.warehouse, filled.cluster, "second", names_of[:1])
    letter_replays._note(filled.warehouse, "first", "dropped", dict.fromkeys(names_of))
    letter_replays._claim(filled.warehouse, filled.cluster, "third", names_of)


def test_what_cannot_be_sent_is_said_before_anything_is(filled):
    good = json.dumps(events(9, 1)[0]).encode()
    letter = next(read_letters(filled.cluster))
    with pytest.raises(WillNotHeal, match=r"no such dead letters \(any more\), so nothing was sent: x/1/2"):
        replay_mended(filled.warehouse, filled.cluster, {"x/1/2": good, letter.name: good})
    assert replayed_letters(filled.warehouse) == set()


def test_the_command_asks_for_one_way(dlq):
    for arguments in ((), ("--as-is", "--edit", "f")):
        assert isinstance(dlq("replay", *arguments).exception, WillNotHeal)
    assert isinstance(dlq("show", "--offsets", "a:b").exception, WillNotHeal)
