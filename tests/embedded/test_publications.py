"""Publishing, going back, and what a candidate would change: on small marts in a database of their own."""

import json
from decimal import Decimal

import pytest
from typer.testing import CliRunner

from blocks.errors import WillNotHeal
from cli.app import app
from tasks import publications
from tasks import publish as publishing
from tasks.publications import (
    PREFIX,
    clone_schema,
    finish_interrupted,
    history,
    kept,
    prune,
    roll_back,
    target_of_rollback,
)
from tasks.publish import publish, table_states, to_publish

SALE = "select 'S{n}' as sales_key, '2025-03-0{n}'::timestamp_ntz as ordered_at, {amount}::number(18, 4) as amount_eur"


@pytest.fixture(scope="module")
def made(pipeline):
    """Give the block for a migrated database that holds nothing yet."""
    from tasks.migrations import migrate

    variables = {
        "database": "PUBLISHING",
        "processed_url": pipeline.settings.processed_url.rstrip("/") + "/",
        "stage_options": "",
    }
    warehouse = pipeline.warehouse.model_copy(update={"database": "PUBLISHING"})
    list(migrate(warehouse, variables))
    return warehouse


@pytest.fixture
def warehouse(made, monkeypatch):
    """Give it as new, for the commands too."""
    monkeypatch.setattr("blocks.register.warehouse_from", lambda _settings: made)
    for publication_id in kept(made):
        execute(made, f"drop schema {PREFIX}{publication_id} cascade")
    execute(made, "delete from MONITORING.PUBLICATIONS")
    for schema in ("MARTS", "MARTS_CANDIDATE"):
        execute(made, f"drop schema if exists {schema} cascade")
        execute(made, f"create schema {schema}")
    return made


def execute(warehouse, sql):
    with warehouse.session() as connection, connection.cursor() as cursor:
        cursor.execute(sql)


def candidates(warehouse, *amounts):
    """Make candidates: a sale per amount, on the first days of March; and a mart that never changes."""
    sales = " union all ".join(SALE.format(n=n, amount=amount) for n, amount in enumerate(amounts, start=1))
    execute(warehouse, f"create or replace table MARTS_CANDIDATE.FCT_SALES as {sales}")
    execute(warehouse, "create or replace table MARTS_CANDIDATE.DIM_DATE as select 20250301 as date_key")


def published(warehouse, *amounts, run="run", made_of="data"):
    candidates(warehouse, *amounts)
    return publish(warehouse, run, made_of)


def seen(warehouse):
    rows = warehouse.rows("select amount_eur from MARTS.FCT_SALES order by sales_key")
    return [int(row["amount_eur"]) for row in rows]


def marts(*arguments, code=0, **how):
    result = CliRunner().invoke(app, ["marts", *arguments], **how)
    assert result.exit_code == code, result.output
    return result


def test_a_publication_is_noted_whole(warehouse):
    first = published(warehouse, 10, 20, run="run-1", made_of="f1")
    second = published(warehouse, 10, 21, 30, run="run-2", made_of="f2")
    newest, oldest = history(warehouse)
    assert (newest.publication_id, newest.content_id, newest.kind) == (second.publication_id,) * 2 + (
        "publish",
    )
    assert (newest.run_id, newest.fingerprint, newest.previous_id) == ("run-2", "f2", first.publication_id)
    assert newest.published_by == warehouse.credentials.user
    assert newest.shown_at >= newest.published_at > oldest.shown_at
    shown = table_states(warehouse, "MARTS")
    assert newest.tables == {
        name: {"rows": state.rows, "checksum": state.checksum} for name, state in shown.items()
    }
    assert {name: state.rows for name, state in shown.items()} == {"fct_sales": 3, "dim_date": 1}
    assert (oldest.previous_id, oldest.tables["fct_sales"]["rows"]) == (None, 2)
    assert seen(warehouse) == [10, 21, 30]


def test_a_run_publishes_once_however_often_it_tries(warehouse):
    first = published(warehouse, 10, run="run-1")
    candidates(warehouse, 99)
    assert publish(warehouse, "run-1", "data").publication_id == first.publication_id
    assert len(history(warehouse)) == 1
    assert seen(warehouse) == [10]


def test_nothing_is_published_without_candidates(warehouse):
    with pytest.raises(WillNotHeal, match="MARTS_CANDIDATE is empty"):
        publish(warehouse, "run", "data")
    assert history(warehouse) == []


class Killed(BaseException):
    """The process ends here."""


def killed(*_arguments):
    raise Killed


