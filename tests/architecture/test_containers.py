"""The image: pinned, not root, from the lock with its hashes, of paths that exist, and without a secret."""

import re
import tomllib
from importlib.metadata import version

import yaml

from blocks.settings import PROJECT

TEXT = (PROJECT / "Dockerfile").read_text()
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]


def stage(name: str) -> list[str]:
    start = next(i for i, line in enumerate(LINES) if re.fullmatch(rf"FROM \S+ AS {name}", line))
    end = next((i for i, line in enumerate(LINES) if i > start and line.startswith("FROM")), len(LINES))
    return LINES[start:end]


def test_the_stages_start_from_one_exact_version():
    images = re.findall(r"^FROM (\S+) AS (\w+)", TEXT, flags=re.MULTILINE)
    assert [name for _, name in images] == ["base", "requirements", "dev", "runtime"]
    assert {image for image, _ in images} == {images[0][0], "base"}
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", images[0][0])


def test_both_targets_run_as_a_user_by_number_who_is_not_root():
    for name in ("dev", "runtime"):
        users = [line.split()[1] for line in stage(name) if line.startswith("USER ")]
        assert users == ["10001:10001"]


def test_everything_is_installed_from_the_lock_with_its_hashes():
    installs = [line for line in LINES if "pip install" in line and "--editable ." not in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line and "--no-deps" in line for line in installs)
    assert "requirements/runtime.txt" in installs[0]


def test_what_is_copied_exists_and_every_package_is():
    copied = [
        path
        for line in LINES
        if line.startswith("COPY ") and "--from" not in line
        for path in line.split()[1:-1]
        if not path.startswith("--")
    ]
    assert [path for path in copied if not (PROJECT / path).exists()] == []
    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert set(packages["wheel"]["packages"]) <= set(copied)
    ignored = (PROJECT / ".dockerignore").read_text().split()
    assert [p for p in copied if p != "." and f"!{p.split('/')[0]}" not in ignored] == []


def test_no_secret_comes_near_the_image():
    names = re.findall(r"(?:ENV|ARG|^ +)\s*([A-Z_]+)=", TEXT, flags=re.MULTILINE)
    assert names
    assert [name for name in names if re.search("SECRET|TOKEN|PASSWORD|KEY", name)] == []
    ignored = (PROJECT / ".dockerignore").read_text().split()
    assert ignored.index("docker/secrets") > ignored.index("!docker")
    assert {"**/.env", "**/*.p8", "**/*.pem"} <= set(ignored)


def test_images_are_of_the_versions_that_the_lock_has():
    assert COMPOSE["spark-local"]["image"] == f"apache/spark:{version('pyspark')}-python3"
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert COMPOSE["prefect-worker"]["image"] == f"sales/pipeline:{project['version']}"


def test_prometheus_and_grafana_find_each_other():
    scraped = yaml.safe_load((PROJECT / "monitoring/prometheus/prometheus.yml").read_text())
    (target,) = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in COMPOSE
    provisioning = PROJECT / "monitoring/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"].removeprefix("http://").split(":")[0] in COMPOSE
    (provider,) = yaml.safe_load((provisioning / "dashboards/sales.yaml").read_text())["providers"]
    mounted = f"./monitoring/grafana:{provider['options']['path']}:ro"
    assert mounted in COMPOSE["grafana"]["volumes"]
