"""compose.yaml: pinned, healthy before it is used, in a profile, on this machine alone, no secret in clear."""

import re
from typing import Any

import pytest
import yaml
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_valid_setting_names

from blocks.settings import PROJECT, Settings
from tasks.connector_config import REFERENCE

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*")
SECRET = re.compile(r"password|secret|token|private_key|passphrase", re.IGNORECASE)
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def base_images(dockerfile: str) -> list[str]:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?", dockerfile, flags=re.MULTILINE | re.IGNORECASE)
    return [image for image, _ in stages]


def properties(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {key: value for key, _, value in lines}


PROFILES = {
    "kafka-local": {"kafka", "kafka-connect", "kafka-ui"},
    "spark-local": {"spark-local", "spark-local-worker"},
    "dbt-local": {"dbt-docs"},
    "monitoring": {"node-exporter", "prometheus", "grafana"},
    "prefect": {"prefect-server", "prefect-worker"},
}


def test_each_profile_has_what_it_needs():
    found: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service["profiles"]:
            found.setdefault(profile, set()).add(name)
    assert found == PROFILES


@each_service
def test_every_service_is_in_a_profile_with_a_pinned_image_and_a_healthcheck(service):
    assert service["profiles"]
    assert PINNED.fullmatch(service["image"])
    check = service["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= check.keys()


def test_images_that_are_built_start_from_pinned_ones_and_those_of_the_services():
    built = {
        name: PROJECT / (build if isinstance(build, str) else build["context"])
        for name, service in SERVICES.items()
        if (build := service.get("build"))
    }
    assert {"kafka-connect", "prefect-worker"} <= built.keys()
    for folder in built.values():
        images = base_images((folder / "Dockerfile").read_text())
        assert images
        assert [image for image in images if image != "base" and not PINNED.fullmatch(image)] == []
    connect = base_images((built["kafka-connect"] / "Dockerfile").read_text())
    assert connect[-1] == SERVICES["kafka"]["image"]


def test_ports_are_bound_to_this_machine_and_none_clashes():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    outside = [port.split(":")[1] for port in ports]
    assert len(set(outside)) == len(outside) >= 3


@each_service
def test_what_a_service_waits_for_is_there_and_has_a_healthcheck(service):
    for other, how in service.get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert set(service["profiles"]) <= set(SERVICES[other]["profiles"])


@each_service
def test_secrets_are_files_and_volumes_are_declared(service):
    environment = service.get("environment", {})
    in_clear = [name for name in environment if SECRET.search(name) and not name.endswith("_FILE")]
    assert in_clear == []
    for name in service.get("secrets", []):
        assert COMPOSE["secrets"][name].keys() == {"file"}
    for volume in service.get("volumes", []):
        source = volume.rsplit(":", 2)[0] if volume.endswith(":ro") else volume.split(":")[0]
        if source.startswith("./"):
            assert (PROJECT / source).exists()
        elif not source.startswith("${"):
            assert source in COMPOSE["volumes"]


def test_names_of_variables_are_known_to_the_settings_and_to_prefect():
    names = {name for service in SERVICES.values() for name in service.get("environment", {})}
    ours = {n for n in names if n.startswith("SALES_") and not n.startswith("SALES_DBT_")}
    assert ours
    assert ours <= {f"SALES_{field.upper()}" for field in Settings.model_fields}
    profile = (PROJECT / "dbt/profiles.yml").read_text()
    assert all(f"'{name}'" in profile for name in names if name.startswith("SALES_DBT_"))
    assert {name for name in names if name.startswith("PREFECT_")} <= _get_valid_setting_names(
        PrefectSettings
    )


def test_secrets_stay_out_of_git():
    assert (PROJECT / "docker/secrets/.gitignore").read_text().split() == ["*", "!.gitignore"]
    for secret in COMPOSE["secrets"].values():
        assert re.search(r"docker/secrets/\w+", secret["file"])


def test_clients_reach_the_broker_by_the_listener_that_is_theirs():
    kafka = SERVICES["kafka"]["environment"]
    advertised = dict(each.split("://") for each in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    _, published, inside = SERVICES["kafka"]["ports"][0].split(":")
    assert advertised["HOST"] == f"127.0.0.1:{published}"
    assert f"HOST://:{inside}" in kafka["KAFKA_LISTENERS"]
    worker = properties((PROJECT / "docker/kafka-connect/connect.properties").read_text())
    assert worker["bootstrap.servers"] == advertised["INTERNAL"]
    assert SERVICES["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == advertised["INTERNAL"]


def test_the_key_reference_of_the_guide_is_one_that_the_worker_resolves():
    guide = (PROJECT / "docs/kafka-local.md").read_text()
    (reference,) = re.findall(r"PRIVATE_KEY_REFERENCE=(\S+)", guide)
    assert REFERENCE.fullmatch(reference)
    provider, folder, key = reference.strip("${}").split(":")
    worker = properties((PROJECT / "docker/kafka-connect/connect.properties").read_text())
    assert provider in worker["config.providers"].split(",")
    assert worker[f"config.providers.{provider}.param.allowed.paths"] == folder == "/run/secrets"
    assert key in SERVICES["kafka-connect"]["secrets"]
