"""Terraform on this machine: a copy of the code to work in, the AWS provider's mirror, the stand-ins for clouds.

Everything here is skipped, with the reason, where the binary, the mirror or the stand-ins are absent.
"""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.settings import PROJECT

STAND_INS = PROJECT.parent / "shared" / "terraform"
ACCOUNT = "123456789012"
# Where Terraform itself looks for a mirror, and where packages put one.
MIRRORS = [
    Path("~/.terraform.d/plugins").expanduser(),
    Path("/usr/local/share/terraform/plugins"),
    Path("/usr/share/terraform/plugins"),
    *Path("/opt").glob("*"),
]
FACTS = {
    "aws_account_id": ACCOUNT,
    "pipeline_trust": {
        "principal_arns": [f"arn:aws:iam::{ACCOUNT}:user/prefect-worker"],
        "external_id": "prefect-of-sales",
    },
    "enable_msk": True,
    "alert_emails": ["data-engineering@example.com"],
}


@dataclass
class Root:
    """A copy of one root of terraform/environments, in which Terraform is run."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run Terraform; fail the test with what it said if it ends with another code."""
        done = subprocess.run(
            ["terraform", *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in codes, f"{command}: {done.stdout[-6000:]}{done.stderr[-6000:]}"
        return done

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command).stdout)


@pytest.fixture(scope="session")
def terraform() -> dict[str, str]:
    """Give the environment in which Terraform runs: nothing of ours, no call home."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    commands = ("init", "validate", "test", "plan", "apply", "destroy")
    plain = {f"TF_CLI_ARGS_{command}": "-no-color" for command in commands}
    return kept | plain | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}


@pytest.fixture(scope="session")
def stand_ins() -> Path:
    if not STAND_INS.exists():
        pytest.skip(f"the stand-ins for Terraform are not beside this checkout (../shared/{STAND_INS.name})")
    return STAND_INS


@pytest.fixture(scope="session")
def aws_mirror() -> Path:
    for mirror in MIRRORS:
        if any(mirror.glob("*/hashicorp/aws/*/*/terraform-provider-aws*")):
            return mirror
    pytest.skip("there is no mirror of the AWS provider on this machine")


@pytest.fixture(scope="session")
def copy_code(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a copy of terraform/, with the sink's file where the roots look for it."""

    def copy() -> Path:
        home = tmp_path_factory.mktemp("terraform")
        shutil.copytree(
            PROJECT / "terraform",
            home / "terraform",
            ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars*"),
        )
        shutil.copytree(PROJECT / "streaming" / "connectors", home / "streaming" / "connectors")
        return home / "terraform"

    return copy


@pytest.fixture(scope="session")
def with_schemas(terraform: dict[str, str], stand_ins: Path) -> Any:
    """Run a shell script with the other providers' schemas served; gives the finished process."""
    shim = [] if importlib.util.find_spec("grpc") else [str(Path(__file__).parent / "grpc_over_h2")]

    def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(stand_ins / "schema_provider.py"), "--", "bash", "-c", script]
        environment = terraform | {"PYTHONPATH": os.pathsep.join(shim)}
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run


@pytest.fixture(scope="session")
def moto(stand_ins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a moto server in a process of its own; give its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("w")
    command = [sys.executable, str(stand_ins / "moto_plus.py"), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the moto server ended"
        try:
            httpx.get(f"{url}/moto-api/")
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the moto server did not start")


@pytest.fixture(scope="session")
def aws_root(terraform: dict[str, str], aws_mirror: Path, moto: str, copy_code: Any) -> Any:
    """Make a root of the AWS module ready: initialised, with facts, its state in a file or where `backend` says."""

    def ready(environment: str, *backend: str, **facts: Any) -> Root:
        folder = copy_code() / "environments" / environment / "aws"
        (folder / "facts.auto.tfvars.json").write_text(json.dumps(FACTS | facts))
        if not backend:
            (folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-west-1"}
        root = Root(
            folder, terraform | keys | {"AWS_ENDPOINT_URL": moto, "AWS_EC2_METADATA_DISABLED": "true"}
        )
        root.run("init", f"-plugin-dir={aws_mirror}", *[f"-backend-config={each}" for each in backend])
        return root

    return ready


@dataclass
class Cycle:
    """The dev environment, applied."""

    root: Root
    moto: str
    state: dict[str, Any]
    outputs: dict[str, Any]

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Give the values of the applied resources (or data sources) of a type, by address."""
        return {
            each["address"]: each["values"]
            for each in self.state["values"]["root_module"]["child_modules"][0]["resources"]
            if each["type"] == kind
        }


@pytest.fixture(scope="session")
def dev(aws_root: Any, moto: str) -> Iterator[Cycle]:
    """Apply dev to an empty account, its state in S3 with a lock; destroy it at the end, which must leave nothing."""
    import boto3

    s3 = boto3.client(
        "s3",
        endpoint_url=moto,
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    s3.create_bucket(Bucket="tfstate", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    skip = [f"skip_{what}=true" for what in ("credentials_validation", "requesting_account_id")]
    root = aws_root("dev", "bucket=tfstate", "region=eu-west-1", "use_path_style=true", *skip)
    root.run("apply", "-auto-approve")
    yield Cycle(root, moto, root.json("show", "-json"), root.json("output", "-json"))
    _remove_versions(s3)
    root.run("destroy", "-auto-approve")
    assert "values" not in root.json("show", "-json")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["tfstate"]


def _remove_versions(s3: Any) -> None:
    """Empty dev's buckets while they are versioned: once they are not, moto cannot delete what has a delete marker."""
    for bucket in [each["Name"] for each in s3.list_buckets()["Buckets"] if each["Name"] != "tfstate"]:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
                s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


@pytest.fixture(scope="session")
def prod_plan(aws_root: Any) -> dict[str, Any]:
    """Plan production; give the plan as Terraform's JSON."""
    root = aws_root("prod")
    root.run("plan", "-out=plan")
    plan: dict[str, Any] = root.json("show", "-json", "plan")
    return plan
