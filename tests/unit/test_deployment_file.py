"""prefect.yaml as it is read: variables, keys, the ways to the code."""

import pytest
import yaml

from blocks.errors import WillNotHeal
from blocks.settings import PROJECT, Settings, load_settings
from tasks.deployment_file import FILE, fill_in, misspelt, read_deployments, values_for

VALUES = {
    "SALES_ENVIRONMENT": "staging",
    "SALES_WORK_POOL": "pool",
    "SALES_SCHEDULES_ACTIVE": "true",
    "SALES_REVISION": "0123abc",
    "SALES_REPOSITORY": "https://git.example/sales.git",
    "SALES_RESULT_STORAGE": "s3-bucket/sales-results",
    "SALES_FOLDER": "/srv/sales",
}


@pytest.mark.parametrize(
    ("pull", "steps"),
    [
        ("clone_and_install", ["git_clone", "pip_install_requirements"]),
        ("clone", ["git_clone"]),
        ("folder", ["set_working_directory"]),
    ],
)
def test_each_way_to_the_code_is_filled_in(pull, steps):
    for declared in read_deployments(VALUES, pull):
        assert [next(iter(step)).rpartition(".")[2] for step in declared["pull"]] == steps
        assert declared["name"] == "staging"
        assert declared["tags"] == ["sales", "staging"]
        assert "$" not in str(declared["pull"])
    cloned = read_deployments(VALUES, "clone")[0]["pull"][0]["prefect.deployments.steps.git_clone"]
    assert (cloned["repository"], cloned["commit_sha"]) == ("https://git.example/sales.git", "0123abc")


@pytest.mark.parametrize(("text", "active"), [("true", True), ("false", False)])
def test_schedules_are_active_or_not_by_the_setting(text, active):
    every = read_deployments(VALUES | {"SALES_SCHEDULES_ACTIVE": text}, "clone")
    assert {schedule["active"] for declared in every for schedule in declared.get("schedules", [])} == {
        active
    }


def test_a_variable_without_a_value_is_named():
    with pytest.raises(WillNotHeal, match="asks for SALES_NOWHERE"):
        fill_in({"a": ["{{ $SALES_NOWHERE }}"]}, VALUES)


def test_what_is_filled_in_later_is_left_as_it_is():
    assert fill_in({"feed": "{{ event.payload.feed }}"}, VALUES) == {"feed": "{{ event.payload.feed }}"}


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ({"schedule_s": []}, "schedule_s"),
        ({"schedules": [{"cron": "0 5 * * *", "time_zone": "UTC"}]}, "schedules.time_zone"),
        ({"work_pool": {"name": "p", "jobvariables": {}}}, "work_pool.jobvariables"),
        ({"concurrency_limit": {"limit": 1, "strategy": "ENQUEUE"}}, "concurrency_limit.strategy"),
    ],
)
def test_a_misspelt_key_is_named(tmp_path, planted, named):
    assert misspelt({"name": "x"} | planted) == [named]
    content = yaml.safe_load(FILE.read_text())
    content["deployments"][0] |= planted
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(WillNotHeal, match=f"run-sales-pipeline: {named} unknown to Prefect"):
        read_deployments(VALUES, "clone", tmp_path / "prefect.yaml")


def test_one_deployment_twice_is_refused(tmp_path):
    content = yaml.safe_load(FILE.read_text())
    content["deployments"].append(content["deployments"][0])
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(WillNotHeal, match="declares run-sales-pipeline twice"):
        read_deployments(VALUES, "clone", tmp_path / "prefect.yaml")


def test_a_folder_is_named_by_the_flows_in_it_and_needs_no_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    values = values_for(Settings(pull="folder", environment="embedded"))
    assert values["SALES_REVISION"].startswith("folder-")
    assert values["SALES_FOLDER"] == str(PROJECT)


def test_a_clone_without_git_says_what_to_give(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WillNotHeal, match="no git checkout; give --revision"):
        values_for(load_settings(tmp_path, "prod"))
    with pytest.raises(WillNotHeal, match="no remote origin; set SALES_REPOSITORY"):
        values_for(load_settings(tmp_path, "prod"), "0123abc")
