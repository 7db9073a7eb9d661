"""Policies over production's plan: encrypted, private, tagged, protected; no wildcard action on every resource."""

import json

import pytest

from blocks.settings import PROJECT
from tests.infrastructure.iam_policies import statements

TAGS = {"Project": "sales", "Environment": "prod", "ManagedBy": "terraform"}
# Actions that AWS lets nobody narrow to a resource.
RESOURCELESS = {"kafkaconnect:ListConnectors", "cloudwatch:PutMetricData"}
EVERY_BUCKET = {"drop", "raw", "processed", "artifacts", "logs"}


@pytest.fixture(scope="module")
def planned(prod_plan):
    """Give the planned values of a type's resources, by key (or name, where there is only one)."""
    (module,) = prod_plan["planned_values"]["root_module"]["child_modules"]

    def of(kind):
        return {
            r.get("index", r["name"]): r["values"]
            for r in module["resources"]
            if r["type"] == kind and r["mode"] == "managed"
        }

    return of


def documents(prod_plan, name):
    """Give the policy documents of a data source that were known while planning, by key."""
    children = prod_plan["prior_state"]["values"]["root_module"]["child_modules"][0]["resources"]
    return {
        each["index"]: json.loads(each["values"]["json"])
        for each in children
        if each["type"] == "aws_iam_policy_document" and each["name"] == name
    }


def test_every_bucket_is_encrypted(planned):
    rules = {
        key: value["rule"][0]["apply_server_side_encryption_by_default"][0]["sse_algorithm"]
        for key, value in planned("aws_s3_bucket_server_side_encryption_configuration").items()
    }
    assert set(planned("aws_s3_bucket")) == EVERY_BUCKET
    assert rules == dict.fromkeys(EVERY_BUCKET - {"logs"}, "aws:kms") | {"logs": "AES256"}


def test_every_bucket_is_private_and_versioned(planned):
    blocks = planned("aws_s3_bucket_public_access_block")
    switches = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
    assert set(blocks) == EVERY_BUCKET
    assert all(block[switch] is True for block in blocks.values() for switch in switches)
    versioned = planned("aws_s3_bucket_versioning")
    assert {k: v["versioning_configuration"][0]["status"] for k, v in versioned.items()} == dict.fromkeys(
        EVERY_BUCKET, "Enabled"
    )
    assert set(planned("aws_s3_bucket_acl")) == set()


