"""The sales line's contract and the feeds that deliver it, read from `spark_jobs/` and checked.

A feed is data: one YAML file in `spark_jobs/sources/`, named like the feed. Whatever is wrong in it is said
here, before a cluster is paid for, naming the file, the key and what would be allowed.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from blocks.errors import WillNotHeal

JOBS = Path(__file__).resolve().parents[1] / "spark_jobs"
COLUMN_TYPE = r"^(string|integer|long|timestamp|decimal\(\d+,\d+\))$"

Check = Literal["not_equal", "at_least", "greater_than", "at_most", "less_than", "between", "one_of"]
# Encodings in which a line ends with the byte 0x0A whatever stands before it, so that files can be split.
Encoding = Literal["utf-8", "iso-8859-1", "iso-8859-15", "windows-1250", "windows-1252"]


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
    """How a feed writes times: datetime patterns of Spark, tried in order, and the zone of local times."""

    formats: tuple[str, ...] = Field(min_length=1)
    time_zone: str = "UTC"

    @field_validator("time_zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"unknown time zone {zone!r}; give an IANA name such as Europe/London or UTC")
        return zone


class Feed(_Declared):
    """A kind of CSV file: how to read it and how its columns become the contract's.

    `header: true` says that the first line names the columns; a file without one gets its column names here.
    `columns` gives for a contract column the file's column, `constants` a fixed value.
    `line_number: content` stands for sources that do not number their lines: the number is then a hash of
    the line's mapped values, the same wherever and whenever the line arrives. A line that was corrected at
    the source is a new line for such a feed.
    """

    name: str
    glob: str
    delimiter: str = Field(",", min_length=1, max_length=1)
    quote: str = Field('"', max_length=1)
    encoding: Encoding = "utf-8"
    header: Literal[True] | tuple[str, ...] = True
    columns: dict[str, str]
    constants: dict[str, str]
    line_number: Literal["column", "content"] = "column"
    timestamps: Timestamps
    rules: tuple[Rule, ...] = ()


_Model = TypeVar("_Model", bound=_Declared)


def load_contract(path: Path = JOBS / "contract.yml") -> Contract:
    """Read the contract of the sales line. Raises WillNotHeal if the file is wrong."""
    return _read(path, Contract)


def feed_names(folder: Path = JOBS / "sources") -> list[str]:
    """Name every feed there is, sorted."""
    return sorted(path.stem for path in folder.glob("*.yml"))


def load_feed(name: str, folder: Path = JOBS / "sources", contract: Contract | None = None) -> Feed:
    """Read one feed and hold it against the contract.

    Raises WillNotHeal naming file, key and allowed values: unknown feed, wrong YAML, a required column that
    nothing fills, a column or rule the contract does not know.
    """
    path = folder / f"{name}.yml"
    if not path.is_file():
        raise WillNotHeal(
            f"There is no feed {name!r}: {path} is missing. Feeds: {', '.join(feed_names(folder))}."
        )
    feed = _read(path, Feed, name=name)
    if problems := _disagreements(feed, contract or load_contract()):
        raise WillNotHeal(f"{path}: {'; '.join(problems)}")
    return feed


def job_spec(
    feed: Feed, contract: Contract, batch_id: str, files: list[dict[str, Any]], output_uri: str
) -> dict[str, Any]:
    """Give all that `spark_jobs/sales_batch.py` needs to know, ready to be written as JSON.

    `files` are {uri, name, checksum}; a uri is a plain path with a scheme (`file:///…`, `s3://…`), not
    percent-encoded. `output_uri` is a prefix that belongs to this batch alone: the job replaces it.
    """
    return {
        "batch_id": batch_id,
        "feed": feed.model_dump(mode="json"),
        "contract": contract.model_dump(mode="json"),
        "files": [{key: file[key] for key in ("uri", "name", "checksum")} for file in files],
        "output": output_uri.rstrip("/"),
    }


def _read(path: Path, model: type[_Model], **known: str) -> _Model:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WillNotHeal(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WillNotHeal(f"{path}: keys and values are expected, found {type(content).__name__}.")
    try:
        return model.model_validate({**content, **known})
    except ValidationError as error:
        problems = [_problem(dict(found), model) for found in error.errors()]
        raise WillNotHeal(f"{path}: {'; '.join(problems)}") from error


def _problem(found: dict[str, Any], model: type[_Declared]) -> str:
    key = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        parts: dict[str, type[_Declared]] = {"rules": Rule, "timestamps": Timestamps}
        holder = parts.get(str(found["loc"][0]), Column) if len(found["loc"]) > 1 else model
        return f"{key}: unknown key, allowed are {', '.join(holder.model_fields)}"
    return f"{key}: {found['msg']}"


def _disagreements(feed: Feed, contract: Contract) -> list[str]:
    """Say everything in which a feed does not fit the contract."""
    known = set(contract.columns)
    numbered = {"line_number"} if feed.line_number == "content" else set()
    filled = set(feed.columns) | set(feed.constants) | numbered
    missing = [c for c, column in contract.columns.items() if column.required and c not in filled]
    twice = set(feed.columns) & set(feed.constants) | numbered & (set(feed.columns) | set(feed.constants))
    ids = Counter(rule.id for rule in (*contract.rules, *feed.rules))
    allowed = ", ".join(contract.columns)
    problems = [f"columns: nothing fills the required column {c}" for c in missing]
    problems += [f"columns: {c} is filled twice" for c in sorted(twice)]
    if "source" in feed.columns:
        problems.append("source must be a constant: a feed is one source")
    problems += [f"{c}: unknown column, allowed are {allowed}" for c in sorted(filled - known)]
    problems += [
        f"rules.{rule.id}: unknown column {rule.column}, allowed are {allowed}"
        for rule in feed.rules
        if rule.column not in known
    ]
    problems += [f"rules.{rule_id}: the id is used twice" for rule_id, n in ids.items() if n > 1]
    if isinstance(feed.header, tuple):
        absent = sorted(set(feed.columns.values()) - set(feed.header))
        problems += [f"header: lacks the mapped column {c}" for c in absent]
    return problems
