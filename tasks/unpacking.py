"""Unpacking: what arrived becomes files that Spark can read, one at a time, in pieces of 1 MiB.

Spark reads plain files and .gz, in UTF-8 or an encoding of single bytes. So a .zip is taken apart, each member
a file of its own, and UTF-16 is written anew as UTF-8; every other file stays as it is, and where it is.
"""

import codecs
import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import IO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from blocks.csv_sample import utf16_byte_order
from blocks.paths import is_hidden

PIECE_BYTES = 1 << 20
# Sales lines shrink six to nine times (Online Retail, our generator). What is small may shrink as it likes.
BOMB_RATIO, BOMB_BYTES = 200, 100 << 20
MOST_MEMBERS = 10_000
# Raw storage may be a folder, where a name has at most 255 bytes, a few of which are wanted while it is written.
LONGEST_NAME = 200
# Of the other methods zipfile unpacks a piece whole, however large it gets.
METHODS = {ZIP_STORED, ZIP_DEFLATED}
ENCRYPTED = 0x1
# Hadoop would unpack some of these by their name, and stop the batch over one that is something else inside.
OTHER_PACKINGS = {
    ".7z", ".bz2", ".deflate", ".gz", ".lz4", ".rar", ".snappy", ".tar", ".tgz", ".xz", ".zip", ".zst",
}  # fmt: skip
# What the standard library raises over a damaged .gz or .zip. Not OSError: a full disk is no fault of the file.
DAMAGED = (gzip.BadGzipFile, BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


class Unreadable(Exception):
    """A file that cannot be read; the text says why, and what to do, in words that go on from its name."""


@dataclass(frozen=True)
class Unpacked:
    """A file as it arrived (name, hash of its bytes, size) and `path`, where it lies as Spark can read it.

    With a `fault` it cannot be read, and `path` says nothing.
    """

    name: str
    checksum: str
    size: int
    path: Path
    fault: str = ""


def unpack(path: Path, name: str, encoding: str) -> Iterator[Unpacked]:
    """Give the files in a file that arrived under this name; each is gone when the next is asked for.

    A .zip gives its members as `<name>/<member>`, without those that are hidden, or itself with a fault if it
    cannot be opened. A member's fault does not hold up the others. Any other file gives itself.
    """
    if path.suffix.lower() == ".zip":
        yield from _unpack_archive(path, name, encoding)
        return
    with TemporaryDirectory(prefix="unpacked-") as folder:
        yield _made_readable(path, name, encoding, Path(folder))


def checksum_of(path: Path) -> str:
    """Hash a file's bytes with SHA-256, in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_pieces(path: Path) -> Iterator[bytes]:
    """Read a file in pieces of 1 MiB, unpacking a .gz on the way.

    Raises Unreadable where the file turns out to be damaged, or a bomb.
    """
    packed = path.stat().st_size
    with _opened(path) as file, _damage_told():
        while piece := file.read(PIECE_BYTES):
            _refuse_bomb(packed, file.tell())
            yield piece


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise Unreadable(f"cannot be unpacked ({error}). Send the file again.") from error


def _is_bomb(packed: int, unpacked: int) -> bool:
    return unpacked > max(BOMB_BYTES, BOMB_RATIO * packed)


def _refuse_bomb(packed: int, unpacked: int) -> None:
    if _is_bomb(packed, unpacked):
        raise Unreadable(
            f"unpacks from {packed:,} bytes to {unpacked:,} or more, over {BOMB_RATIO} times as many, and is not "
            "unpacked further. Send it plain if that is right."
        )


def _unpack_archive(path: Path, name: str, encoding: str) -> Iterator[Unpacked]:
    checksum, size = checksum_of(path), path.stat().st_size
    with ExitStack() as until_done:
        try:
            with _damage_told():
                archive = until_done.enter_context(ZipFile(path))
            members = _wanted_members(archive.infolist(), size)
        except Unreadable as fault:
            yield Unpacked(name, checksum, size, path, str(fault))
            return
        for member in members:
            inside = PureWindowsPath(member.filename)  # which knows both kinds of slashes
            label = f"{name}/{inside.as_posix()}"
            with TemporaryDirectory(prefix="unpacked-") as folder:
                try:
                    local = _extract(archive, member, Path(folder) / inside.name)
                except Unreadable as fault:
                    # Its bytes cannot be had: it is known by its archive's and its place in it.
                    stand_in = hashlib.sha256(f"{checksum}/{member.filename}".encode()).hexdigest()
                    yield Unpacked(label, stand_in, member.file_size, path, str(fault))
                else:
                    yield _made_readable(local, label, encoding, Path(folder))


def _wanted_members(listed: list[ZipInfo], size: int) -> list[ZipInfo]:
    """Give the members to unpack. Raises Unreadable if there is none, or too much in too small an archive."""
    if len(listed) > MOST_MEMBERS:
        raise Unreadable(f"has {len(listed):,} members, more than {MOST_MEMBERS:,}. Send it in parts.")
    wanted = [member for member in listed if _is_wanted(member)]
    if not wanted:
        raise Unreadable("is an archive without a file. Send it again, or remove it if there were no sales.")
    # Members may share their bytes, each being no bomb by itself. Those that are will be refused alone.
    _refuse_bomb(size, sum(m.file_size for m in wanted if not _is_bomb(m.compress_size, m.file_size)))
    return wanted


def _is_wanted(member: ZipInfo) -> bool:
    inside = PureWindowsPath(member.filename)
    is_folder = member.filename.endswith(("/", "\\"))
    return not is_folder and not is_hidden(PurePath(*(part for part in inside.parts if part != "..")))


def _extract(archive: ZipFile, member: ZipInfo, target: Path) -> Path:
    """Unpack a member to `target`. Raises Unreadable if it must not, or cannot, be unpacked."""
    inside = PureWindowsPath(member.filename)
    if inside.anchor or ".." in inside.parts or not inside.name:
        raise Unreadable("has a path that leads out of its archive. Pack it again below one folder.")
    if len(inside.name.encode()) > LONGEST_NAME or any(char < " " for char in inside.name):
        raise Unreadable(f"has a name of control characters, or over {LONGEST_NAME} bytes. Rename it.")
    if member.flag_bits & ENCRYPTED:
        raise Unreadable("is encrypted. Send it without a password.")
    if member.compress_type not in METHODS:
        raise Unreadable(
            f"is packed by method {member.compress_type} of the ZIP format; 0 (stored) and 8 (deflated) can be "
            "read. Pack it again with one of these."
        )
    if not 0 <= member.header_offset < archive.start_dir:  # zipfile would go there, and fail as on a bad disk
        raise Unreadable("cannot be unpacked (it does not lie where its archive says). Send the file again.")
    # No more is unpacked than the archive says, whatever there is; what was cut off then shows in the CRC.
    _refuse_bomb(member.compress_size, member.file_size)
    with target.open("wb") as file, _damage_told(), archive.open(member) as unpacked:
        shutil.copyfileobj(unpacked, file, PIECE_BYTES)
    return target


def _made_readable(path: Path, name: str, encoding: str, folder: Path) -> Unpacked:
    """Make of a file that is no archive what Spark can read, below `folder` if it is not so already."""
    checksum, size = checksum_of(path), path.stat().st_size
    try:
        _refuse_other_packings(path)
        readable = _written_as_utf8(path, folder / "utf-8") if encoding == "utf-16" else path
    except Unreadable as fault:
        return Unpacked(name, checksum, size, path, str(fault))
    return Unpacked(name, checksum, size, readable)


def _refuse_other_packings(path: Path) -> None:
    if path.suffix != ".gz" and path.suffix.lower() in OTHER_PACKINGS:
        raise Unreadable(
            f"is packed as {path.suffix}, which cannot be read here. Send it plain, as .gz or in a .zip."
        )


def _written_as_utf8(path: Path, folder: Path) -> Path:
    """Write a UTF-16 file, plain or .gz, to `folder` as plain UTF-8. Raises Unreadable if it is not UTF-16."""
    folder.mkdir()
    target = folder / path.name.removesuffix(".gz")
    with target.open("wb") as file:
        for text in _read_utf16(path):
            file.write(text.encode())
    return target


def _read_utf16(path: Path) -> Iterator[str]:
    """Read a file's text in pieces, without its byte order mark. Raises Unreadable at the first broken byte."""
    pieces = read_pieces(path)
    first, read = next(pieces, b""), 0
    decoder = codecs.getincrementaldecoder(utf16_byte_order(first))()
    for piece in chain([first], pieces, [b""]):
        kept = len(decoder.getstate()[0])  # half a character, from the piece before
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise Unreadable(
                f"is not utf-16 at byte {read - kept + error.start} ({error.reason}). Send the file again."
            ) from error
        yield text if read else text.removeprefix("\ufeff")
        read += len(piece)
