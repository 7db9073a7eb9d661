"""The sales line's contract and the feeds that deliver it, read from `spark_jobs/` and checked.

A feed is data: one YAML file in `spark_jobs/sources/`, named like the feed. Whatever is wrong in it is said
here, before a cluster is paid for, naming the file, the key and what would be allowed.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from blocks.errors import WillNotHeal

JOBS = Path(__file__).resolve().parents[1] / "spark_jobs"
COLUMN_TYPE = r"^(string|integer|long|timestamp|decimal\(\d+,\d+\))$"
# The letters that Spark's datetime patterns know when they read.
PATTERN_LETTERS = "GyMLdDQqEFaKkHhmsSVzOXxZ"
# What the job itself quarantines a line for, besides `<column>_missing` and `<column>_invalid`.
JOB_RULES = frozenset({"malformed_row", "encoding_invalid", "duplicate_row"})

Check = Literal["not_equal", "at_least", "greater_than", "at_most", "less_than", "between", "one_of"]
# Spark reads those in which a line ends with the byte 0x0A whatever stands before it; landing makes UTF-8 of
# UTF-16 (see tasks/unpacking.py).
Encoding = Literal[
    "utf-8", "utf-16", "iso-8859-1", "iso-8859-2", "iso-8859-15",
    "windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254", "windows-1257",
]  # fmt: skip


class WrongDeclaration(WillNotHeal):
    """A YAML file that is wrong; each of its `problems` begins with the key it is about."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(f"{path}: {'; '.join(problems)}")
        self.path, self.problems = path, problems


class _Declared(BaseModel):
    """Declared in YAML: nothing unknown is let in, nothing is changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Declared):
    """A column of the sales line; `type` is string, integer, long, timestamp (UTC) or decimal(p,s)."""

    type: str = Field(pattern=COLUMN_TYPE)
    required: bool
    description: str = ""


class Rule(_Declared):
    """A test of one column; a line that fails it is quarantined under the rule's id."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    column: str
    check: Check
    value: Any
    description: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        length = len(self.value) if isinstance(self.value, list) else None
        if self.check == "between" and length != 2:
            raise ValueError("between needs a list of two values")
        if self.check == "one_of" and not length:
            raise ValueError("one_of needs a list of values")
        if self.check not in ("between", "one_of") and length is not None:
            raise ValueError(f"{self.check} needs one value")
        return self


class Contract(_Declared):
    """The sales line: columns in order, key, rules, and the lineage columns the job adds."""

    name: str
    version: int
    key: tuple[str, ...]
    columns: dict[str, Column]
    lineage: dict[str, Column]
    rules: tuple[Rule, ...] = ()


