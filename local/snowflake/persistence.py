"""A warehouse that is kept on disk: databases, the global catalog and the files of internal stages.

Layout of the home folder: `databases/<NAME>.db`, `global.db` (stages, file formats, comments, text lengths),
`stages/` (internal stages), `spill/` (DuckDB's temporary files).
"""

import logging
import weakref
from pathlib import Path
from typing import Any

import duckdb
from fakesnow import info_schema, macros
from fakesnow.instance import GLOBAL_DATABASE_NAME, FakeSnow
from fakesnow.transforms import show, stage

from local.snowflake.ddl import drop_temporary_objects
from local.snowflake.history import QueryHistory
from local.snowflake.patches import apply_patches
from local.snowflake.results import BoundedResults
from local.snowflake.session import Session

logger = logging.getLogger("local.snowflake")


class HomeInUseError(Exception):
    """Another process has this home folder open; DuckDB lets one process write a database."""


class Warehouse(FakeSnow):
    """All databases of one home folder.

    Stock fakesnow keeps its global catalog in memory and internal stages in a temporary folder, and attaches
    a database only when a login names it; all three are lost, or look lost, after a restart.
    """

    def __init__(self, home: Path, memory: str = "4GB", threads: int = 2, idle_seconds: float = 30) -> None:
        databases, stages = home / "databases", home / "stages"
        databases.mkdir(parents=True, exist_ok=True)
        stages.mkdir(exist_ok=True)
        stage.LOCAL_BUCKET_PATH = str(stages)
        apply_patches()
        super().__init__(db_path=databases)
        self.results_cache = BoundedResults()
        self.idle_seconds = idle_seconds
        self.history = QueryHistory()
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self.duck_conn.execute(f"SET memory_limit = '{memory}'; SET threads = {threads}")
        self.duck_conn.execute(f"SET temp_directory = '{home / 'spill'}'")
        self._attach_global_catalog(home / "global.db")
        for file in sorted(databases.glob("*.db")):
            self._attach_database(file)
        drop_temporary_objects(self.duck_conn)

    def _attach_global_catalog(self, file: Path) -> None:
        """Put the catalog of stages, file formats and comments on disk; it also locks the home folder."""
        self.duck_conn.execute(f"DETACH {GLOBAL_DATABASE_NAME}")
        try:
            self.duck_conn.execute(f"ATTACH '{file}' AS {GLOBAL_DATABASE_NAME}")
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            message = (
                f"{file.parent} is open in another embedded Snowflake: stop that one, or give another --home"
            )
            raise HomeInUseError(message) from error
        self.duck_conn.execute(info_schema.fs_global_creation_sql())
        self.duck_conn.execute(show.fs_global_creation_sql())

    def _attach_database(self, file: Path) -> None:
        """Open a database of an earlier run, whatever database the coming logins name."""
        self.duck_conn.execute(f"ATTACH '{file}' AS {file.stem}")
        self.duck_conn.execute(info_schema.per_db_creation_sql(file.stem))
        self.duck_conn.execute(macros.creation_sql(file.stem))
        logger.info("attached %s", file.stem)

    def connect(self, database: str | None = None, schema: str | None = None, **kwargs: Any) -> Session:
        """Open a session; the same as upstream, but of our own class."""
        connection = self.duck_conn.cursor()
        kwargs |= {"db_path": self.db_path, "warehouse": self}
        session = Session(connection, self.results_cache, database, schema, **kwargs)
        self.sessions.add(session)
        return session

    def close(self) -> None:
        """Roll open transactions back, write everything into the database files and let go of them."""
        for session in list(self.sessions):
            session.close()
        for (name,) in self._database_names():
            self.duck_conn.execute(f"CHECKPOINT {name}")
        self.duck_conn.close()
        logger.info("closed")

    def _database_names(self) -> list[tuple[str]]:
        sql = "SELECT database_name FROM duckdb_databases() WHERE NOT internal AND path IS NOT NULL"
        return self.duck_conn.execute(sql).fetchall()
