# On a mocked provider: which grants there are, and what the flags leave out.
mock_provider "snowflake" {
  mock_resource "snowflake_storage_integration_aws" {
    defaults = { describe_output = [{ iam_user_arn = "arn:aws:iam::111122223333:user/snowflake", external_id = "E" }] }
  }
}

variables {
  environment          = "dev"
  suffix               = "_DEV"
  pipeline_public_keys = { current = "MIIBpipeline" }
  sink_public_keys     = { current = "MIIBsink", next = "MIIBnext" }
  allowed_ips          = ["203.0.113.7/32"]
  processed_bucket     = "processed"
  storage_role_arn     = "arn:aws:iam::123456789012:role/sales-dev-snowflake"
}

run "first_apply" {
  assert {
    condition     = toset(keys(snowflake_schema.this)) == toset(["RAW", "STAGING", "INTERMEDIATE", "MARTS_CANDIDATE", "MARTS", "MONITORING"])
    error_message = "The six schemas of migration 001."
  }
  assert {
    condition     = alltrue([for w in snowflake_warehouse.this : w.auto_suspend == 60 && w.auto_resume == "true" && w.resource_monitor != null])
    error_message = "Every warehouse suspends after a minute and has a resource monitor."
  }
  assert {
    condition     = alltrue([for m in snowflake_resource_monitor.this : m.suspend_trigger == 95 && m.suspend_immediate_trigger == 100])
    error_message = "A monitor suspends."
  }
  assert {
    condition     = output.snowflake_user == "SALES_PIPELINE_DEV" && output.snowflake_warehouse == "SALES_WH_DEV" && output.snowflake_database == "SALES_DW_DEV"
    error_message = "The names of environments/dev.env."
  }
  assert {
    condition     = alltrue([for u in snowflake_service_user.this : startswith(u.rsa_public_key, "MIIB") && u.network_policy != null])
    error_message = "Key pair and network policy."
  }
  assert {
    condition     = snowflake_service_user.this["sink"].rsa_public_key_2 == "MIIBnext" && length(snowflake_service_user.this) == 2
    error_message = "The next key stands beside the one in use; no Grafana user unless there is a key."
  }
  assert {
    condition     = snowflake_storage_integration_aws.processed[0].storage_allowed_locations == toset(["s3://processed/"])
    error_message = "The integration reaches processed storage only."
  }
  assert {
    condition     = output.snowflake_trust.external_id == "E"
    error_message = "The trust for the second apply of aws."
  }
  assert {
    condition     = length(snowflake_grant_privileges_to_account_role.sink) + length(snowflake_tag_association.personal) == 0
    error_message = "There are no tables before the migrations."
  }
}

run "least_privilege" {
  assert {
    condition     = alltrue([for g in snowflake_grant_privileges_to_account_role.read : g.privileges == toset(["SELECT"])])
    error_message = "Readers read."
  }
  assert {
    condition     = alltrue([for key, g in snowflake_grant_privileges_to_account_role.database : g.privileges == toset(key == "pipeline" ? ["USAGE", "CREATE SCHEMA"] : ["USAGE"])])
    error_message = "Only the pipeline makes schemas."
  }
  assert {
    condition     = length([for key, g in snowflake_grant_privileges_to_account_role.enter : key if startswith(key, "reader-") && key != "reader-marts"]) == 0
    error_message = "Readers enter MARTS, not what has not been checked."
  }
  assert {
    condition     = alltrue([for o in snowflake_grant_ownership.schemas : o.account_role_name == "SALES_PIPELINE_DEV"]) && !contains(keys(snowflake_grant_ownership.schemas), "GOVERNANCE")
    error_message = "The pipeline owns its rooms, and not the policies that hold for it."
  }
}

run "migrated" {
  variables {
    migrated = true
  }
  assert {
    condition     = snowflake_grant_privileges_to_account_role.sink[0].privileges == toset(["INSERT", "SELECT"])
    error_message = "The sink adds to one table."
  }
  assert {
    condition     = length(snowflake_tag_association.personal[0].object_identifiers) == 2 && snowflake_tag.personal[0].propagate == "ON_DEPENDENCY_AND_DATA_MOVEMENT"
    error_message = "Personal columns are marked, and what is made of them."
  }
}

run "switched_off" {
  variables {
    enable_snowflake_objects = false
    migrated                 = true
  }
  assert {
    condition     = length(snowflake_database.dw) + length(snowflake_schema.this) + length(snowflake_warehouse.this) + length(snowflake_account_role.this) + length(snowflake_service_user.this) == 0
    error_message = "Nothing is made."
  }
  assert {
    condition     = output.snowflake_database == null && output.snowflake_trust == null
    error_message = "Outputs that fill no setting are null."
  }
}

run "the_whole_internet_is_no_address" {
  command = plan
  variables {
    allowed_ips = ["0.0.0.0/0"]
  }
  expect_failures = [var.allowed_ips]
}