class Timestamps(_Declared):
    """How a feed writes times: datetime patterns of Spark, tried in order, and the zone of local times.

    Patterns: https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html
    """

    formats: tuple[str, ...] = Field(min_length=1)
    time_zone: str = "UTC"

    @field_validator("formats")
    @classmethod
    def _patterns(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for form in formats:
            letters = re.findall("[A-Za-z]", re.sub("'[^']*'", "", form))
            if wrong := [letter for letter in letters if letter not in PATTERN_LETTERS]:
                raise ValueError(
                    f"{form!r}: {wrong[0]!r} is no letter of a datetime pattern; allowed are {PATTERN_LETTERS}, "
                    "and any text between single quotes"
                )
        return formats

    @field_validator("time_zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"unknown time zone {zone!r}; give an IANA name such as Europe/London or UTC")
        return zone


class Derived(_Declared):
    """A column the file does not have, made in one of three ways; null if what it is made of is missing.

    `concat`: other columns, `separator` between them. `file_name`: what the one group of a regular expression
    finds in the file's name. `substring`: `length` characters of another column, from `start` (the first is 1).
    """

    concat: tuple[str, ...] = ()
    separator: str = ""
    file_name: str = ""
    substring: str = ""
    start: int = Field(1, ge=1)
    length: int = Field(0, ge=0)

    @property
    def parts(self) -> tuple[str, ...]:
        """The columns it is made of."""
        return self.concat or ((self.substring,) if self.substring else ())

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if [bool(self.concat), bool(self.file_name), bool(self.substring)].count(True) != 1:
            raise ValueError("give exactly one of concat, file_name, substring")
        if self.substring and not self.length:
            raise ValueError("substring needs a length")
        if self.file_name and _groups(self.file_name) != 1:
            raise ValueError("file_name needs a regular expression with exactly one group (…)")
        return self


def _groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"file_name is no regular expression: {error}") from error


# A feed's name is a folder in the drop and in raw storage; landing sets refused files aside under this one.
RESERVED_NAMES = frozenset({"refused"})


class Feed(_Declared):
    """A kind of CSV file: how to read it and how its columns become the contract's.

    `header: true` says that the first line names the columns; a file without one gets its column names here.
    `decimal` and `thousands` are the marks in its numbers. `columns` gives for a contract column the column of
    the file, or one of `derived`; `constants` gives a fixed value.
    `line_number: content` stands for sources that do not number their lines: the number is then a hash of the
    line's `key` columns (all mapped ones if there is no key), the same wherever and whenever the line arrives.
    A line that was corrected at the source, elsewhere than in its key, replaces the one before.
    `duplicates` says what becomes of a line that equals an earlier one of its batch in every contract column.
    """

    name: str
    glob: str
    delimiter: str = Field(",", pattern=r"^[^\r\n]$")
    quote: str = Field('"', pattern=r"^[^\r\n]?$")
    encoding: Encoding = "utf-8"
    header: Literal[True] | tuple[str, ...] = True
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'", "\u00a0", "\u202f"] = ""
    derived: dict[str, Derived] = {}
    columns: dict[str, str]
    constants: dict[str, str]
    line_number: Literal["column", "content"] = "column"
    key: tuple[str, ...] = ()
    timestamps: Timestamps
    duplicates: Literal["drop", "keep", "quarantine"] = "drop"
    rules: tuple[Rule, ...] = ()

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in RESERVED_NAMES:
            raise ValueError(
                f"{name!r} cannot name a feed; allowed are small letters, digits and underscores, a letter first, "
                f"and not {', '.join(sorted(RESERVED_NAMES))}. Rename the file"
            )
        return name

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if self.quote == self.delimiter:
            raise ValueError("quote and delimiter are the same")
        if self.thousands == self.decimal:
            raise ValueError("thousands and decimal are the same")
        if self.key and self.line_number != "content":
            raise ValueError("key serves line_number: content only")
        return self

    @property
    def file_columns(self) -> tuple[str, ...]:
        """The columns that its files must have, in order of name."""
        made_of = (part for derived in self.derived.values() for part in derived.parts)
        return tuple(sorted({*self.columns.values(), *made_of} - set(self.derived)))

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns by whose content `line_number: content` numbers a line, in order of name."""
        return tuple(sorted(set(self.key or self.columns.values())))


_Model = TypeVar("_Model", bound=_Declared)


def load_contract(path: Path = JOBS / "contract.yml") -> Contract:
    """Read the contract of the sales line. Raises WrongDeclaration if the file is wrong."""
    return _read(path, Contract)


def feed_names(folder: Path = JOBS / "sources") -> list[str]:
    """Name every feed there is, sorted."""
    return sorted(path.stem for path in folder.glob("*.yml"))


def load_feed(name: str, folder: Path = JOBS / "sources", contract: Contract | None = None) -> Feed:
    """Read one feed by its name, as `read_feed` does. Raises WillNotHeal if there is none of that name."""
    path = folder / f"{name}.yml"
    if not path.is_file():
        raise WillNotHeal(
            f"There is no feed {name!r}: {path} is missing. Feeds: {', '.join(feed_names(folder))}."
        )
    return read_feed(path, contract)


def read_feed(path: Path, contract: Contract | None = None) -> Feed:
    """Read the feed in this file, called like the file, and hold it against the contract.

    Raises WrongDeclaration naming file, key and allowed values: wrong YAML, a required column that nothing
    fills, a column or rule the contract does not know.
    """
    feed = _read(path, Feed, name=path.stem)
    if problems := list(_disagreements(feed, contract or load_contract())):
        raise WrongDeclaration(path, problems)
    return feed


def job_spec(
    feed: Feed, contract: Contract, batch_id: str, files: list[dict[str, Any]], output_uri: str
) -> dict[str, Any]:
    """Give all that `spark_jobs/sales_batch.py` needs to know, ready to be written as JSON.

    `files` are {uri, name, checksum}; a uri is a plain path with a scheme (`file:///…`, `s3://…`), not
    percent-encoded. `output_uri` is a prefix that belongs to this batch alone: the job replaces it.
    A file's rows carry its name as file_name, with its checksum if another file has the same name.
    Raises WillNotHeal if a file is given twice.
    """
    columns = [*feed.file_columns, *feed.derived]
    told = feed.model_dump(mode="json") | {
        "encoding": feed.encoding.replace("utf-16", "utf-8"),
        "file_columns": list(feed.file_columns),
        "texts": {column: f"_{number}" for number, column in enumerate(columns)},
        "key": list(feed.key_columns),
    }
    return {
        "batch_id": batch_id,
        "feed": told,
        "contract": contract.model_dump(mode="json"),
        "files": _labelled(feed, files),
        "output": output_uri.rstrip("/"),
    }


def _labelled(feed: Feed, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to every file the file_name of its rows and, for each derived column, what its name says of it."""
    named = Counter(file["name"] for file in files)
    labelled = []
    for file in files:
        name, checksum = file["name"], file["checksum"]
        found = [how.file_name and re.search(how.file_name, name) for how in feed.derived.values()]
        label = {"file_name": name if named[name] == 1 else f"{name} ({checksum[:16]})"}
        facts = {"uri": file["uri"], "name": name, "checksum": checksum}
        labelled.append(facts | label | {"from_name": [match[1] if match else None for match in found]})
    if twice := [label for label, n in Counter(file["file_name"] for file in labelled).items() if n > 1]:
        raise WillNotHeal(f"The batch has a file twice: {', '.join(sorted(twice))}.")
    return labelled


class _Loader(yaml.SafeLoader):
    """YAML as it should be: a key given twice is an error, not a silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(path: Path, model: type[_Model], **known: str) -> _Model:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)  # nosec B506
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or a date like 2025-02-30
        raise WrongDeclaration(path, [f"cannot be read: {_reason(error)}"]) from error
    if not isinstance(content, dict):
        raise WrongDeclaration(path, [f"keys and values are expected, found {type(content).__name__}"])
    try:
        return model.model_validate({**content, **known})
    except ValidationError as error:
        problems = [_problem(dict(found), model) for found in error.errors()]
        raise WrongDeclaration(path, problems) from error


def _reason(error: Exception) -> str:
    """Say in one line what a reader of files or YAML said in several."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())


def _problem(found: dict[str, Any], model: type[_Declared]) -> str:
    key = ".".join(str(part) for part in found["loc"])
    said = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        parts: dict[str, type[_Declared]] = {"rules": Rule, "timestamps": Timestamps, "derived": Derived}
        holder = parts.get(str(found["loc"][0]), Column) if len(found["loc"]) > 1 else model
        return f"{key}: unknown key, allowed are {', '.join(holder.model_fields)}"
    return f"{key}: {said}" if key else said


def _disagreements(feed: Feed, contract: Contract) -> Iterator[str]:
    """Say everything in which a feed does not fit the contract, or itself."""
    known, allowed = set(contract.columns), ", ".join(contract.columns)
    numbered = {"line_number"} if feed.line_number == "content" else set()
    filled = set(feed.columns) | set(feed.constants) | numbered
    for name, column in contract.columns.items():
        if column.required and name not in filled:
            yield f"columns: nothing fills the required column {name}"
    twice = set(feed.columns) & set(feed.constants) | numbered & (set(feed.columns) | set(feed.constants))
    yield from (f"columns: {name} is filled twice" for name in sorted(twice))
    if "source" in feed.columns:
        yield "source must be a constant: a feed is one source"
    yield from (f"{name}: unknown column, allowed are {allowed}" for name in sorted(filled - known))
    yield from _wrong_rules(feed, contract)
    yield from _wrong_constants(feed, contract)
    known_parts = set(feed.file_columns)
    for name, derived in feed.derived.items():
        later = [part for part in derived.parts if part not in known_parts]
        yield from (f"derived.{name}: {part} is derived below it; put it above" for part in later)
        known_parts.add(name)
    mapped = dict.fromkeys(feed.columns.values())
    yield from (
        f"key: {name} is not mapped, allowed are {', '.join(mapped)}"
        for name in feed.key
        if name not in mapped
    )
    if isinstance(feed.header, tuple):
        yield from (f"header: lacks the mapped column {c}" for c in feed.file_columns if c not in feed.header)
        yield from (f"header: {c} is named twice" for c, n in Counter(feed.header).items() if n > 1)


def _wrong_rules(feed: Feed, contract: Contract) -> Iterator[str]:
    rules = (*contract.rules, *feed.rules)
    for rule_id, uses in Counter(rule.id for rule in rules).items():
        if uses > 1:
            yield f"rules.{rule_id}: the id is used twice"
    for rule in rules:
        column = contract.columns.get(rule.column)
        if rule.id in JOB_RULES or re.fullmatch(
            rf"({'|'.join(contract.columns)})_(missing|invalid)", rule.id
        ):
            yield f"rules.{rule.id}: the job itself uses this id; choose another"
        if column is None:
            yield f"rules.{rule.id}: unknown column {rule.column}, allowed are {', '.join(contract.columns)}"
            continue
        for value in rule.value if isinstance(rule.value, list) else [rule.value]:
            if not _fits(value, column.type):
                yield f"rules.{rule.id}: {value!r} is no {column.type}, which {rule.column} is"


def _wrong_constants(feed: Feed, contract: Contract) -> Iterator[str]:
    """Say which constants would put every line of every file into quarantine."""
    for name, value in feed.constants.items():
        column = contract.columns.get(name)
        if column and not _fits(value, column.type):
            yield f"constants.{name}: {value!r} is no {column.type}"
        for rule in (*contract.rules, *feed.rules):
            if rule.column == name and rule.check == "one_of" and value not in rule.value:
                allowed = ", ".join(str(one) for one in rule.value)
                yield f"constants.{name}: {value!r} breaks {rule.id}, allowed are {allowed}"


def _fits(value: Any, kind: str) -> bool:
    """Say whether a rule's value can be compared with a column of this type."""
    if kind == "string":
        return isinstance(value, str)  # YAML makes false of NO, which is Norway, unless it is quoted
    readers: dict[str, Callable[[str], Any]] = {
        "integer": int,
        "long": int,
        "timestamp": datetime.fromisoformat,
    }
    try:
        read = readers.get(kind, Decimal)(str(value))
    except (ValueError, ArithmeticError):
        return False
    return not isinstance(read, Decimal) or read.is_finite()
