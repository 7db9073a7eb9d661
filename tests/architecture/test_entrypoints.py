"""Laws of flows and of prefect.yaml: what Prefect would take without a word, and fail on later."""

import sys
import typing
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint
from pydantic import TypeAdapter

from blocks.settings import PROJECT
from tasks.deployment_file import misspelt

FLOWS = sorted(PROJECT.glob("flows/[a-z]*.py"))
FILE = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
each_deployment = pytest.mark.parametrize(
    "declared", FILE["deployments"], ids=lambda d: d["entrypoint"].rpartition(":")[2]
)


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_every_flow_loads_strictly(path):
    """`prefect deploy` takes a placeholder for a flow whose imports are broken; this does not."""
    flow = load_flow_from_entrypoint(f"{path}:{path.stem}", use_placeholder_flow=False)
    assert flow.name == path.stem.replace("_", "-")
    assert flow.description


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_no_flow_hides_an_installed_package(path):
    """Prefect puts the flow's folder on sys.path, where a file hides a package of the same name."""
    assert path.stem not in sys.stdlib_module_names
    assert not (PROJECT / path.stem).exists()


def test_the_dbt_folder_hides_nothing():
    assert not (PROJECT / "dbt" / "__init__.py").exists()
    assert not list(PROJECT.glob("dbt_*"))


def test_every_flow_is_deployed_once():
    declared = sorted(deployment["entrypoint"] for deployment in FILE["deployments"])
    assert declared == [f"flows/{path.name}:{path.stem}" for path in FLOWS]


@each_deployment
def test_no_key_is_misspelt(declared):
    """Prefect ignores a key it does not know."""
    assert misspelt(declared) == []
    assert set(FILE) == {"name", "definitions", "pull", "deployments"}


@each_deployment
def test_a_deployment_says_what_it_is_and_may_not_overlap_itself(declared):
    assert declared["description"].endswith(".")
    assert declared["version"] == "{{ $SALES_REVISION }}"
    assert declared["tags"] == ["sales", "{{ $SALES_ENVIRONMENT }}"]
    assert declared["concurrency_limit"]["limit"] == 1
    assert declared["concurrency_limit"]["collision_strategy"] in {"ENQUEUE", "CANCEL_NEW"}


@each_deployment
def test_parameters_are_of_the_types_that_the_flow_takes(declared):
    flow = load_flow_from_entrypoint(f"{PROJECT / declared['entrypoint']}", use_placeholder_flow=False)
    types = typing.get_type_hints(flow.fn)
    for name, value in declared["parameters"].items():
        assert TypeAdapter(types[name]).validate_python(value, strict=True) == value
    for trigger in declared.get("triggers", []):
        assert set(trigger["parameters"]) <= set(flow.parameters.properties)
    on_its_own = "schedules" in declared
    given = {*declared["parameters"], *(n for t in declared.get("triggers", []) for n in t["parameters"])}
    assert not on_its_own or set(flow.parameters.required or []) <= given


@each_deployment
def test_schedules_are_crons_of_a_time_zone_with_a_name(declared):
    slugs = [schedule["slug"] for schedule in declared.get("schedules", [])]
    assert len(set(slugs)) == len(slugs)
    for schedule in declared.get("schedules", []):
        assert CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert ZoneInfo(schedule["timezone"])
        assert schedule["active"] == "{{ $SALES_SCHEDULES_ACTIVE }}"


def test_no_secret_stands_in_a_deployment():
    """Prefect resolves a block in job_variables when it deploys, and stores the secret in clear."""
    assert "prefect.blocks" not in str(FILE["deployments"])
    variables = {name for d in FILE["deployments"] for name in d["work_pool"]["job_variables"]["env"]}
    assert [n for n in variables if any(w in n for w in ("TOKEN", "PASSWORD", "SECRET", "KEY"))] == []


def test_every_pull_starts_from_a_fixed_revision_or_a_folder():
    for name, steps in FILE["definitions"]["pull"].items():
        first = next(iter(steps[0].items()))
        expected = "set_working_directory" if name == "folder" else "git_clone"
        assert first[0].endswith(expected)
        assert first[1].get("commit_sha", "{{ $SALES_REVISION }}") == "{{ $SALES_REVISION }}"
        assert "branch" not in first[1]
    assert FILE["pull"] == FILE["definitions"]["pull"]["clone_and_install"]
