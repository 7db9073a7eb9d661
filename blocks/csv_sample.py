"""The first lines of a CSV file that nobody has declared yet: unpacked, decoded and split into columns.

Everything is found by trying: an encoding decodes the sample, a delimiter splits its lines alike.
"""

import codecs
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, cast
from zipfile import BadZipFile, ZipFile

from blocks.errors import WillNotHeal
from blocks.feeds import Encoding
from blocks.paths import is_hidden

SAMPLE_LINES = 10_000
SAMPLE_BYTES = 4 << 20
DIALECT_LINES = 1_000
DELIMITERS = (",", ";", "\t", "|")
QUOTES = ('"', "", "'")  # of equally good ones the first
END_OF_LINE = re.compile(r"\r\n|\r|\n")  # as Spark sees it
# No text has these; the others below the space are tabs and ends of lines and pages.
NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x19\x1c-\x1f]")
PLAIN_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
NUMBER_OR_TIME = re.compile(r"(?:\d|[^\w]|_)*\d(?:\d|[^\w]|_)*")  # no letter, but a digit
BYTE_ORDER_MARKS: tuple[tuple[bytes, Encoding], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DAMAGED = (gzip.BadGzipFile, BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Dialect:
    """How lines are split: between `delimiter`s, but not within `quote`s ("" if there are none)."""

    delimiter: str
    quote: str

    def split(self, line: str) -> list[str] | None:
        """Split a line into its fields as the batch job does (RFC 4180); None if its quotes are broken."""
        if not self.quote or self.quote not in line:
            return line.split(self.delimiter)
        intact, field = self._forms
        if not intact.fullmatch(line):
            return None
        return [self._unquoted(found) for found in field.findall(line)]

    @cached_property
    def _forms(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Give the forms of an intact line and of each of its fields."""
        delimiter, quote = re.escape(self.delimiter), re.escape(self.quote)
        # Possessive: every character is tried once, however broken the line.
        field = f"(?:{quote}[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+{quote}|[^{quote}{delimiter}]*+)"
        return re.compile(f"{field}(?:{delimiter}{field})*+"), re.compile(f"(?:^|{delimiter})({field})")

    def _unquoted(self, field: str) -> str:
        return field[1:-1].replace(self.quote * 2, self.quote) if field.startswith(self.quote) else field


@dataclass(frozen=True)
class FileColumn:
    """A column of the file: its name, trimmed, and its values in the sample, trimmed, without the empty ones."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """What is known of a file from its first lines.

    `header` says if the first line names the columns; without one they are called column_1, column_2, …
    `lines` counts the data lines, `broken` those that are not split into as many fields as there are columns.
    """

    encoding: Encoding
    dialect: Dialect
    header: bool
    columns: tuple[FileColumn, ...]
    lines: int
    broken: int


def read_sample(path: Path) -> Sample:
    """Look at the first 10,000 lines of a CSV file, plain, .gz or .zip with one member.

    Raises WillNotHeal if there is no such file, or it is empty, damaged, no text or not separated into columns.
    """
    data = _first_bytes(path)
    encoding = _encoding(data)
    lines = _lines(path, data, encoding)
    dialect, width = _dialect(path, lines)
    split = [dialect.split(line) for line in lines]
    rows = [[field.strip() for field in fields] for fields in split if fields and len(fields) == width]
    header = _is_header(rows[0]) and split[0] is not None and len(split[0]) == width
    names = rows[0] if header else [f"column_{number}" for number in range(1, width + 1)]
    data_rows = rows[header:]
    columns = tuple(
        FileColumn(name, tuple(row[place] for row in data_rows if row[place]))
        for place, name in enumerate(names)
    )
    return Sample(encoding, dialect, header, columns, len(lines) - header, len(lines) - len(rows))


def _first_bytes(path: Path) -> bytes:
    try:
        with _opened(path) as file:
            return file.read(SAMPLE_BYTES)
    except DAMAGED as error:
        raise WillNotHeal(f"{path} cannot be unpacked ({error}); give a whole .gz or .zip file.") from error
    except OSError as error:
        raise WillNotHeal(f"{path} cannot be read: {error.strerror or error}.") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix.lower() == ".zip":
        with ZipFile(path) as archive, archive.open(_only_member(path, archive)) as member:
            yield member
    elif path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            yield cast(IO[bytes], file)
    else:
        with path.open("rb") as file:
            yield file


def _only_member(path: Path, archive: ZipFile) -> str:
    """Name the one file of an archive, not counting those that are hidden (as macOS adds them)."""
    found = [
        member.filename
        for member in archive.infolist()
        if not member.is_dir() and not is_hidden(PurePosixPath(member.filename))
    ]
    if len(found) != 1:
        shown = f": {', '.join(sorted(found)[:5])}" if found else ""
        raise WillNotHeal(
            f"{path} has {len(found)} files{shown}; give a .zip with exactly one, or unpack it and give one file."
        )
    return found[0]


def _encoding(data: bytes) -> Encoding:
    """Tell the encoding by its byte order mark, by UTF-16's zero bytes, or by what UTF-8 does not allow."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding
    zeros = sorted((data[::2].count(0), data[1::2].count(0)))
    if zeros[1] > len(data) // 5 and zeros[0] <= len(data) // 50:
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)  # which forgives a character that is cut off
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"


def utf16_byte_order(start: bytes) -> str:
    """Name the codec of a UTF-16 text by its mark, else by which half of its characters is zero more often."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if start.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    return "utf-16-be" if start[::2].count(0) > start[1::2].count(0) else "utf-16-le"


def _lines(path: Path, data: bytes, encoding: Encoding) -> list[str]:
    codec = utf16_byte_order(data) if encoding == "utf-16" else encoding
    text = codecs.getincrementaldecoder(codec)("replace").decode(data).removeprefix("\ufeff")
    strange = NOT_TEXT.findall(text)
    if "\0" in strange or len(strange) > len(text) // 100:
        raise WillNotHeal(
            f"{path} holds bytes that no text has (0x{ord(strange[0]):02x} and others), so it is no CSV file; save it "
            "as CSV in UTF-8, and let its name end with .gz or .zip if it is packed."
        )
    found = END_OF_LINE.split(text)
    if len(data) == SAMPLE_BYTES and len(found) > 1:
        found.pop()  # cut off
    lines = [line for line in found if line][:SAMPLE_LINES]
    if not lines:
        raise WillNotHeal(f"{path} is empty; a draft needs a file with a header or some lines.")
    return lines


def _dialect(path: Path, lines: Sequence[str]) -> tuple[Dialect, int]:
    """Find the delimiter and quote that split most lines alike, and into how many fields.

    A line in which something is quoted counts twice. Of equally good ones those win that leave more of the
    fields plain numbers (1,50 is one, 50;2 is none), then those that make more fields.
    """
    sample = lines[:DIALECT_LINES]
    found = []
    for dialect in (Dialect(delimiter, quote) for quote in QUOTES for delimiter in DELIMITERS):
        rows = [fields for line in sample if (fields := dialect.split(line)) and len(fields) > 1]
        if rows:
            ((width, alike),) = Counter(map(len, rows)).most_common(1)
            merit = (alike + _quoted(sample, dialect), _plain_numbers(rows), width)
            found.append((merit, dialect, width))
    if not found:
        raise WillNotHeal(
            f"{path} has one column only: none of the delimiters , ; | and tab parts its lines; save it as CSV "
            "with one of these."
        )
    _, dialect, width = max(found, key=lambda one: one[0])
    return dialect, width


def _quoted(lines: Sequence[str], dialect: Dialect) -> int:
    """Count the lines with a field in quotes."""
    if not dialect.quote:
        return 0
    delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
    quoted = re.compile(f"(?:^|{delimiter}){quote}[^{quote}]*{quote}(?:{delimiter}|$)")
    return sum(bool(quoted.search(line)) for line in lines)


def _plain_numbers(rows: Sequence[Sequence[str]]) -> float:
    """Give the share of fields that are a number, with or without a fraction."""
    fields = [field.strip() for row in rows for field in row]
    return sum(bool(PLAIN_NUMBER.fullmatch(field)) for field in fields) / len(fields)


def _is_header(row: Sequence[str]) -> bool:
    """Say whether a line names columns: it has names, and no field of digits and marks alone."""
    return any(row) and not any(NUMBER_OR_TIME.fullmatch(field) for field in row)
