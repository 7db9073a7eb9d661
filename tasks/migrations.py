"""The warehouse's own tables: `sql/NNN_verb_noun.sql` applied in order, once each, with a ledger."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import SandboxedEnvironment
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT
from blocks.warehouse import SalesWarehouse

SQL_FOLDER = PROJECT / "sql"
FILE_NAME = re.compile(r"^(\d{3})_[a-z0-9_]+\.sql$")


@dataclass(frozen=True)
class Migration:
    """One SQL file: its number, its name and the checksum of its text as written."""

    version: int
    name: str
    checksum: str
    text: str


def read_migrations(folder: Path = SQL_FOLDER) -> list[Migration]:
    """Read the SQL files in order. Raises WillNotHeal for a bad name, a number used twice or a gap."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = FILE_NAME.match(path.name)
        if not match:
            raise WillNotHeal(f"{path.name}: migrations are named NNN_verb_noun.sql, in lower case.")
        text = path.read_text()
        found.append(Migration(int(match[1]), path.name, hashlib.sha256(text.encode()).hexdigest(), text))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise WillNotHeal(f"Migrations must be numbered 001, 002, … without gaps: {[m.name for m in found]}")
    return found


def migrate(
    warehouse: SalesWarehouse, variables: dict[str, str], folder: Path = SQL_FOLDER
) -> Iterator[Migration]:
    """Apply what the ledger does not have, in order; yield each migration once it is applied.

    Every statement can be run again, so a migration that was cut off is simply applied anew: the ledger's
    row is written last. Raises WillNotHeal if an applied file was edited or is gone, or a statement fails.
    """
    wanted = read_migrations(folder)
    with warehouse.session(query_tag="sales-migrate") as connection:
        try:
            applied = _ledger(connection, variables["database"])
        except ProgrammingError as error:
            raise WillNotHeal(
                f"The ledger of migrations cannot be used: {error.msg} The database {variables['database']} "
                "must exist, or the role must be allowed to create it."
            ) from error
        _refuse_edits(wanted, applied)
        for migration in wanted:
            if migration.version not in applied:
                _apply(connection, migration, variables)
                yield migration


def pending(warehouse: SalesWarehouse, database: str, folder: Path = SQL_FOLDER) -> list[Migration]:
    """Read which migrations this warehouse has not seen; changes nothing. Raises WillNotHeal for edited ones."""
    wanted = read_migrations(folder)
    try:
        rows = warehouse.rows(f"select version, name, checksum from {database}.MONITORING.SCHEMA_MIGRATIONS")  # noqa: S608
    except ProgrammingError:
        return wanted  # no ledger yet
    applied = {int(row["version"]): (row["name"], row["checksum"]) for row in rows}
    _refuse_edits(wanted, applied)
    return [migration for migration in wanted if migration.version not in applied]


def statements(migration: Migration, variables: dict[str, str]) -> list[str]:
    """Fill in the variables and cut the text at each `;` that ends a line.

    Raises WillNotHeal for a variable without a value.
    """
    try:
        text = SandboxedEnvironment(undefined=StrictUndefined).from_string(migration.text).render(variables)
    except UndefinedError as error:
        raise WillNotHeal(f"{migration.name}: {error}") from None
    return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", text) if _has_code(part)]


def _has_code(sql: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in sql.splitlines())


def _ledger(connection: SnowflakeConnection, database: str) -> dict[int, tuple[str, str]]:
    ledger = f"{database}.MONITORING.SCHEMA_MIGRATIONS"
    with connection.cursor() as cursor:
        cursor.execute(f"create database if not exists {database}")
        cursor.execute(f"create schema if not exists {database}.MONITORING")
        cursor.execute(
            f"create table if not exists {ledger} (version number(38, 0) not null, name varchar not null, "
            "checksum varchar not null, applied_at timestamp_ntz not null)"
        )
        cursor.execute(f"select version, name, checksum from {ledger}")  # noqa: S608
        return {int(version): (name, checksum) for version, name, checksum in cursor.fetchall()}


def _refuse_edits(wanted: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    known = {migration.version: migration for migration in wanted}
    for version, (name, checksum) in applied.items():
        if version not in known:
            raise WillNotHeal(
                f"{name} was applied to this warehouse but is missing here. Update your checkout."
            )
        if known[version].checksum != checksum:
            raise WillNotHeal(f"{name} was edited after it was applied. Restore it and add a new migration.")


def _apply(connection: SnowflakeConnection, migration: Migration, variables: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        for number, statement in enumerate(statements(migration, variables), start=1):
            try:
                cursor.execute(statement)
            except ProgrammingError as error:
                raise WillNotHeal(f"{migration.name}, statement {number}: {error.msg}") from error
        cursor.execute(
            f"insert into {variables['database']}.MONITORING.SCHEMA_MIGRATIONS select %s, %s, %s, sysdate()",
            (migration.version, migration.name, migration.checksum),
        )
