"""No call outside waits for ever: each says how long, or sits on a client that was told once."""

import ast
from collections.abc import Iterator

import pytest

from blocks.settings import PROJECT
from blocks.warehouse import LIMITS, STATEMENT_TIMEOUT_SECONDS

FOLDERS = ("blocks", "flows", "streaming", "tasks")
HTTPX = {
    f"httpx.{name}"
    for name in ("get", "post", "put", "patch", "delete", "request", "stream", "Client", "AsyncClient")
}
PROCESSES = {f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output")}
# librdkafka's blocking calls, and where among their arguments the timeout stands.
KAFKA = {"list_topics": 1, "get_watermark_offsets": 1, "committed": 1, "offsets_for_times": 1, "flush": 0}
BOTO = {"boto3.client", "boto3.resource"}  # botocore waits a minute unless its config says otherwise


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Give every call of a source, by the dotted name of what is called."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def without_timeout(source: str) -> list[str]:
    """Give the calls that could wait for ever, with their lines."""
    found = []
    for name, call in calls(source):
        given, method = {keyword.arg for keyword in call.keywords}, name.rpartition(".")[2]
        is_kafka = method in KAFKA and "." in name and not name.startswith(("text.", "self._writing."))
        if (
            (name in HTTPX | PROCESSES and "timeout" not in given)
            or (name in BOTO and "config" not in given)
            or (is_kafka and "timeout" not in given and len(call.args) <= KAFKA[method])
        ):
            found.append(f"line {call.lineno}: {ast.unparse(call)[:80]}")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_call_outside_has_a_timeout(folder):
    paths = sorted((PROJECT / folder).rglob("*.py"))
    assert paths
    found = {str(path.relative_to(PROJECT)): without_timeout(path.read_text()) for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "httpx.get(url)",
        "httpx.Client(base_url=url)",
        "subprocess.run(['git'])",
        "boto3.client('s3')",
        "consumer.list_topics(topic)",
        "consumer.committed(parts)",
        "producer.flush()",
    ],
)
def test_the_search_finds_calls_without(source):
    assert len(without_timeout(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "httpx.get(url, timeout=5)",
        "subprocess.run(['git'], timeout=5)",
        "boto3.client('s3', config=config)",
        "consumer.list_topics(topic, 5)",
        "producer.flush(5)",
        "{}.get(url)",
    ],
)
def test_the_search_passes_calls_with(source):
    assert without_timeout(source) == []


def test_the_warehouse_ends_every_statement():
    assert LIMITS == {"STATEMENT_TIMEOUT_IN_SECONDS": STATEMENT_TIMEOUT_SECONDS, "ABORT_DETACHED_QUERY": True}
    assert STATEMENT_TIMEOUT_SECONDS <= 3600
