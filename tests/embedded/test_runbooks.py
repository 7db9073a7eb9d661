"""The runbooks' commands that only look, run on the embedded stack."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blocks.settings import PROJECT, process_environment
from cli.app import app
from tests.architecture.test_runbooks import PAGES, commands

LOOKS = sorted({line for page in PAGES for line in commands(page, "bash")})


@pytest.mark.parametrize("line", [line for line in LOOKS if line.startswith("sales ")])
def test_a_look_of_ours_works(pipeline, line):
    answer = CliRunner().invoke(app, shlex.split(line)[1:], env={"COLUMNS": "200"})
    codes = {0, 1} if line == "sales doctor" else {0}  # 1 says that it found something, as it may here
    assert answer.exit_code in codes, f"{line}: {answer.output} {answer.exception!r}"
    assert isinstance(answer.exception, SystemExit | None)
    assert answer.output.strip()


def test_looks_of_prefect_work(pipeline):
    bin_folder = Path(sys.executable).parent
    environment = process_environment({"PREFECT_API_URL": pipeline.settings.prefect_api_url})
    asked = {
        line: subprocess.Popen(
            [bin_folder / "prefect", *shlex.split(line)[1:]],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in LOOKS
        if line.startswith("prefect ")
    }
    assert len(asked) >= 5
    for line, process in asked.items():
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, f"{line}: {output}"