def test_every_bucket_refuses_plain_http_and_its_deletion(prod_plan):
    found = documents(prod_plan, "bucket")
    assert set(found) == EVERY_BUCKET
    for key, policy in found.items():
        denied = {s["Sid"]: s for s in statements(policy) if s["Effect"] == "Deny"}
        assert denied["TlsOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert denied["TlsOnly"]["Action"] == ["s3:*"]
        bucket = f"arn:aws:s3:::sales-prod-{key}-123456789012"
        assert set(denied["TlsOnly"]["Resource"]) == {bucket, f"{bucket}/*"}
        assert denied["KeepTheBucket"]["Action"] == ["s3:DeleteBucket"]
        assert "Condition" not in denied["KeepTheBucket"]


def test_unfinished_uploads_and_old_versions_go(planned):
    rules = {k: v["rule"][0] for k, v in planned("aws_s3_bucket_lifecycle_configuration").items()}
    assert set(rules) == EVERY_BUCKET
    for rule in rules.values():
        assert rule["abort_incomplete_multipart_upload"] == [{"days_after_initiation": 7}]
        assert 14 <= rule["noncurrent_version_expiration"][0]["noncurrent_days"] <= 90
    assert {t["storage_class"]: t["days"] for t in rules["raw"]["transition"]} == {
        "STANDARD_IA": 30,
        "GLACIER_IR": 120,
    }
    assert rules["raw"]["expiration"][0]["days"] == 2555


def test_production_is_protected_from_deletion(planned):
    assert [b["force_destroy"] for b in planned("aws_s3_bucket").values()] == [False] * 5
    assert [k["deletion_window_in_days"] for k in planned("aws_kms_key").values()] == [30, 30]
    assert {s["recovery_window_in_days"] for s in planned("aws_secretsmanager_secret").values()} == {30}


def test_incomplete_uploads_are_counted(planned):
    (lens,) = planned("aws_s3control_storage_lens_configuration").values()
    assert lens["storage_lens_configuration"][0]["enabled"] is True


def test_keys_rotate(planned):
    assert [k["enable_key_rotation"] for k in planned("aws_kms_key").values()] == [True, True]


def test_every_resource_is_tagged(prod_plan):
    (module,) = prod_plan["planned_values"]["root_module"]["child_modules"]
    # A resource of which nothing is known yet has no values; none of those has tags.
    values = {r["address"]: r.get("values", {}) for r in module["resources"]}
    taggable = {address: value["tags_all"] for address, value in values.items() if "tags_all" in value}
    assert len(taggable) > 50
    assert [address for address, tags in taggable.items() if not TAGS.items() <= (tags or {}).items()] == []


def test_nothing_listens_to_the_internet(planned):
    rules = planned("aws_vpc_security_group_ingress_rule").values()
    assert [rule["cidr_ipv4"] for rule in rules] == ["10.40.0.0/16"] * len(rules)
    assert len(rules) == 2
    assert not any(subnet["map_public_ip_on_launch"] for subnet in planned("aws_subnet").values())


def test_kafka_takes_iam_over_tls_only(planned):
    (cluster,) = planned("aws_msk_cluster").values()
    login = cluster["client_authentication"][0]
    assert (login["unauthenticated"], login["sasl"][0]["iam"]) == (False, True)
    transit = cluster["encryption_info"][0]["encryption_in_transit"][0]
    assert (transit["client_broker"], transit["in_cluster"]) == ("TLS", True)


def test_who_reads_files_is_written_down(planned):
    (trail,) = planned("aws_cloudtrail").values()
    assert (trail["enable_log_file_validation"], trail["is_multi_region_trail"]) == (True, True)
    selectors = {s["name"]: s["field_selector"] for s in trail["advanced_event_selector"]}
    assert set(selectors) == {"Files", "Changes"}


def test_money_and_alarms_reach_somebody(planned):
    (budget,) = planned("aws_budgets_budget").values()
    notifications = {n["notification_type"]: n["threshold"] for n in budget["notification"]}
    assert notifications == {"ACTUAL": 80, "FORECASTED": 100}
    alarms = planned("aws_cloudwatch_metric_alarm")
    assert {name for name in alarms if isinstance(name, str)} == {
        *("PipelineErrors", "AccessDenied", "KeysEndangered", "BucketPolicyChanged", "SinkErrors"),
    }
    assert [s["endpoint"] for s in planned("aws_sns_topic_subscription").values()] == [
        "data-engineering@example.com"
    ]


def test_no_action_is_given_on_everything(dev):
    """Over the policies as applied: identity policies whole, resource policies by their own resource."""
    for address, role in dev.resources("aws_iam_role_policy").items():
        for statement in statements(json.loads(role["policy"])):
            assert statement["Effect"] == "Allow"
            assert not any("*" in action for action in statement["Action"]), address
            if "*" in statement["Resource"]:
                assert set(statement["Action"]) <= RESOURCELESS, address


def test_the_folder_is_checked_by_checkov():
    """checkov's packages do not go with this project's pins, so it has a venv of its own, named by CHECKOV."""
    import os
    import subprocess

    checkov = os.environ.get("CHECKOV")
    if not checkov:
        pytest.skip("set CHECKOV to the command of a checkov that is installed in a venv of its own")
    command = [checkov, "-d", str(PROJECT / "terraform"), "--framework", "terraform", "--compact", "--quiet"]
    done = subprocess.run([*command, "--skip-download"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Failed checks: 0" in done.stdout
