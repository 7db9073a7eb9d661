"""`sales deploy --dry-run` for a real environment: the whole plan, with no credentials and no network at all."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from blocks.settings import PROJECT
from cli.deploy_steps import BLOCKS
from tasks.migrations import read_migrations

# Every connection fails, so a plan that needed one would not come.
OFFLINE = """
import socket, sys
def refuse(*_):
    raise AssertionError("the network was used")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
sys.argv = ["sales", *sys.argv[1:]]
from cli.app import main
main()
"""


def offline(tmp_path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("SALES_", "PREFECT_", "AWS_"))}
    home = {
        "HOME": str(tmp_path),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "SALES_HOME": str(tmp_path / "s"),
    }
    return subprocess.run(
        [sys.executable, "-c", OFFLINE, *arguments],
        env=kept | home | {"PYTHONPATH": str(PROJECT), "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    answer = offline(folder, "deploy", "--dry-run", "--env", "prod", "--revision", "0123abc", "--json")
    assert answer.returncode == 0, answer.stderr
    assert "network was used" not in answer.stdout + answer.stderr
    return json.loads(answer.stdout)


def test_the_plan_has_every_step_in_order(plan):
    assert plan["environment"] == "prod"
    assert [step["step"] for step in plan["steps"]] == [
        *("warehouse", "spark job", "connector", "blocks", "work pool", "deployments", "automations"),
        "smoke runs",
    ]
    assert {c["action"] for step in plan["steps"] for c in step["changes"]} == {"ensure", "run"}
    assert all(step["changes"][0]["detail"].startswith("Not looked at: ") for step in plan["steps"][:-1])


def test_the_plan_names_everything_that_would_be_there(plan):
    found = {step["step"]: [change["what"] for change in step["changes"]] for step in plan["steps"]}
    assert found["warehouse"] == [migration.name for migration in read_migrations()]
    assert found["work pool"] == ["sales-prod (prefect:managed)"]
    assert found["blocks"] == BLOCKS
    declared = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    assert len(found["deployments"]) == len(declared)
    assert found["deployments"][0] == (
        "run-sales-pipeline/prod at 0123abc: 15 5 * * * Europe/London, sales.file.arrived"
    )
    assert found["smoke runs"] == ["watch-streaming/prod", "run-sales-pipeline/prod"]


def test_prod_is_asked_about_before_anything_is_changed(tmp_path):
    answer = offline(tmp_path, "deploy", "--env", "prod", "--revision", "0123abc")
    assert answer.returncode == 1
    assert "Deploy to prod (no account)?" in answer.stderr
    assert "✓" not in answer.stderr


def test_a_deployment_that_the_doctor_finds_ill_changes_nothing(tmp_path):
    answer = offline(tmp_path, "deploy", "--env", "staging", "--revision", "0123abc")
    assert answer.returncode == 1
    assert "Nothing was changed, because of what `sales doctor` finds: settings: Missing:" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_environment_has_to_be_named(tmp_path):
    answer = offline(tmp_path, "deploy", "--dry-run")
    assert answer.returncode == 1
    assert "Say which environment: --env dev or prod or staging" in answer.stderr


def test_the_doctor_without_a_stack_says_how_to_start_one(tmp_path):
    answer = offline(tmp_path, "doctor", "--json")
    assert answer.returncode == 1
    findings = {finding["check"]: finding for finding in json.loads(answer.stdout)}
    assert findings["settings"]["status"] == "fail"
    assert "`sales up`" in findings["services"]["advice"]
