"""Formatting, and the modules of Snowflake, Databricks and Prefect against their providers' schemas, with mistakes."""

import subprocess

import pytest

from blocks.settings import PROJECT

VALIDATE = """
set -e
for root in environments/*/{provider}; do
  cd $root
  terraform init -backend=false >init.log 2>&1 || (cat init.log && false)
  terraform validate
  cd - >/dev/null
done"""
TEST = """
set -e
cd modules/{provider}
terraform init >init.log 2>&1 || (cat init.log && false)
terraform test"""
VALIDATE_MISTAKES = """
for root in root-*; do
  (cd -P $root && terraform init -backend=false && terraform validate) >$root.log 2>&1
done"""
OTHERS = ("snowflake", "databricks", "prefect")
# A change to a module, and what validation has to say of it.
MISTAKES = [
    ("snowflake", "main.tf", "auto_suspend ", "auto_suspent ", "Unsupported argument"),
    ("snowflake", "storage.tf", 'storage_provider          = "S3"', "", "Missing required argument"),
    ("snowflake", "roles.tf", '"snowflake_account_role"', '"snowflake_role"', "Invalid resource type"),
    ("snowflake", "users.tf", "default_role ", "default_roles ", "Unsupported argument"),
    ("databricks", "main.tf", "max_clusters_per_user", "max_clusters_for_user", "Unsupported argument"),
    ("databricks", "main.tf", 'permission = "READ"', "", "Missing required argument"),
    ("databricks", "main.tf", '"databricks_secret_acl"', '"databricks_acl"', "Invalid resource type"),
    ("prefect", "main.tf", "concurrency_limit ", "concurency_limit ", "Unsupported argument"),
    ("prefect", "main.tf", "  value = var.environment\n", "", "Missing required argument"),
    ("prefect", "main.tf", '"prefect_variable"', '"prefect_variables"', "Invalid resource type"),
]


def test_every_file_is_formatted(terraform):
    command = ["terraform", "fmt", "-check", "-recursive", str(PROJECT / "terraform")]
    done = subprocess.run(command, env=terraform, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("provider", OTHERS)
def test_every_root_is_valid(provider, with_schemas, copy_code):
    done = with_schemas(VALIDATE.format(provider=provider), copy_code())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Success! The configuration is valid") == 3
    assert "Deprecated" not in done.stdout


@pytest.mark.parametrize("provider", OTHERS)
def test_flags_and_policies_of_a_module(provider, with_schemas, copy_code):
    done = with_schemas(TEST.format(provider=provider), copy_code())
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def test_planted_mistakes_are_found(with_schemas, copy_code, tmp_path):
    for number, (provider, name, right, wrong, _) in enumerate(MISTAKES):
        code = copy_code()
        module = code / "modules" / provider / name
        assert right in module.read_text()
        module.write_text(module.read_text().replace(right, wrong, 1))
        (tmp_path / f"root-{number}").symlink_to(code / "environments" / "dev" / provider)
    with_schemas(VALIDATE_MISTAKES, tmp_path)
    for number, mistake in enumerate(MISTAKES):
        said = (tmp_path / f"root-{number}.log").read_text()
        assert mistake[-1] in said, (mistake, said)
