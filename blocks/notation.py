"""How values are written: the marks in numbers, and the datetime patterns (Spark's) of times.

Found by trying: a notation is right for values that it reads.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from itertools import chain, islice

# Of a column, so many must be readable: a file has some wrong values, and is still what it is.
MOSTLY = 0.95
FEWEST = 0.01  # a pattern that reads fewer of them is that of wrong values
DAY_FIRST, MONTH_FIRST = "day first", "month first"

MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
FIELDS = {
    "yyyy": r"(?:19|20)\d\d", "yy": r"\d\d",
    "MMM": f"(?i:{MONTHS})", "MM": r"1[0-2]|0[1-9]", "M": r"1[0-2]|0?[1-9]",
    "dd": r"3[01]|[12]\d|0[1-9]", "d": r"3[01]|[12]\d|0?[1-9]",
    "HH": r"2[0-3]|[01]\d", "H": r"2[0-3]|[01]?\d", "hh": r"1[0-2]|0[1-9]", "h": r"1[0-2]|0?[1-9]",
    "mm": r"[0-5]\d", "ss": r"[0-5]\d", "SSSSSS": r"\d{1,6}", "SSSSSSSSS": r"\d{7,9}", "a": r"(?i:[ap]m)",
    "XXX": r"Z|[+-]\d\d:\d\d", "XX": r"Z|[+-]\d{4}", "X": r"Z|[+-]\d\d",
}  # fmt: skip
DATES = (
    "yyyy-M-d", "yyyy/M/d", "yyyy.M.d", "yyyyMMdd", "d.M.yyyy", "d/M/yyyy", "M/d/yyyy", "d-M-yyyy", "M-d-yyyy",
    "d.M.yy", "d/M/yy", "M/d/yy", "d-M-yy", "M-d-yy", "d-MMM-yyyy", "d MMM yyyy", "d-MMM-yy", "MMM d, yyyy",
)  # fmt: skip
TIMES = ("H:mm", "H:mm:ss", "H:mm:ss.SSSSSS", "H:mm:ss.SSSSSSSSS", "h:mm a", "h:mm:ss a", "HHmmss")
ZONES = ("", "XXX", " XXX", "XX", " XX", "X")
RESTS = (
    "",
    "HHmmss",
    *(f"{gap}{time}{zone}" for gap in (" ", "'T'", ", ") for time in TIMES for zone in ZONES),
)


@dataclass(frozen=True)
class Marks:
    """The marks in a feed's numbers; `thousands` is "" where there is none."""

    decimal: str
    thousands: str

    def read(self, text: str) -> Decimal | None:
        """Read a number; None if it is not written with these marks."""
        if not _number(self).fullmatch(text):
            return None
        digits = text.replace(self.thousands, "") if self.thousands else text
        return Decimal(digits.replace(self.decimal, "."))

    def read_most(self, values: Sequence[str]) -> bool:
        """Say whether nearly all values are numbers written with these marks."""
        readable = _number(self)
        may_fail = int((1 - MOSTLY) * len(values))
        failing = (value for value in values if not readable.fullmatch(value))
        return next(islice(failing, may_fail, None), None) is None


# Those that are asked first win where others read as much.
MARKS = (
    Marks(".", ""), Marks(",", ""), Marks(".", ","), Marks(",", "."), Marks(",", " "), Marks(",", "\u00a0"),
    Marks(",", "\u202f"), Marks(".", "'"), Marks(".", " "), Marks(",", "'"), Marks(".", "\u00a0"), Marks(".", "\u202f"),
)  # fmt: skip


@dataclass(frozen=True)
class Times:
    """The datetime patterns that a column's values need, the most frequent first, each with an example.

    `doubt` says in words why day and month may be the other way round; "" if they cannot.
    """

    examples: dict[str, str]
    doubt: str = ""


def find_marks(columns: Iterable[Sequence[str]]) -> tuple[Marks, str]:
    """Find the marks with which most columns are numbers; and a value that may be read otherwise, "" if none may."""
    distinct = [list(dict.fromkeys(values)) for values in columns if values]
    numeric = {marks: [values for values in distinct if marks.read_most(values)] for marks in MARKS}
    merits = {marks: (len(read), sum(map(len, read))) for marks, read in numeric.items()}
    best = max(MARKS, key=lambda marks: merits[marks])
    rivals = [marks for marks in MARKS if merits[marks] == merits[best]]
    doubtful = (
        value for value in chain(*numeric[best]) if len({marks.read(value) for marks in rivals} - {None}) > 1
    )
    return best, next(doubtful, "")


def is_time(values: Sequence[str]) -> bool:
    """Say whether nearly all values of a column are times in a notation that is known here."""
    distinct = list(dict.fromkeys(values))
    if not distinct:
        return False
    unread = sum(len(values) for patterns, values in _grouped(distinct) if not patterns)
    return unread <= (1 - MOSTLY) * len(distinct)


