"""Archives through the whole pipeline: each member is loaded, accounted for and known again as a file of its own."""

import gzip
import zipfile
from functools import partial

import pytest

from blocks.feeds import JOBS, load_feed

HEADER = (
    "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
    "quantity,unit_price,currency,ordered_at,updated_at\n"
)
LINE = "{},{},P1,Lamp,Home,C1,consumer,Spain,{},9.99,EUR,2024-02-29T08:15:00Z,2024-02-29T08:15:00Z\n"
GOOD = HEADER + LINE.format("Z1", 1, 2) + LINE.format("Z1", 2, 0) + LINE.format("Z1", 1, 2)
MORE = HEADER + LINE.format("Z2", 1, 3) + LINE.format("Z2", 2, 4)
NO_ROWS = HEADER
ACCOUNTS = (
    "select unit_name, rows_read, rows_loaded, rows_quarantined, rows_duplicate from MONITORING.LOAD_AUDIT "
    "where source = 'branches' order by unit_name"
)


@pytest.fixture(scope="module")
def feed(tmp_path_factory):
    """Store sales under a name of their own: other tests count those of the stores."""
    folder = tmp_path_factory.mktemp("feeds")
    declared = (JOBS / "sources" / "store_sales.yml").read_text()
    (folder / "branches.yml").write_text(declared.replace("source: store_sales", "source: branches"))
    with pytest.MonkeyPatch.context() as patch:
        for module in ("landing", "databricks"):
            patch.setattr(f"tasks.{module}.load_feed", partial(load_feed, folder=folder))
        yield "branches"


@pytest.fixture(scope="module")
def loaded(pipeline, feed):
    """An archive of two good members and a bad one, and one whose only member has no rows, arrive together."""
    drop = pipeline.drop(feed)
    with zipfile.ZipFile(drop / "archive.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.csv", GOOD)
        archive.writestr("north/more.csv.gz", gzip.compress(MORE.encode(), mtime=0))
        archive.writestr("bad.csv", "order_id,amount\n1,2\n")
        archive.writestr("__MACOSX/._good.csv", b"\0\5\26\7")
    with zipfile.ZipFile(drop / "no_sales.csv.zip", "w") as archive:
        archive.writestr("none.csv", NO_ROWS)
    return pipeline.run(feed)


def test_each_member_has_an_account_of_its_own(pipeline, loaded):
    rows = [tuple(row.values()) for row in pipeline.warehouse.rows(ACCOUNTS)]
    assert rows == [
        ("archive.csv.zip/good.csv", 3, 1, 1, 1),
        ("archive.csv.zip/north/more.csv.gz", 2, 2, 0, 0),
        ("no_sales.csv.zip/none.csv", 0, 0, 0, 0),
    ]
    assert all(read == sum(became) for _, read, *became in rows)
    total = {"rows_read": 5, "rows_valid": 3, "rows_quarantined": 1, "rows_duplicate": 1}
    assert {name: loaded["batch"][name] for name in total} == total
    assert (loaded["batch"]["files"], loaded["batch"]["new_files"]) == (3, 3)


def test_a_row_names_the_member_it_came_from(pipeline, loaded):
    sold = pipeline.warehouse.rows(
        "select order_id, line_number, file_name, file_line from RAW.SALES_BATCH_RAW "
        "where source = 'branches' order by order_id, line_number"
    )
    assert [tuple(row.values()) for row in sold] == [
        ("Z1", 1, "archive.csv.zip/good.csv", 2),
        ("Z2", 1, "archive.csv.zip/north/more.csv.gz", 2),
        ("Z2", 2, "archive.csv.zip/north/more.csv.gz", 3),
    ]
    rejected = pipeline.warehouse.rows(
        "select rule_ids, file_name, file_line from RAW.SALES_QUARANTINE where source = 'branches'"
    )
    assert [tuple(row.values()) for row in rejected] == [("quantity_not_zero", "archive.csv.zip/good.csv", 3)]


def test_a_bad_member_is_told_and_its_archive_set_aside(pipeline, loaded):
    assert loaded["status"] == "completed_with_refused_files"
    (refused,) = loaded["batch"]["refused_files"]
    assert refused["file"] == "archive.csv.zip/bad.csv"
    assert refused["reason"].startswith("lacks the columns country, currency, ")
    aside = pipeline.home / "storage/drop/refused/branches"
    assert zipfile.is_zipfile(aside / "archive.csv.zip")
    note = (aside / "archive.csv.zip.reason.txt").read_text()
    assert note == f"{refused['file']} {refused['reason']}\n"
    assert not (aside / "no_sales.csv.zip").exists()
    assert list(pipeline.drop("branches").iterdir()) == []


def test_a_member_that_comes_again_plain_is_known(pipeline, loaded):
    (pipeline.drop("branches") / "plain.csv").write_text(GOOD)
    summary = pipeline.run("branches")
    assert summary["batch"]["new_files"] == 0
    assert summary["marts"] == loaded["marts"]