@pytest.mark.parametrize(
    ("module", "step", "then_seen"),
    [
        (publishing, "table_states", [1]),
        (publishing, "show", [1]),
        (publications, "finish_interrupted", [2]),
        (publications, "clone_schema", [2]),
    ],
)
def test_a_run_killed_while_publishing_is_healed_by_the_next(warehouse, monkeypatch, module, step, then_seen):
    """Before it is noted, readers keep what they have; after, the next run shows it, even with other candidates."""
    published(warehouse, 1, run="run-1", made_of="f1")
    candidates(warehouse, 2)
    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        with pytest.raises(Killed):
            publish(warehouse, "run-2", "f2")
    assert seen(warehouse) == [1]
    candidates(warehouse, 3)
    finish_interrupted(warehouse)
    assert seen(warehouse) == then_seen
    assert all(row.shown_at for row in history(warehouse))
    publish(warehouse, "run-3", "f3")
    assert seen(warehouse) == [3]
    prune(warehouse)
    assert set(kept(warehouse)) == {row.publication_id for row in history(warehouse)}


def test_a_run_killed_between_clone_and_note_of_it_is_healed(warehouse, monkeypatch):
    """Readers see the new marts already; the next run says so and does not publish again."""
    candidates(warehouse, 2)
    clone = publications.clone_schema

    def clone_then_die(*arguments):
        clone(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(publications, "clone_schema", clone_then_die)
        with pytest.raises(Killed):
            publish(warehouse, "run-1", "f1")
    assert (seen(warehouse), history(warehouse)[0].shown_at) == ([2], None)
    assert publish(warehouse, "run-1", "f1").shown_at is not None
    assert finish_interrupted(warehouse) is None
    assert to_publish(warehouse, "f1")[0] is False
    assert len(history(warehouse)) == 1


def test_going_back_shows_the_tables_bit_by_bit_as_they_were(warehouse):
    first = published(warehouse, 10, 20, run="run-1", made_of="f1")
    before = table_states(warehouse, "MARTS")
    second = published(warehouse, 66, run="run-2", made_of="f2")
    done = roll_back(warehouse, target_of_rollback(warehouse), "ann")
    assert table_states(warehouse, "MARTS") == before
    newest = history(warehouse)[0]
    assert (newest.publication_id, newest.kind, newest.published_by) == (
        done.publication_id,
        "rollback",
        "ann",
    )
    assert (newest.content_id, newest.previous_id) == (first.publication_id, second.publication_id)
    assert (newest.run_id, newest.fingerprint, newest.tables) == ("run-1", "f1", first.tables)
    assert target_of_rollback(warehouse) is None
    assert target_of_rollback(warehouse, first.publication_id) is None


def test_what_was_taken_back_is_not_published_again(warehouse):
    """Until something changes, or the run is told to; and going forward again is possible."""
    assert to_publish(warehouse, "f1") == (True, "")
    published(warehouse, 1, run="run-1", made_of="f1")
    published(warehouse, 2, run="run-2", made_of="f2")
    third = published(warehouse, 3, run="run-3", made_of="f3")
    roll_back(warehouse, target_of_rollback(warehouse, history(warehouse)[2].publication_id), "ann")
    assert seen(warehouse) == [1]
    for made_of in ("f2", "f3"):
        is_new, why_not = to_publish(warehouse, made_of)
        assert not is_new
        assert "ann rolled back" in why_not
        assert "sales marts pause" in why_not
    assert "Nothing new" in to_publish(warehouse, "f1")[1]
    assert to_publish(warehouse, "f4") == (True, "")
    assert to_publish(warehouse, "f3", rebuild=True) == (True, "")
    roll_back(warehouse, target_of_rollback(warehouse, third.publication_id), "ann")
    assert seen(warehouse) == [3]
    assert to_publish(warehouse, "f2") == (True, "")


def test_the_last_few_are_kept_and_orphans_go(warehouse):
    ids = [published(warehouse, n, run=f"run-{n}").publication_id for n in (1, 2)]
    clone_schema(
        warehouse, "MARTS_CANDIDATE", PREFIX + "20000101T000000000"
    )  # a run that died before its note
    clone_schema(warehouse, "MARTS_CANDIDATE", PREFIX + "29990101T000000000")  # a run that is publishing now
    ids += [published(warehouse, n, run=f"run-{n}").publication_id for n in (3, 4, 5)]
    assert kept(warehouse) == ["29990101T000000000", *ids[:0:-1]]
    with pytest.raises(WillNotHeal, match=f"no publication {ids[0]} to go back to. Kept are .*{ids[1]}"):
        target_of_rollback(warehouse, ids[0])
    roll_back(warehouse, target_of_rollback(warehouse, ids[1]), "ann")
    assert seen(warehouse) == [2]


def test_there_is_a_first_publication_to_go_back_from(warehouse):
    with pytest.raises(WillNotHeal, match="Nothing has been published yet"):
        target_of_rollback(warehouse)
    published(warehouse, 1)
    with pytest.raises(WillNotHeal, match="before the current one is not there"):
        target_of_rollback(warehouse)


def test_diff_counts_rows_by_key_and_totals_by_day(warehouse):
    published(warehouse, 10, 20, 30)
    execute(warehouse, "create or replace table MARTS_CANDIDATE.MART_RETURNS as select 'R' as return_key")
    execute(warehouse, "create or replace table MARTS.DIM_PRODUCT as select 'P' as product_key")
    execute(warehouse, "update MARTS_CANDIDATE.FCT_SALES set amount_eur = 25 where sales_key = 'S2'")
    execute(warehouse, "delete from MARTS_CANDIDATE.FCT_SALES where sales_key = 'S3'")
    execute(warehouse, f"insert into MARTS_CANDIDATE.FCT_SALES {SALE.format(n=4, amount=40)}")
    execute(warehouse, f"insert into MARTS_CANDIDATE.FCT_SALES {SALE.format(n=5, amount=50)}")
    found = {table["table"]: table for table in json.loads(marts("diff", "--json").stdout)}
    assert {name: table["status"] for name, table in found.items()} == {
        "dim_date": "same",
        "dim_product": "dropped",
        "fct_sales": "changed",
        "mart_returns": "new",
    }
    sales = found["fct_sales"]
    names = ("rows_before", "rows_after", "added", "removed", "changed")
    assert [sales[name] for name in names] == [3, 4, 2, 1, 1]
    days = {
        d["day"]: tuple(None if d[side] is None else Decimal(d[side]) for side in ("before", "after"))
        for d in sales["days"]
    }
    assert days == {
        "2025-03-02": (20, 25),
        "2025-03-03": (30, None),
        "2025-03-04": (None, 40),
        "2025-03-05": (None, 50),
    }
    assert [found["dim_date"][name] for name in names] == [1, 1, 0, 0, 0]
    shown = marts("diff", "--table", "FCT_SALES", "--days", "1").stdout
    assert "2025-03-05" in shown
    assert "2025-03-04" not in shown
    assert "dim_date" not in shown


def test_diff_tells_columns_apart_and_compares_the_others(warehouse):
    published(warehouse, 10)
    execute(
        warehouse,
        "create or replace table MARTS_CANDIDATE.FCT_SALES as "
        "select sales_key, amount_eur, 'x' as colour from MARTS.FCT_SALES",
    )
    (sales,) = json.loads(marts("diff", "--table", "fct_sales", "--json").stdout)
    assert (sales["status"], sales["changed"]) == ("changed", 0)
    assert (sales["columns_added"], sales["columns_removed"]) == (["colour"], ["ordered_at"])
    result = CliRunner().invoke(app, ["marts", "diff", "--table", "nowhere"])
    assert "There is no table nowhere in MARTS or MARTS_CANDIDATE" in str(result.exception)


def test_the_commands_go_back_only_when_told_so(warehouse):
    assert "Nothing has been published yet" in marts("list").stdout
    first = published(warehouse, 10, run="run-1")
    second = published(warehouse, 20, 30, run="run-2", made_of="bad")
    asked = marts("rollback", code=1, input="n\n")
    assert "fct_sales" in asked.stdout
    assert (seen(warehouse), len(history(warehouse))) == ([20, 30], 2)
    marts("rollback", "--yes")
    assert seen(warehouse) == [10]
    again = marts("rollback", "--yes")
    assert f"Readers see {first.publication_id} already" in again.stderr
    listed = json.loads(marts("list", "--json").stdout)
    assert [(row["kind"], row["content_id"], row["is_current"], row["is_kept"]) for row in listed] == [
        ("rollback", first.publication_id, True, True),
        ("publish", second.publication_id, False, True),
        ("publish", first.publication_id, False, True),
    ]
    assert second.publication_id in marts("list").stdout
    marts("rollback", "--to", second.publication_id, "-y")
    assert seen(warehouse) == [20, 30]


def test_publishing_can_be_paused_and_resumed(pipeline, warehouse, monkeypatch):
    """Paused, the task that publishes shows nothing and says why; the summary repeats it."""
    from prefect import flow

    from tasks.landing import Landing
    from tasks.publish import publish_marts
    from tasks.summary import sections, summarise

    for module in ("publish", "summary"):
        monkeypatch.setattr(f"tasks.{module}.load_block", lambda *_: warehouse)

    @flow(name="publish-only")
    def publish_only(made_of):
        publish_marts(made_of)
        return summarise(made_of, "store_sales", Landing([], [], 0, []), {}, {})

    published(warehouse, 1, made_of="f1")
    candidates(warehouse, 2)
    assert "is paused since" in marts("pause", "--reason", "stocktaking").stderr
    try:
        summary = publish_only("f2")
    finally:
        resumed = marts("resume").stderr
    assert seen(warehouse) == [1]
    assert summary["status"] == "completed_without_publishing"
    assert summary["publication"]["withheld"].endswith(": stocktaking.")
    assert "stocktaking" in str(sections(summary))
    assert "publishes again" in resumed
    assert "was not paused" in marts("resume").stderr
    summary = publish_only("f2")
    assert seen(warehouse) == [2]
    assert summary["status"] == "completed"
    assert summary["publication"]["content_id"] == history(warehouse)[0].content_id
