"""Landing from folder to folder: what is copied, what waits, what is refused, and that nothing is lost."""

import gzip
import hashlib
import json
import threading
import time
import zipfile

import pytest
from prefect.filesystems import LocalFileSystem

from blocks.feeds import load_feed
from blocks.storage import StoredFile, list_files, look
from tasks import landing
from tasks.arrival import settled_files
from tasks.landing import LandedFile, Lander, RefusedFile, raw_name, write_manifest
from tasks.unpacking import checksum_of

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
    (landed,) = Lander(drop, raw, feed).land(stored(drop, "day.csv"))
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
        threading.Thread(target=lambda n=n: landed.extend(lander.land(stored(drop, f"{n}.csv"))))
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
    assert Lander(drop, raw, feed).land(seen) == []
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
    (refused,) = lander.land(seen)
    assert isinstance(refused, RefusedFile)
    assert refused.reason.startswith("lacks the columns country, currency, ")
    lander.clear(seen, [refused])
    assert paths(raw) == []
    assert paths(drop, "store_sales") == []
    aside = tmp_path / "drop/refused/store_sales"
    assert (aside / "bad.csv").read_text() == "a,b\n1,2\n"
    assert (aside / "bad.csv.reason.txt").read_text() == refused.reason + "\n"


def test_a_manifest_tells_names_sizes_checksums_and_paths(drop, raw, feed, folder, tmp_path):
    (folder / "day.csv").write_text(HEADER)
    (folder / "bad.csv").write_text("a,b\n")
    lander = Lander(drop, raw, feed)
    outcomes = [outcome for name in ("day.csv", "bad.csv") for outcome in lander.land(stored(drop, name))]
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


LINE = "A1,1,P1,Lamp,Home,C1,consumer,Spain,2,9.99,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z\n"
ONE, TWO, BAD = HEADER, HEADER + LINE, "a,b\n1,2\n"
PACKED = gzip.compress(HEADER.encode() + b"\n", mtime=0)


def digest(content):
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def home_of(content):
    return f"store_sales/{digest(content)[:16]}"


def test_an_archive_gives_an_outcome_for_each_member(drop, raw, feed, folder, tmp_path):
    zipped(folder / "day.csv.zip", one_csv=ONE, bad_csv=BAD, two_csv=TWO, packed_csv_gz=PACKED)
    seen, lander = stored(drop, "day.csv.zip"), Lander(drop, raw, feed)
    one, bad, two, packed = outcomes = lander.land(seen)
    landed = {"one.csv": (one, ONE), "two.csv": (two, TWO), "packed.csv.gz": (packed, PACKED)}
    for name, (outcome, content) in landed.items():
        path = f"{home_of(content)}/{name}"
        assert outcome == LandedFile(f"day.csv.zip/{name}", digest(content), len(content), path)
        expected = content if isinstance(content, bytes) else content.encode()
        assert (tmp_path / "raw" / path).read_bytes() == expected
    assert (bad.name, bad.checksum, bad.size) == ("day.csv.zip/bad.csv", digest(BAD), len(BAD))
    assert bad.reason.startswith("lacks the columns country")
    lander.clear(seen, outcomes)
    assert paths(drop, "store_sales") == []
    aside = tmp_path / "drop/refused/store_sales/day.csv.zip"
    with zipfile.ZipFile(aside) as archive:
        assert len(archive.namelist()) == 4
    assert aside.with_name("day.csv.zip.reason.txt").read_text() == f"{bad.name} {bad.reason}\n"


def test_an_archive_of_good_members_leaves_nothing_behind(drop, raw, feed, folder):
    (folder / "sub").mkdir()
    zipped(folder / "sub/day.csv.zip", one_csv=ONE)
    seen, lander = stored(drop, "sub/day.csv.zip"), Lander(drop, raw, feed)
    outcomes = lander.land(seen)
    assert [outcome.name for outcome in outcomes] == ["sub/day.csv.zip/one.csv"]
    lander.clear(seen, outcomes)
    assert paths(drop) == []


def test_an_archive_that_cannot_be_opened_is_refused_as_one_file(drop, raw, feed, folder, tmp_path):
    (folder / "day.csv.zip").write_text("no archive")
    seen, lander = stored(drop, "day.csv.zip"), Lander(drop, raw, feed)
    (refused,) = outcomes = lander.land(seen)
    assert (refused.name, refused.checksum, refused.size) == ("day.csv.zip", digest("no archive"), 10)
    lander.clear(seen, outcomes)
    note = tmp_path / "drop/refused/store_sales/day.csv.zip.reason.txt"
    assert note.read_text() == "cannot be unpacked (File is not a zip file). Send the file again.\n"


def test_the_same_content_in_an_archive_and_plain_is_one_file(drop, raw, feed, folder):
    (folder / "plain.csv").write_text(ONE)
    zipped(folder / "a.csv.zip", other_csv=ONE, again_csv=ONE)
    zipped(folder / "b.csv.zip", other_csv=ONE, two_csv=TWO)
    lander = Lander(drop, raw, feed)
    outcomes = [
        o for name in ("plain.csv", "a.csv.zip", "b.csv.zip") for o in lander.land(stored(drop, name))
    ]
    same = [o for o in outcomes if o.checksum == digest(ONE)]
    assert len(same) == 4
    assert {o.path for o in same} == {f"{home_of(ONE)}/plain.csv"}
    assert set(paths(raw)) == {f"{home_of(ONE)}/plain.csv", f"{home_of(TWO)}/two.csv"}


