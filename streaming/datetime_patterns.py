"""Spark's datetime patterns, for Python: each becomes a regular expression that takes what Spark takes.

Patterns: https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html; Spark reads them strictly (Java's
DateTimeFormatter, ResolverStyle.STRICT) and without regard to the case of letters.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from blocks.errors import WillNotHeal

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# A pattern's letters, as often as they stand there, and what they take.
TAKES = {
    "yyyy": r"(?P<year>\d{4})",
    "M": r"(?P<month>\d{1,19})",
    "MM": r"(?P<month>\d{2})",
    "MMM": rf"(?P<month_name>{'|'.join(MONTHS)})",
    "d": r"(?P<day>\d{1,19})",
    "dd": r"(?P<day>\d{2})",
    "H": r"(?P<hour>\d{1,19})",
    "HH": r"(?P<hour>\d{2})",
    "h": r"(?P<hour12>\d{1,19})",
    "hh": r"(?P<hour12>\d{2})",
    "a": r"(?P<half>am|pm)",
    "m": r"(?P<minute>\d{1,19})",
    "mm": r"(?P<minute>\d{2})",
    "s": r"(?P<second>\d{1,19})",
    "ss": r"(?P<second>\d{2})",
    "X": r"(?P<offset>z|[+-]\d{2}(?:\d{2})?)",
    "XX": r"(?P<offset>z|[+-]\d{4})",
    "XXX": r"(?P<offset>z|[+-]\d{2}:\d{2})",
    "x": r"(?P<offset>[+-]\d{2}(?:\d{2})?)",
    "xx": r"(?P<offset>[+-]\d{4})",
    "xxx": r"(?P<offset>[+-]\d{2}:\d{2})",
}
PARTS = re.compile(r"'((?:[^']|'')*)'|(([A-Za-z])\3*)|([\[\]])|(.)", re.DOTALL)
FARTHEST_OFFSET = timedelta(hours=18)


def time_reader(patterns: Iterable[str], time_zone: str) -> Callable[[str], datetime | None]:
    """Make the function that reads a time by the first pattern that takes it: UTC, or None if none does.

    Local times are of `time_zone`; of one that comes twice in autumn the first is meant, and one that is left out in
    spring is read as if the clock had not been moved. Raises WillNotHeal for a pattern that has no translation.
    """
    forms, zone = [_translated(pattern) for pattern in patterns], ZoneInfo(time_zone)

    def read(text: str) -> datetime | None:
        for form in forms:
            if (match := form.fullmatch(text)) and (moment := _moment(match.groupdict(), zone)):
                return moment
        return None

    return read


def _translated(pattern: str) -> re.Pattern[str]:
    form = "".join(_taken(pattern, match) for match in PARTS.finditer(pattern))
    try:
        return re.compile(form, re.ASCII | re.IGNORECASE)
    except re.error as error:
        raise WillNotHeal(f"The datetime pattern {pattern!r} cannot be read here: {error}.") from error


def _taken(pattern: str, part: re.Match[str]) -> str:
    quoted, letters, letter, bracket, other = part.groups()
    if quoted is not None:
        return re.escape(quoted.replace("''", "'") or "'")
    if bracket:
        return "(?:" if bracket == "[" else ")?"
    if other:
        return re.escape(other)
    if letter == "S" and len(letters) <= 9:
        return rf"(?P<fraction>\d{{1,{len(letters)}}})"
    if letters not in TAKES:
        raise WillNotHeal(
            f"The datetime pattern {pattern!r} cannot be read here: {letters} is not among {', '.join(TAKES)} and S. "
            "The batch job reads it; a replay as events does not."
        )
    return TAKES[letters]


def _moment(found: dict[str, str | None], zone: ZoneInfo) -> datetime | None:
    # Spark fills in what the pattern does not have: the first month and day, midnight.
    given = {name: text for name, text in found.items() if text is not None}
    try:
        local = datetime(
            int(given.get("year", "1970")),
            MONTHS.index(given["month_name"].lower()) + 1
            if "month_name" in given
            else int(given.get("month", "1")),
            int(given.get("day", "1")),
            _hour(given),
            int(given.get("minute", "0")),
            int(given.get("second", "0")),
            int(given.get("fraction", "0").ljust(6, "0")[:6]),
        )
        if offset := given.get("offset"):
            return local - _shift(offset)
        return local.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _hour(given: dict[str, str]) -> int:
    if "hour12" not in given:
        return int(given.get("hour", "0"))
    hour = int(given["hour12"])
    if not 1 <= hour <= 12:
        raise ValueError("no hour of a half day")
    return hour % 12 + (12 if given.get("half", "am").lower() == "pm" else 0)


def _shift(offset: str) -> timedelta:
    if offset in "zZ":
        return timedelta()
    digits = offset[1:].replace(":", "")
    minutes = int(digits[2:] or "0")
    shift = timedelta(hours=int(digits[:2]), minutes=minutes)
    if minutes > 59 or shift > FARTHEST_OFFSET:
        raise ValueError("no offset")
    return shift if offset[0] == "+" else -shift
