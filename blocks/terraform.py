"""Terraform's outputs as settings: by the settings' own names, or by the few other names in the table below."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blocks.errors import WillNotHeal
from blocks.settings import Settings, is_secret

# Output → the settings it fills, {} standing for its value. An output named like a setting wins over these.
OTHER_NAMES: dict[str, dict[str, str]] = {
    "drop_bucket": {"drop_url": "s3://{}"},
    "raw_bucket": {"raw_url": "s3://{}"},
    "processed_bucket": {"processed_url": "s3://{}"},
    "snowflake_storage_integration": {"snowflake_stage_options": "STORAGE_INTEGRATION = {}"},
    "msk_bootstrap_brokers_sasl_iam": {
        "kafka_bootstrap_servers": "{}",
        "kafka_sasl_mechanism": "AWS_MSK_IAM",
    },
    "prefect_work_pool": {"work_pool": "{}"},
}
# Output → field of the setting databricks_cluster.
CLUSTER_FIELDS = {
    "databricks_policy_id": "policy_id",
    "databricks_instance_profile_arn": "instance_profile_arn",
}
TIMEOUT_SECONDS = 120


def settings_from_terraform(sources: Iterable[Path]) -> dict[str, Any]:
    """Read settings from Terraform roots (folders) or saved `terraform output -json` (files), the later one winning.

    Raises WillNotHeal if Terraform cannot be asked, for a file that is no such output, and for an output that
    is a secret.
    """
    outputs: dict[str, Any] = {}
    for source in sources:
        outputs |= _outputs(source)
    return map_outputs(outputs)


def map_outputs(outputs: dict[str, Any]) -> dict[str, Any]:
    """Turn outputs (name → value) into settings; what is empty or no setting is left out."""
    given = {name: value for name, value in outputs.items() if value not in (None, "", {}, [])}
    if secrets := [name for name in given if name in Settings.model_fields and is_secret(name)]:
        raise WillNotHeal(
            f"Terraform's outputs hold the secrets {', '.join(sorted(secrets))}: outputs are stored in its state. "
            "Remove them there and rotate the secrets; name secrets in the output secret_ids instead."
        )
    mapped: dict[str, Any] = {}
    for output, fields in OTHER_NAMES.items():
        if output in given:
            mapped |= {field: text.format(given[output]) for field, text in fields.items()}
    cluster = {field: given[output] for output, field in CLUSTER_FIELDS.items() if output in given}
    if cluster:
        mapped["databricks_cluster"] = cluster
    mapped |= {name: value for name, value in given.items() if name in Settings.model_fields}
    if "databricks_host" in mapped:
        mapped["databricks_host"] = mapped["databricks_host"].removeprefix("https://").rstrip("/")
    return mapped


def _outputs(source: Path) -> dict[str, Any]:
    text = _ask_terraform(source) if source.is_dir() else _read(source)
    try:
        return {name: output["value"] for name, output in json.loads(text).items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise WillNotHeal(f"{source} gives no `terraform output -json`.") from None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise WillNotHeal(f"--from-terraform {file}: {error.strerror}.") from None


def _ask_terraform(folder: Path) -> str:
    command = ["terraform", f"-chdir={folder}", "output", "-json"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except FileNotFoundError:
        raise WillNotHeal(
            "terraform is not installed here; give a file with the output of `terraform output -json` instead."
        ) from None
    except subprocess.TimeoutExpired:
        raise WillNotHeal(f"terraform output in {folder} gave nothing for {TIMEOUT_SECONDS} s.") from None
    if answer.returncode != 0:
        raise WillNotHeal(f"terraform output in {folder} failed: {answer.stderr.strip()}")
    return answer.stdout