def test_the_same_archive_again_is_the_same_files(drop, raw, feed, folder):
    lander, rounds = Lander(drop, raw, feed), []
    for _ in range(2):
        zipped(folder / "day.csv.zip", one_csv=ONE, two_csv=TWO, bad_csv=BAD)
        seen = stored(drop, "day.csv.zip")
        rounds.append(lander.land(seen))
        lander.clear(seen, rounds[-1])
    assert rounds[0] == rounds[1]
    assert len(paths(raw)) == 2
    assert paths(drop, "store_sales") == []
    assert len(paths(drop, "refused")) == 2


@pytest.mark.parametrize("killed_at", range(6))
def test_an_archive_survives_a_kill_at_every_step(drop, raw, feed, folder, monkeypatch, killed_at):
    """Uploads: two members, the archive set aside, its reason; then the delete. After the last nothing is left."""

    class Killed(BaseException):
        pass

    def killing(step):
        def run(*arguments):
            steps.append(step)
            if len(steps) > killed_at:
                raise Killed
            return step(*arguments)

        return run

    zipped(folder / "day.csv.zip", one_csv=ONE, bad_csv=BAD, two_csv=TWO)
    seen, steps = stored(drop, "day.csv.zip"), []
    with monkeypatch.context() as patch:
        for name in ("upload", "delete"):
            patch.setattr(landing, name, killing(getattr(landing, name)))
        try:
            lander = Lander(drop, raw, feed)
            lander.clear(seen, lander.land(seen))
        except Killed:
            assert stored(drop, "day.csv.zip") == seen
        else:
            assert killed_at == 5
            assert stored(drop, "day.csv.zip") is None
            zipped(folder / "day.csv.zip", one_csv=ONE, bad_csv=BAD, two_csv=TWO)
            seen = stored(drop, "day.csv.zip")
    lander = Lander(drop, raw, feed)
    one, bad, two = outcomes = lander.land(seen)
    lander.clear(seen, outcomes)
    assert (one.path, two.path) == (f"{home_of(ONE)}/one.csv", f"{home_of(TWO)}/two.csv")
    assert set(paths(raw)) == {one.path, two.path}
    assert paths(drop) == ["refused/store_sales/day.csv.zip", "refused/store_sales/day.csv.zip.reason.txt"]
    assert isinstance(bad, RefusedFile)


def test_an_archive_that_changes_while_it_is_copied_is_left_for_later(drop, raw, feed, folder):
    seen = stored(drop, zipped(folder / "day.csv.zip", one_csv=ONE).name)
    zipped(folder / "day.csv.zip", one_csv=ONE, two_csv=TWO)
    assert Lander(drop, raw, feed).land(seen) == []
    assert paths(raw) == []


def test_utf16_lands_as_utf8_under_the_hash_of_what_arrived(drop, raw, feed, folder, tmp_path):
    wide = feed.model_copy(update={"encoding": "utf-16"})
    came = TWO.encode("utf-16")
    (folder / "plain.csv").write_bytes(came)
    (folder / "packed.csv.gz").write_bytes(gzip.compress(came, mtime=0))
    zipped(folder / "day.csv.zip", member_csv=came, broken_csv=came[:-1])
    lander = Lander(drop, raw, wide)
    (packed,) = lander.land(stored(drop, "packed.csv.gz"))
    member, broken = lander.land(stored(drop, "day.csv.zip"))
    (plain,) = lander.land(stored(drop, "plain.csv"))
    assert (packed.checksum, packed.path.rpartition("/")[2]) == (
        digest(gzip.compress(came, mtime=0)),
        "packed.csv",
    )
    assert (member.checksum, member.size, member.path) == (
        digest(came),
        len(came),
        f"{home_of(came)}/member.csv",
    )
    assert (plain.name, plain.checksum, plain.path) == ("plain.csv", digest(came), member.path)
    assert [(tmp_path / "raw" / path).read_text() for path in paths(raw)] == [TWO, TWO]
    assert broken.reason == f"is not utf-16 at byte {len(came) - 2} (truncated data). Send the file again."


def test_names_in_raw_storage_tell_how_to_read_what_is_there(drop, raw, feed, folder):
    """Spark goes by the name: a .gz stays one, another packing is never stored."""
    (folder / "day.csv.gz").write_bytes(PACKED)
    (folder / "day.csv.bz2").write_text(ONE)
    lander = Lander(drop, raw, feed)
    (landed,), (refused,) = (lander.land(stored(drop, name)) for name in ("day.csv.gz", "day.csv.bz2"))
    assert landed.path == f"{home_of(PACKED)}/day.csv.gz"
    assert refused.reason.startswith("is packed as .bz2")
    assert paths(raw) == [landed.path]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("day 1 (ü) %20 [x] {y}*?.csv.gz", "day 1 (ü) %20 [x] {y}*?.csv.gz"),
        ("10:30\\a\nb\x00.csv", "10-30-a-b-.csv"),
        ("é" * 120 + ".csv.gz", "é" * 96 + ".csv.gz"),
        ("x" * 300 + "_" * 196 + ".csv", ".csv".lstrip(".")),
    ],
)
def test_a_name_in_raw_storage_is_one_that_spark_reads(name, kept):
    assert raw_name(name) == kept
