"""What arrives, taken apart and made readable: archives, UTF-16, bombs, and everything that is wrong with them."""

import gzip
import hashlib
import io
import random
import tracemalloc
import zipfile
from pathlib import Path
from unittest.mock import ANY

import pytest

from tasks import unpacking
from tasks.unpacking import BOMB_BYTES, PIECE_BYTES, Unreadable, checksum_of, read_pieces, unpack

TEXT = "id,name\n1,Größe 😀\n2,\u4e2d\u6587\n"
A, B = b"id\n1\n", b"id\n2\n"
ZEROS = bytes(PIECE_BYTES)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def zipped(tmp_path):
    def zipped(*members: tuple[str, bytes], name: str = "a.zip", method: int = zipfile.ZIP_DEFLATED) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            for member, content in members:
                archive.writestr(member, content)
        return tmp_path / name

    return zipped


@pytest.fixture
def file(tmp_path):
    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return file


def contents(path: Path, encoding: str = "utf-8") -> list[tuple[str, bytes | str]]:
    """Give of each file found its name, and its bytes or else its fault."""
    return [
        (found.name, found.fault or found.path.read_bytes()) for found in unpack(path, path.name, encoding)
    ]


def reasons(path: Path, encoding: str = "utf-8") -> list[str]:
    return [found.fault for found in unpack(path, path.name, encoding)]


def patched(path: Path, old: bytes, new: bytes, count: int = -1) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, count))
    return path


def test_any_other_file_is_left_as_and_where_it_is(file):
    for name, content in {
        "a.csv": A,
        "b.csv.gz": gzip.compress(A),
        "c.csv": b"\xff\xfe",
        "d.csv": b"",
    }.items():
        path = file(name, content)
        (found,) = unpack(path, f"day/{name}", "utf-8")
        assert (found.name, found.checksum, found.size) == (f"day/{name}", digest(content), len(content))
        assert (found.path, found.fault) == (path, "")


def test_each_member_is_a_file_of_its_own(zipped):
    packed = gzip.compress(B)
    path = zipped(("a.csv", A), ("sub/folder/b.csv.gz", packed), ("back\\slash.csv", B))
    found = []
    for member in unpack(path, "day/a.zip", "utf-8"):
        assert member.path.name == member.name.rpartition("/")[2]
        found.append((member.name, member.checksum, member.size, member.path.read_bytes(), member.fault))
    assert found == [
        ("day/a.zip/a.csv", digest(A), len(A), A, ""),
        ("day/a.zip/sub/folder/b.csv.gz", digest(packed), len(packed), packed, ""),
        ("day/a.zip/back/slash.csv", digest(B), len(B), B, ""),
    ]


def test_a_member_is_gone_when_the_next_is_asked_for(zipped):
    members = unpack(zipped(("a.csv", A), ("b.csv", B)), "a.zip", "utf-8")
    first, second = next(members), next(members)
    assert (first.path.exists(), second.path.exists()) == (False, True)
    members.close()
    assert not second.path.exists()


def test_one_member_stored_in_an_archive_with_a_capital_suffix(zipped):
    assert contents(zipped(("a.csv", A), name="a.ZIP", method=zipfile.ZIP_STORED)) == [("a.ZIP/a.csv", A)]


def test_folders_and_what_is_hidden_are_left_out(zipped):
    junk = [
        "folder/",
        "win\\",
        "__MACOSX/._a.csv",
        ".DS_Store",
        "x/.hidden.csv",
        "_SUCCESS",
        "__MACOSX/../b.csv",
    ]
    assert contents(zipped(*((name, b"junk") for name in junk), ("x/a.csv", A))) == [("a.zip/x/a.csv", A)]


def test_an_archive_without_a_file_is_refused_under_its_own_name_and_hash(zipped):
    for path in (zipped(), zipped((".DS_Store", b"x"), ("folder/", b""))):
        (found,) = unpack(path, "a.zip", "utf-8")
        assert (found.name, found.checksum, found.size) == ("a.zip", checksum_of(path), path.stat().st_size)
        assert found.fault.startswith("is an archive without a file.")


