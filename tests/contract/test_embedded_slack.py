"""The embedded Slack answers as Slack's incoming webhooks do, and shows what it was told."""

import json

import httpx
import pytest

from local.slack import message_text, render


@pytest.fixture(scope="module")
def slack(start_service):
    return start_service("slack")


@pytest.fixture
def client(slack):
    with httpx.Client(base_url=slack.facts["url"]) as client:
        yield client


def test_a_text_is_taken_and_listed(client):
    answer = client.post("/services/T0/B0/secret", json={"text": "hello"})
    assert (answer.status_code, answer.text) == (200, "ok")
    last = client.get("/messages").json()[-1]
    assert (last["path"], last["payload"]) == ("/services/T0/B0/secret", {"text": "hello"})


def test_a_form_with_a_payload_field_is_taken(client):
    answer = client.post("/services/x", data={"payload": json.dumps({"text": "by form"})})
    assert answer.text == "ok"
    assert client.get("/messages").json()[-1]["payload"] == {"text": "by form"}


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b"{broken", "invalid_payload"),
        (b"[]", "invalid_payload"),
        (b"\xff", "invalid_payload"),
        (b"{}", "no_text"),
        (b'{"text": ""}', "no_text"),
        (b'{"channel": "#x"}', "no_text"),
    ],
)
def test_a_wrong_payload_is_refused_in_slacks_words(client, body, reply):
    before = client.get("/messages").json()
    answer = client.post("/services/x", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.text) == (400, reply)
    assert client.get("/messages").json() == before


def test_other_methods_and_paths_are_not_there(client):
    assert client.get("/services/x").status_code == 405
    assert client.post("/elsewhere", json={"text": "x"}).status_code == 404


def test_the_page_shows_the_newest_first_and_escapes(client):
    client.post("/services/x", json={"text": "older one"})
    client.post("/services/x", json={"text": "<script>alert(1)</script> *bold* {0}"})
    page = client.get("/").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>bold</b>" in page
    assert page.index("alert(1)") < page.index("older one")
    assert 'http-equiv="refresh"' in page


def test_messages_survive_a_kill_and_a_torn_line(slack, client):
    client.post("/services/x", json={"text": "kept"})
    before = client.get("/messages").json()
    slack.kill()
    with (slack.home / "messages.jsonl").open("a") as file:
        file.write('{"received_at": "2025')
    slack.start()
    with httpx.Client(base_url=slack.facts["url"]) as again:
        assert again.get("/messages").json() == before
        again.post("/services/x", json={"text": "next"})
        assert again.get("/messages").json()[-1]["payload"] == {"text": "next"}
    assert len((slack.home / "messages.jsonl").read_text().splitlines()) == len(before) + 1


@pytest.mark.parametrize(
    ("mrkdwn", "html"),
    [
        ("<https://a.b/c?d=1&e=2|the run>", '<a href="https://a.b/c?d=1&amp;e=2">the run</a>'),
        ("<http://a.b>", '<a href="http://a.b">http://a.b</a>'),
        ("<javascript:alert(1)|x>", "&lt;javascript:alert(1)|x&gt;"),
        ('<https://a"onclick=1|x>', "&lt;https://a&quot;onclick=1|x&gt;"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("*a* _b_ `c`", "<b>a</b> <i>b</i> <code>c</code>"),
        ("sales_events_dlq", "sales_events_dlq"),
        ("a &amp; b &lt;c&gt;", "a &amp; b &lt;c&gt;"),
    ],
)
def test_mrkdwn_becomes_html(mrkdwn, html):
    assert render(mrkdwn) == html


def test_blocks_and_attachments_are_read():
    payload = {
        "text": "only a fallback",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "Title"}},
            {
                "type": "section",
                "text": {"type": "mrkdwn", "text": "Body"},
                "fields": [{"type": "mrkdwn", "text": "F"}],
            },
            {"type": "context", "elements": [{"type": "mrkdwn", "text": "C"}]},
        ],
        "attachments": [{"pretext": "P", "text": "A"}],
    }
    assert message_text(payload) == "Title\nBody\nF\nC\nP\nA"
    assert message_text({"text": "plain"}) == "plain"
