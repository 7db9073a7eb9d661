"""Landing from folder to folder: what is copied, what waits, what is refused, and that nothing is lost."""

import json
import threading
import time

import pytest
from prefect.filesystems import LocalFileSystem

from blocks.feeds import load_feed
from blocks.storage import StoredFile, list_files, look
from tasks.arrival import settled_files
from tasks.landing import Lander, RefusedFile, checksum_of, write_manifest

HEADER = (
    "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
    "quantity,unit_price,currency,ordered_at,updated_at\n"
)
SETTLE_SECONDS = 0.2


@pytest.fixture(scope="module")
def feed():
    return load_feed("store_sales")


@pytest.fixture
def drop(tmp_path):
    (tmp_path / "drop/store_sales").mkdir(parents=True)
    return LocalFileSystem(basepath=str(tmp_path / "drop"))


@pytest.fixture
def raw(tmp_path):
    return LocalFileSystem(basepath=str(tmp_path / "raw"))


@pytest.fixture
def folder(tmp_path, drop):
    return tmp_path / "drop/store_sales"


def stored(drop, name):
    return look(drop, f"store_sales/{name}")


def paths(storage, prefix=""):
    return [file.path for file in list_files(storage, prefix)]


def test_listing_is_in_order_and_leaves_out_what_is_hidden(drop, folder):
    for name in ("b.csv", "a/z.csv", "a.csv", ".b.csv.partial", "_SUCCESS", "_manifests/m.json", ".x/y.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder.parent / "store_sales_2").mkdir()
    (folder.parent / "store_sales_2/c.csv").touch()
    assert paths(drop, "store_sales") == [f"store_sales/{name}" for name in ("a.csv", "a/z.csv", "b.csv")]
    assert paths(drop, "no_such_feed") == []
    assert look(drop, "store_sales/a") is None
    assert stored(drop, "a.csv").size == 5


def test_a_file_lands_under_its_content(drop, raw, feed, folder, tmp_path):
    (folder / "day.csv").write_text(HEADER)
    landed = Lander(drop, raw, feed).land(stored(drop, "day.csv"))
    assert landed.checksum == checksum_of(folder / "day.csv")
    assert (landed.name, landed.size) == ("day.csv", len(HEADER))
    assert landed.path == f"store_sales/{landed.checksum[:16]}/day.csv"
    assert (tmp_path / "raw" / landed.path).read_text() == HEADER
    assert (folder / "day.csv").exists()


def test_the_same_content_twice_is_one_file_even_at_once(drop, raw, feed, folder):
    lander, landed = Lander(drop, raw, feed), []
    for number in range(8):
        (folder / f"{number}.csv").write_text(HEADER)
    threads = [
        threading.Thread(target=lambda n=n: landed.append(lander.land(stored(drop, f"{n}.csv"))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(landed) == 8
    assert {file.path for file in landed} == set(paths(raw, "store_sales"))
    assert len(paths(raw, "store_sales")) == 1


def test_a_file_that_is_being_written_waits(drop, feed, folder):
    (folder / "whole.csv").write_text(HEADER)
    (folder / "growing.csv").write_text("order")

    def write_on():
        time.sleep(SETTLE_SECONDS / 2)
        with (folder / "growing.csv").open("a") as file:
            file.write("_id")
        (folder / "new.csv").write_text(HEADER)

    writer = threading.Thread(target=write_on)
    writer.start()
    arrivals = settled_files(drop, feed, SETTLE_SECONDS)
    writer.join()
    assert [file.path for file in arrivals.settled] == ["store_sales/whole.csv"]
    assert arrivals.waiting == ["store_sales/growing.csv", "store_sales/new.csv"]
    later = settled_files(drop, feed, SETTLE_SECONDS)
    assert len(later.settled) == 3
    assert later.waiting == []


def test_only_files_of_the_feed_are_looked_at_and_an_empty_drop_is_not_waited_for(drop, feed, folder):
    (folder / "readme.txt").write_text("no sales")
    began = time.monotonic()
    assert settled_files(drop, feed, 60).settled == []
    assert time.monotonic() - began < 1


def test_a_file_that_changes_while_it_is_copied_is_left_for_later(drop, raw, feed, folder):
    (folder / "day.csv").write_text(HEADER)
    seen = stored(drop, "day.csv")
    (folder / "day.csv").write_text(HEADER + "more")
    assert Lander(drop, raw, feed).land(seen) is None
    assert paths(raw) == []


def test_a_file_that_changed_after_it_was_copied_stays_in_the_drop(drop, raw, feed, folder):
    (folder / "day.csv").write_text(HEADER)
    seen, lander = stored(drop, "day.csv"), Lander(drop, raw, feed)
    landed = lander.land(seen)
    (folder / "day.csv").write_text(HEADER + "more")
    lander.clear(seen, landed)
    assert (folder / "day.csv").read_text() == HEADER + "more"
    lander.clear(stored(drop, "day.csv"), lander.land(stored(drop, "day.csv")))
    assert paths(drop) == []
    assert len(paths(raw)) == 2


def test_a_refused_file_is_set_aside_with_its_reason(drop, raw, feed, folder, tmp_path):
    (folder / "bad.csv").write_text("a,b\n1,2\n")
    seen, lander = stored(drop, "bad.csv"), Lander(drop, raw, feed)
    refused = lander.land(seen)
    assert isinstance(refused, RefusedFile)
    assert refused.reason.startswith("lacks the columns order_id, line_number")
    lander.clear(seen, refused)
    assert paths(raw) == []
    assert paths(drop, "store_sales") == []
    aside = tmp_path / "drop/refused/store_sales"
    assert (aside / "bad.csv").read_text() == "a,b\n1,2\n"
    assert (aside / "bad.csv.reason.txt").read_text() == refused.reason + "\n"


def test_a_manifest_tells_names_sizes_checksums_and_paths(drop, raw, feed, folder, tmp_path):
    (folder / "day.csv").write_text(HEADER)
    (folder / "bad.csv").write_text("a,b\n")
    lander = Lander(drop, raw, feed)
    outcomes = [lander.land(stored(drop, name)) for name in ("day.csv", "bad.csv")]
    path = write_manifest(raw, feed, outcomes)
    assert path.startswith("store_sales/_manifests/")
    manifest = json.loads((tmp_path / "raw" / path).read_text())
    (file,), (refused,) = manifest["files"], manifest["refused"]
    assert file == {
        "name": "day.csv",
        "checksum": checksum_of(folder / "day.csv"),
        "size": len(HEADER),
        "path": outcomes[0].path,
    }
    assert (refused["name"], refused["size"]) == ("bad.csv", 4)
    assert paths(raw, "store_sales") == [outcomes[0].path]


def test_a_version_tells_a_rewrite_of_equal_size(drop, folder):
    (folder / "day.csv").write_text("one")
    first = stored(drop, "day.csv")
    time.sleep(0.01)
    (folder / "day.csv").write_text("two")
    assert stored(drop, "day.csv").size == first.size
    assert stored(drop, "day.csv") != first
    assert isinstance(first, StoredFile)