def find_times(values: Iterable[str]) -> Times:
    """Find the datetime patterns that read these times.

    Of day and month the order is told by a number above 12, in whatever pattern. Failing that, the order is
    taken in which the times lie closer together, as those of one file do; `doubt` then says so.
    """
    distinct = list(dict.fromkeys(values))
    groups = [group for group in _grouped(distinct) if group[0] and len(group[1]) >= FEWEST * len(distinct)]
    groups.sort(key=lambda group: -len(group[1]))
    orders = [{_order(pattern) for pattern in patterns} for patterns, _ in groups]
    certain = set().union(*(found for found in orders if len(found) == 1)) - {""}
    doubts = ["some of the dates can only be day first, others only month first"] if len(certain) > 1 else []
    examples: dict[str, str] = {}
    for patterns, members in groups:
        pattern, doubt = _chosen(patterns, members, certain)
        examples.setdefault(_padded(pattern, members), members[0])
        doubts += [doubt] if doubt else []
    return Times(examples, "; ".join(dict.fromkeys(doubts)))


def _chosen(patterns: Sequence[str], values: Sequence[str], certain: set[str]) -> tuple[str, str]:
    """Choose one of the patterns that read all values; and say why it may be the wrong one, "" if it cannot."""
    orders = {_order(pattern) for pattern in patterns}
    if len(orders) == 1:
        return patterns[0], ""
    if len(certain) == 1:
        return _first(patterns, *certain), ""
    days = {order: _days(_first(patterns, order), values) for order in (DAY_FIRST, MONTH_FIRST)}
    spans = ", ".join(f"{count:,} day(s) if {order}" for order, count in days.items())
    likely = min(days, key=lambda order: days[order])
    return _first(patterns, likely), f"no number above 12 tells day and month apart: the sample spans {spans}"


def _grouped(values: Iterable[str]) -> list[tuple[list[str], list[str]]]:
    """Part values into groups with the patterns that read all of the group; those that none reads have none."""
    groups: list[tuple[list[str], list[str]]] = []
    unread: list[str] = []
    for value in values:
        for patterns, members in groups:
            if still := [pattern for pattern in patterns if _regex(pattern).fullmatch(value)]:
                patterns[:] = still
                members.append(value)
                break
        else:
            if patterns := _patterns_of(value):
                groups.append((patterns, [value]))
            else:
                unread.append(value)
    return [*groups, ([], unread)]


def _patterns_of(value: str) -> list[str]:
    begun = ((day, _regex(day).match(value)) for day in DATES)
    return [
        day + rest
        for day, found in begun
        if found
        for rest in RESTS
        if _regex(rest).fullmatch(value, found.end())
    ]


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    """Make of a datetime pattern the regular expression of what it reads, a group for each of its letters."""
    tokens = re.finditer(r"'(?P<text>[^']*)'|(?P<letter>[A-Za-z])(?P=letter)*|.", pattern)
    return re.compile("".join(
        f"(?P<{token['letter']}>{FIELDS[token[0]]})" if token["letter"] else re.escape(token["text"] or token[0])
        for token in tokens
    ))  # fmt: skip


@cache
def _number(marks: Marks) -> re.Pattern[str]:
    point, thousands = re.escape(marks.decimal), re.escape(marks.thousands)
    whole = rf"(?:\d{{1,3}}(?:{thousands}\d{{3}})++|\d*+)" if thousands else r"\d*+"
    return re.compile(rf"[+-]?(?={point}?\d){whole}(?:{point}\d*)?")


def _order(pattern: str) -> str:
    """Say what comes first in a pattern where day and month may be mistaken for each other; "" elsewhere."""
    if pattern.startswith("y") or "MMM" in pattern or "." in pattern.partition("yy")[0]:
        return ""
    return DAY_FIRST if pattern.index("d") < pattern.index("M") else MONTH_FIRST


def _first(patterns: Iterable[str], order: str) -> str:
    return next(pattern for pattern in patterns if _order(pattern) == order)


def _days(pattern: str, values: Iterable[str]) -> int:
    """Count the days between the first and the last of the times; more than any file has if one is no date."""
    try:
        days = [_date(pattern, value) for value in values]
    except ValueError:
        return (date.max - date.min).days
    return (max(days) - min(days)).days + 1


def _date(pattern: str, value: str) -> date:
    found = _fields(pattern, value)
    century = 2000 if len(found["y"]) == 2 else 0
    return date(century + int(found["y"]), int(found["M"]), int(found["d"]))


def _fields(pattern: str, value: str) -> dict[str, str]:
    found = _regex(pattern).fullmatch(value)
    assert found, (pattern, value)
    return found.groupdict()


def _padded(pattern: str, values: Iterable[str]) -> str:
    """Double the letters of numbers that are written with two digits always: 01, not 1.

    A pattern of single letters reads both. It stays where no zero shows, which a later file need not have.
    """
    fields = [_fields(pattern, value) for value in values]
    for letters in ("Md", "H", "h"):
        texts = [found[letter] for found in fields for letter in letters if letter in found]
        shows = pattern.startswith("yyyy-") or any(text.startswith("0") for text in texts)
        if texts and shows and all(len(text) == 2 for text in texts):
            pattern = re.sub(rf"(?<![{letters}])([{letters}])(?![{letters}])", r"\1\1", pattern)
    return pattern
