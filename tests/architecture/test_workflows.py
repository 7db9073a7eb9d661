"""Workflows: pinned, with least rights, without long-lived keys, and of commands and paths that exist."""

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer
import yaml

from blocks.settings import PROJECT, Settings
from cli.app import app

FILES = sorted((PROJECT / ".github/workflows").glob("*.yml"))
TEXTS = {file.name: file.read_text() for file in FILES}
JOBS: dict[str, dict[str, Any]] = {
    f"{name}:{job}": body
    for name, text in TEXTS.items()
    for job, body in yaml.safe_load(text)["jobs"].items()
}
STEPS = [step for job in JOBS.values() for step in job["steps"]]
LINES = [line.strip() for step in STEPS for line in step.get("run", "").splitlines()]
each_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
PIN = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def test_the_three_workflows_are_there():
    assert list(TEXTS) == ["main.yml", "pull-request.yml", "scheduled.yml"]
    assert len(JOBS) == 10


@each_text
def test_every_action_is_pinned_to_a_commit_and_says_its_release(text):
    used = re.findall(r"uses: .*", text)
    assert used
    assert [line for line in used if not PIN.fullmatch(line)] == []


@each_text
def test_no_workflow_knows_a_secret_or_runs_a_strangers_code_with_rights(text):
    assert not re.search(r"\$\{\{[^}]*\bsecrets\b", text)
    assert "pull_request_target" not in text
    assert not re.search(r"AKIA|aws-access-key-id|PRIVATE KEY", text)


@each_text
def test_a_workflow_may_read_the_code_alone_and_has_a_concurrency_group(text):
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]


@each_job
def test_a_job_has_an_end_and_an_identity_only_where_it_signs_in(job):
    assert 0 < job["timeout-minutes"] <= 60
    signs_in = any("configure-aws-credentials" in step.get("uses", "") for step in job["steps"])
    expected = {"contents": "read", "id-token": "write"} if signs_in else None
    assert job.get("permissions") == expected
    assert ("environment" in job) == signs_in


def test_a_fork_never_gets_an_identity():
    jobs = {n: j for n, j in JOBS.items() if n.startswith("pull-request") and "permissions" in j}
    assert len(jobs) == 3
    assert all("head.repo.full_name == github.repository" in job["if"] for job in jobs.values())


def test_prod_comes_after_staging_and_asks_in_its_environment():
    assert JOBS["main.yml:staging"]["needs"] == "check"
    assert JOBS["main.yml:prod"]["needs"] == "staging"
    assert JOBS["main.yml:prod"]["environment"] == "prod"


def test_no_expression_is_pasted_into_a_shell():
    assert [line for line in LINES if "${{" in line] == []


def test_every_make_target_exists():
    targets = set(re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    asked = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert {"lint", "test"} <= asked <= targets


def test_every_sales_command_and_option_exists():
    found = [shlex.split(line)[1:] for line in LINES if line.startswith(".venv/bin/sales ")]
    assert len(found) == 4
    for words in found:
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands") and words:
            command = command.commands[words.pop(0)]
        options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options


def test_every_path_and_setting_exists():
    named = re.findall(r"(?:terraform|tests|requirements|dbt)/[\w./-]+", "\n".join(LINES))
    assert len(named) > 5
    assert [path for path in named if not (PROJECT / path).exists()] == []
    known = {f"SALES_{name.upper()}" for name in Settings.model_fields}
    given = {name for job in JOBS.values() for name in job.get("env", {}) if name.startswith("SALES_")}
    assert given - known == {"SALES_REVISION"}  # prefect.yaml's own


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("compose-spec", "compose.yaml"),
    ],
)
def test_the_schema_holds(schema, pattern):
    files = [str(file) for file in PROJECT.glob(pattern)]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
