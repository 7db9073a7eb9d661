"""How Spark runs on this machine: settings, environment and a class archive that makes it start faster."""

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from local.service import HOST

# Small batches end before an optimising compiler or a parallel collector has paid for itself.
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
# In a large batch the optimising compiler does pay; this comes later on the command line, and wins.
LARGE_BATCH = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=4"}


class SparkRuntime:
    """Environments for Spark processes, all of whose files stay under `home`."""

    def __init__(self, home: Path, java_home: Path, cores: int = 2, driver_memory: str = "2g") -> None:
        self._home, self._java_home = home, java_home
        self._cores, self._driver_memory = cores, driver_memory
        identity = f"{java_home} {os.path.realpath(java_home / 'bin' / 'java')} {version('pyspark')}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.archive = home / f"spark-classes-{digest}.jsa"
        self._recording = self.archive.with_suffix(".partial")
        self._recording.unlink(missing_ok=True)

    def end_recording(self, keep: bool) -> None:
        """Use from now on the archive that a recording JVM has left, or throw it away."""
        if keep and self._recording.exists() and self._recording.stat().st_size:
            self._recording.replace(self.archive)
        self._recording.unlink(missing_ok=True)

    def environment(self, folder: Path, cluster_conf: Mapping[str, str], record: bool) -> dict[str, str]:
        """Give the environment of a Spark process that works in `folder`.

        `cluster_conf` is `new_cluster.spark_conf`; it wins over this machine's settings. Nothing else of the
        caller's environment gets through, as on a real cluster. With `record`, the JVM writes the class archive
        when it ends.
        """
        scratch = folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        properties = scratch / "spark.properties"
        settings = self._settings(scratch) | dict(cluster_conf)
        properties.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "LC_ALL": "C.UTF-8",
            "JAVA_HOME": str(self._java_home),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": HOST,
            "SPARK_LOCAL_DIRS": str(scratch),
            "SPARK_LAUNCHER_OPTS": " ".join(QUICK_START),
            "SPARK_SUBMIT_OPTS": shlex.join([*QUICK_START, *self._class_data_sharing(record)]),
            "PYSPARK_SUBMIT_ARGS": f"--properties-file {shlex.quote(str(properties))} pyspark-shell",
        }

    def _settings(self, scratch: Path) -> dict[str, str]:
        return {
            "spark.master": f"local[{self._cores}]",
            "spark.driver.memory": self._driver_memory,
            "spark.driver.bindAddress": HOST,
            "spark.driver.host": HOST,
            "spark.sql.warehouse.dir": (scratch / "warehouse").as_uri(),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.session.timeZone": "UTC",
            # Merged again where they turn out small; more than the cores, so that a large sort fits in memory.
            "spark.sql.shuffle.partitions": str(4 * self._cores),
            # A success marker costs this file system three more processes, and nobody reads it.
            "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
        }

    def _class_data_sharing(self, record: bool) -> list[str]:
        if record:
            # Thousands of notes on classes that cannot be archived would bury the run's own messages.
            return ["-Xlog:disable", f"-XX:ArchiveClassesAtExit={self._recording}"]
        # -Xshare:auto: an archive that does not fit is passed over, not an error.
        return (
            ["-Xlog:disable", "-Xshare:auto", f"-XX:SharedArchiveFile={self.archive}"]
            if self.archive.exists()
            else []
        )