def test_what_is_no_archive_or_half_of_one_is_refused(file, zipped):
    assert reasons(file("no.zip", A)) == ["cannot be unpacked (File is not a zip file). Send the file again."]
    assert reasons(file("empty.zip", b"")) == reasons(file("no.zip", A))
    whole = zipped(("a.csv", A), ("b.csv", B)).read_bytes()
    assert reasons(file("half.zip", whole[: len(whole) // 2])) == reasons(file("no.zip", A))


def test_a_member_that_is_said_to_lie_elsewhere_is_refused(zipped):
    """Before the archive (its directory was moved), and far beyond what a disk can hold."""
    said = "cannot be unpacked (it does not lie where its archive says). Send the file again."
    path = zipped(("a.csv", A))
    content = path.read_bytes()
    end = content.rindex(b"PK\5\6")
    directory = int.from_bytes(content[end + 16 : end + 20], "little")
    path.write_bytes(content[: end + 16] + (directory + 9).to_bytes(4, "little") + content[end + 20 :])
    assert reasons(path) == [said]
    for place in (2**50, 2**63, 2**64 - 1):
        path = zipped(("a.csv", A))
        with zipfile.ZipFile(path, "a") as archive:
            archive.filelist[0].header_offset = place
            archive.comment = b"changed"
        assert reasons(path) == [said]


@pytest.mark.parametrize(
    "name", ["../up.csv", "a/../../up.csv", "/root.csv", "\\root.csv", "C:\\a.csv", "..\\up.csv"]
)
def test_a_path_out_of_the_archive_is_refused_and_stops_no_other(zipped, name):
    bad, good = contents(zipped((name, A), ("a.csv", A)))
    assert bad == (f"a.zip/{name}".replace("\\", "/"), ANY)
    assert bad[1].startswith("has a path that leads out of its archive.")
    assert good == ("a.zip/a.csv", A)


def test_a_name_that_no_folder_can_hold_is_refused(zipped):
    for name in ("a" * 201 + ".csv", "ö" * 100 + ".csv", "two\nlines.csv"):
        (reason,) = reasons(zipped((name, A)))
        assert reason.startswith("has a name of control characters, or over 200 bytes.")
    assert reasons(zipped(("ö" * 98 + ".csv", A))) == [""]


def test_an_encrypted_member_is_refused(zipped):
    path = patched(zipped(("a.csv", A)), b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0")
    assert reasons(path) == ["is encrypted. Send it without a password."]


def test_packings_that_cannot_be_read_are_named(zipped, file):
    for method, number in ((zipfile.ZIP_BZIP2, 12), (zipfile.ZIP_LZMA, 14)):
        (reason,) = reasons(zipped(("a.csv", A), method=method))
        assert reason.startswith(
            f"is packed by method {number} of the ZIP format; 0 (stored) and 8 (deflated)"
        )
    for name in ("a.csv.bz2", "a.csv.GZ", "a.csv.zst", "a.csv.7z"):
        (reason,) = reasons(file(name, A))
        assert reason.startswith(f"is packed as {Path(name).suffix}, which cannot be read here.")


def test_an_archive_in_an_archive_is_refused_and_stops_no_other(zipped):
    inner = zipped(("a.csv", A), name="inner.zip").read_bytes()
    (name, reason), good = contents(zipped(("inner.ZIP", inner), ("b.csv", B)))
    assert name == "a.zip/inner.ZIP"
    assert reason == "is packed as .ZIP, which cannot be read here. Send it plain, as .gz or in a .zip."
    assert good == ("a.zip/b.csv", B)


def test_a_damaged_member_is_refused_and_stops_no_other(zipped):
    path = zipped(("a.csv", A), ("b.csv", B), ("c.csv", A), method=zipfile.ZIP_STORED)
    found = list(unpack(patched(path, B, b"id\n3\n"), "a.zip", "utf-8"))
    assert [member.fault for member in found] == [
        "",
        "cannot be unpacked (Bad CRC-32 for file 'b.csv'). Send the file again.",
        "",
    ]
    assert found[1].checksum == digest(f"{checksum_of(path)}/b.csv".encode())
    assert found[1].size == len(B)


def test_a_member_whose_stream_is_broken_is_refused(zipped):
    content = random.Random(1).randbytes(1000).hex().encode()
    path = zipped(("a.csv", content))
    packed = path.read_bytes()
    path.write_bytes(packed[:100] + b"\xff" * 50 + packed[150:])
    (reason,) = reasons(path)
    assert reason.startswith("cannot be unpacked (Error -3 while decompressing data")


def test_too_many_members_are_refused(zipped, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 3)
    three = [(f"{n}.csv", A) for n in range(3)]
    assert reasons(zipped(*three)) == ["", "", ""]
    assert reasons(zipped(*three, ("3.csv", A))) == ["has 4 members, more than 3. Send it in parts."]


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """300 MiB of zeros in a .gz, and in a .zip beside a good file."""
    folder = tmp_path_factory.mktemp("bombs")
    with gzip.open(folder / "bomb.csv.gz", "wb") as file:
        for _ in range(300):
            file.write(ZEROS)
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb.csv", "w") as file:
            for _ in range(300):
                file.write(ZEROS)
        archive.writestr("good.csv", A)
        archive.writestr("bomb.csv.gz", (folder / "bomb.csv.gz").read_bytes())
    return folder


def test_a_gz_bomb_is_read_to_the_limit_and_no_further(bombs):
    path, read = bombs / "bomb.csv.gz", 0
    tracemalloc.start()
    with pytest.raises(Unreadable) as refused:  # noqa: PT012
        for piece in read_pieces(path):
            read += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == BOMB_BYTES
    assert peak < 8 * PIECE_BYTES
    assert str(refused.value).startswith(
        f"unpacks from {path.stat().st_size:,} bytes to {BOMB_BYTES + PIECE_BYTES:,} or more, over 200 times as many"
    )


def test_a_bomb_in_utf16_is_not_written_to_its_end(bombs):
    (reason,) = reasons(bombs / "bomb.csv.gz", "utf-16")
    assert f"to {BOMB_BYTES + PIECE_BYTES:,} or more" in reason


def test_a_bomb_among_members_is_not_unpacked_and_stops_no_other(bombs, monkeypatch):
    opened = []
    really = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile,
        "open",
        lambda self, name, *rest: opened.append(name.filename) or really(self, name, *rest),
    )
    bomb, good, packed = contents(bombs / "bomb.zip")
    with zipfile.ZipFile(bombs / "bomb.zip") as archive:
        size = archive.getinfo("bomb.csv").compress_size
    assert bomb == ("bomb.zip/bomb.csv", ANY)
    assert bomb[1].startswith(f"unpacks from {size:,} bytes to {300 * PIECE_BYTES:,} or more, over 200 times")
    assert good == ("bomb.zip/good.csv", A)
    # As a .gz it stays packed; the check of its header reads it.
    assert packed == ("bomb.zip/bomb.csv.gz", (bombs / "bomb.csv.gz").read_bytes())
    assert opened == ["good.csv", "bomb.csv.gz"]


def test_a_member_that_hides_its_size_is_cut_there(bombs, tmp_path):
    """The directory says 1 MiB; 300 are not written for that."""
    path = tmp_path / "lies.zip"
    path.write_bytes((bombs / "bomb.zip").read_bytes())
    patched(path, (300 * PIECE_BYTES).to_bytes(4, "little"), PIECE_BYTES.to_bytes(4, "little"))
    reason, *_ = reasons(path)
    assert reason == "cannot be unpacked (Bad CRC-32 for file 'bomb.csv'). Send the file again."


def test_many_small_members_can_be_a_bomb_together(zipped, monkeypatch):
    monkeypatch.setattr(unpacking, "BOMB_BYTES", 1 << 20)
    small = [(f"{n}.csv", bytes(900_000)) for n in range(3)]
    assert reasons(zipped(*small[:1])) == [""]
    path = zipped(*small)
    assert reasons(path) == [
        f"unpacks from {path.stat().st_size:,} bytes to 2,700,000 or more, over 200 times as many, and is not "
        "unpacked further. Send it plain if that is right."
    ]


def test_what_is_large_or_packed_well_but_not_both_is_no_bomb(zipped, file, monkeypatch):
    monkeypatch.setattr(unpacking, "BOMB_BYTES", 1 << 20)
    large = random.Random(2).randbytes(3 << 20)
    assert reasons(zipped(("a.csv", large))) == [""]
    assert b"".join(read_pieces(file("a.csv", bytes(3 << 20)))) == bytes(3 << 20)
    assert b"".join(read_pieces(file("a.csv.gz", gzip.compress(large)))) == large
    assert b"".join(read_pieces(file("b.csv.gz", gzip.compress(ZEROS)))) == ZEROS


def utf16(order: str, mark: bool, text: str = TEXT) -> bytes:
    return (("\ufeff" if mark else "") + text).encode(f"utf-16-{order}")


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_becomes_utf8_under_the_hash_of_what_arrived(file, zipped, order, mark):
    came = utf16(order, mark)
    packed = gzip.compress(came, mtime=0)
    paths = file("a.csv", came), file("a.csv.gz", packed), zipped(("x/a.csv", came), ("x/a.csv.gz", packed))
    found = []
    for path in paths:
        for one in unpack(path, path.name, "utf-16"):
            assert one.path.read_bytes() == TEXT.encode()
            assert one.path.name == "a.csv"
            found.append((one.name, one.checksum, one.size, one.fault))
    plain, gz = (digest(came), len(came), ""), (digest(packed), len(packed), "")
    names = ["a.csv", "a.csv.gz", "a.zip/x/a.csv", "a.zip/x/a.csv.gz"]
    assert found == [(name, *facts) for name, facts in zip(names, [plain, gz, plain, gz], strict=True)]
    assert paths[0].read_bytes() == came


@pytest.mark.parametrize("piece", [2, 3, 6, PIECE_BYTES])
def test_utf16_is_read_in_pieces_that_part_characters(file, monkeypatch, piece):
    monkeypatch.setattr(unpacking, "PIECE_BYTES", piece)
    text = "\U0001f600" * (50 if piece < PIECE_BYTES else piece)  # four bytes each, after a mark of two
    for order in ("le", "be"):
        assert contents(file("a.csv", utf16(order, True, text)), "utf-16") == [("a.csv", text.encode())]


def test_byte_order_without_a_mark_follows_the_zeros_of_the_start(file):
    cyrillic = "Ѐ" * 20 + ",1\n"  # U+0400: its zero bytes are where those of Latin text are not
    latin = cyrillic + "column,names,of,every,kind,with,more,letters\n"
    assert contents(file("a.csv", utf16("le", False, latin)), "utf-16") == [("a.csv", latin.encode())]
    assert contents(file("a.csv", utf16("be", False, latin)), "utf-16") == [("a.csv", latin.encode())]


def test_a_second_mark_is_text_and_an_empty_file_stays_empty(file):
    assert contents(file("a.csv", utf16("le", True, "\ufeffa")), "utf-16") == [("a.csv", "\ufeffa".encode())]
    assert contents(file("a.csv", utf16("be", True, "")), "utf-16") == [("a.csv", b"")]
    assert contents(file("a.csv", b""), "utf-16") == [("a.csv", b"")]


LONE = b"\x00\xd8"
LONG = 3 * PIECE_BYTES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (utf16("le", True, "abc") + b"x", "at byte 8 (truncated data)"),
        (b"a", "at byte 0 (truncated data)"),
        (utf16("le", True, "abc") + LONE + utf16("le", False, "d"), "at byte 8 (illegal UTF-16 surrogate)"),
        (utf16("le", False, "abc") + LONE, "at byte 6 (unexpected end of data)"),
        (utf16("le", False, "abc") + LONE + b"x", "at byte 6 (unexpected end of data)"),
        (utf16("be", True, "a") + b"\xdc\x00", "at byte 4 (illegal encoding)"),
        (b"a\0" * (LONG // 2) + LONE + b"a\0", f"at byte {LONG} (illegal UTF-16 surrogate)"),
        (b"a\0" * (LONG // 2 - 1) + LONE + b"a\0", f"at byte {LONG - 2} (illegal UTF-16 surrogate)"),
    ],
)
def test_broken_utf16_is_refused_naming_the_byte(file, zipped, content, said):
    sentence = f"is not utf-16 {said}. Send the file again."
    assert reasons(file("a.csv", content), "utf-16") == [sentence]
    assert reasons(file("a.csv.gz", gzip.compress(content)), "utf-16") == [sentence]
    found = list(unpack(zipped(("a.csv", content), ("b.csv", utf16("le", True))), "a.zip", "utf-16"))
    assert [(one.checksum, one.fault) for one in found] == [
        (digest(content), sentence),
        (digest(utf16("le", True)), ""),
    ]


def test_a_damaged_gz_is_refused_when_it_is_read(file):
    packed = gzip.compress(utf16("le", True, TEXT * 1000))
    for name, content in {
        "half": packed[:-20],
        "crc": packed[:-8] + b"0000" + packed[-4:],
        "none": A,
    }.items():
        (reason,) = reasons(file(f"{name}.csv.gz", content), "utf-16")
        assert reason.startswith("cannot be unpacked ("), name


def test_a_full_disk_is_no_fault_of_the_file(zipped, monkeypatch):
    """A refusal would throw away what a second try would land."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpacking.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        reasons(zipped(("a.csv", A)))


def test_damaged_archives_of_every_kind_give_reasons_and_never_an_error(file):
    """Bytes are changed at random: whatever the library makes of it, it is told as a reason."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("stored.csv", A * 20, zipfile.ZIP_STORED)
        archive.writestr("x/deflated.csv", B * 20, zipfile.ZIP_DEFLATED)
    whole, rng, refused = packed.getvalue(), random.Random(3), 0
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.choice([0, 255, rng.randrange(256)])
        refused += any(reasons(file("a.zip", bytes(content[: rng.choice([None, None, len(whole) - 5])]))))
    assert refused > 150
