"""What is made of dbt's results, without running dbt."""

import json
from decimal import Decimal

import pytest

from blocks.errors import MayHeal, WillNotHeal, message_may_heal
from tasks.dbt_artifacts import keep, page
from tasks.dbt_faults import Fault, faults, merged, raise_for, shown
from tasks.dbt_freshness import Freshness, read_freshness, refusal

LOST = "Database Error 250003 (08006): None: Connection reset by peer"


def result(name, status, **more):
    kind = "test" if name.startswith("test") else "model"
    return {
        "unique_id": f"{kind}.sales.{name}",
        "status": status,
        "execution_time": 1.0,
        "message": "",
    } | more


@pytest.mark.parametrize(
    "text",
    [
        LOST,
        "290503 (08001): 503 Service Unavailable",
        "000625 (57014): Statement has locked table 'X' in transaction 1 and this lock has not yet been released.",
        "Failed to connect to DB: HTTPSConnectionPool: Read timed out.",
    ],
)
def test_messages_that_may_heal(text):
    assert message_may_heal(text)


@pytest.mark.parametrize(
    "text",
    [
        "001003 (42000): SQL compilation error: syntax error line 1 at position 0",
        "250001 (08001): Failed to connect to DB. Incorrect username or password was specified.",
        "000630 (57014): Statement reached its statement or warehouse timeout of 60 second(s) and was canceled.",
        "Got 3 results, configured to fail if != 0",
        "",
    ],
)
def test_messages_that_will_not_heal(text):
    assert not message_may_heal(text)


def test_faults_are_named_with_rows_and_reason_and_nothing_else_is():
    found = list(
        faults(
            [
                result("a", "success"),
                result("test_b", "fail", failures=7, message="Got 7 results,\n  configured to fail if != 0"),
                result("c", "skipped"),
                result("test_d", "warn", failures=2),
            ]
        )
    )
    assert [str(fault) for fault in found] == [
        "test_b (fail, 7 rows): Got 7 results, configured to fail if != 0"
    ]


def test_time_mends_lost_connections_alone():
    lost = Fault("a", "error", 0, LOST)
    raise_for([])
    with pytest.raises(MayHeal, match="a \\(error\\)"):
        raise_for([lost])
    with pytest.raises(WillNotHeal, match="t \\(fail, 1 rows\\)"):
        raise_for([lost, Fault("t", "fail", 1, "Connection reset is in the name of this test")])


def test_a_row_is_shown_without_text_that_may_be_about_a_person():
    row = {
        "customer_key": "k1",
        "email": "jo@example.com",
        "country": "GB",
        "quantity": Decimal(3),
        "x_id": None,
    }
    assert shown(row) == "customer_key=k1, quantity=3"
    assert shown({"email": "jo@example.com"}) == "no key among its columns"


def test_the_later_result_of_a_node_counts():
    first = [result("a", "success"), result("b", "error"), result("c", "skipped")]
    again = [result("b", "success"), result("c", "success")]
    assert [r["status"] for r in merged(first, again)] == ["success"] * 3


def sources_file(folder, **newest):
    found = [
        {
            "unique_id": f"source.sales.raw.{name}",
            "status": status,
            "max_loaded_at": at,
            "max_loaded_at_time_ago_in_s": 7200.0,
            "criteria": {"error_after": {"count": 3, "period": "day"}},
        }
        for name, (status, at) in newest.items()
    ]
    lost = {"unique_id": "source.sales.raw.lost", "status": "runtime error", "error": "gone"}
    (folder / "sources.json").write_text(json.dumps({"results": [*found, lost]}))
    return read_freshness(folder)


def test_freshness_is_read_and_an_empty_table_is_told_apart(tmp_path):
    assert read_freshness(tmp_path) == []
    found = sources_file(
        tmp_path, a=("warn", "2026-01-01T00:00:00+00:00"), b=("error", "0001-01-01T00:00:00+00:00")
    )
    assert found == [
        Freshness("raw.a", "warn", 2.0, "3 days"),
        Freshness("raw.b", "empty", None, "3 days"),
        Freshness("raw.lost", "runtime error"),
    ]


@pytest.mark.parametrize(
    ("statuses", "refused_by"),
    [
        (["pass", "pass"], set()),
        (["warn", "warn"], set()),
        (["error", "pass"], {"all"}),
        (["error", "error"], {"all", "any"}),
        (["error", "empty"], {"all", "any"}),
        (["empty", "empty"], set()),
        (["runtime error", "pass"], set()),
        ([], set()),
    ],
)
def test_which_sources_hold_the_build_back(statuses, refused_by):
    found = [Freshness(f"raw.{i}", status, 99.0) for i, status in enumerate(statuses)]
    assert {how for how in ("all", "any", "none") if refusal(found, how)} == refused_by


def test_artifacts_are_kept_per_run_and_results_per_attempt(tmp_path):
    import gzip

    from prefect.filesystems import LocalFileSystem

    target, storage = tmp_path / "target", LocalFileSystem(basepath=str(tmp_path / "kept"))
    target.mkdir()
    for attempt in (1, 2):
        (target / "run_results.json").write_text(f'{{"attempt": {attempt}}}')
        (target / "static_index.html").write_text("<html>")
        kept = keep(storage, "run", target, attempt)
    folder = tmp_path / "kept" / "dbt" / "run"
    names = {path.name for path in folder.iterdir()}
    assert names == {"run_results.json.gz", "run_results.2.json.gz", "docs.html"}
    assert json.loads(gzip.decompress((folder / "run_results.2.json.gz").read_bytes())) == {"attempt": 2}
    assert kept["docs.html"] == f"file://{folder}/docs.html"


def test_the_page_tells_faults_and_slowest():
    results = [result("a", "success") | {"execution_time": 9.5}, result("test_b", "fail", failures=1)]
    text = page(results, list(faults(results)), [Freshness("raw.x", "warn", 50.0)], {"docs.html": "s3://b/d"})
    for line in ("| success | 1 |", "| fail | 1 |", "| model.sales.a | 9.50 |", "| raw.x | warn | 50.0 |"):
        assert line in text
    assert "| test_b | fail | 1 |" in text
