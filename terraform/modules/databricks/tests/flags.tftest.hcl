mock_provider "databricks" {}
mock_provider "databricks" {
  alias = "account"
}

variables {
  environment          = "dev"
  workspace_host       = "dbc-1.cloud.databricks.com"
  instance_profile_arn = "arn:aws:iam::123456789012:instance-profile/sales-dev-databricks"
}

run "policy" {
  assert {
    condition     = jsondecode(databricks_cluster_policy.batch.definition)["aws_attributes.availability"].defaultValue == "SPOT_WITH_FALLBACK" && !contains(jsondecode(databricks_cluster_policy.batch.definition)["aws_attributes.availability"].values, "ON_DEMAND")
    error_message = "Workers are spot instances."
  }
  assert {
    condition     = jsondecode(databricks_cluster_policy.batch.definition)["autoscale.max_workers"].maxValue == 4
    error_message = "A cluster has a bound."
  }
  assert {
    condition     = jsondecode(databricks_cluster_policy.batch.definition)["cluster_type"].value == "job"
    error_message = "Job clusters only: they end with their run."
  }
  assert {
    condition     = databricks_service_principal.pipeline.allow_cluster_create == false
    error_message = "The pipeline makes clusters under the policy only."
  }
  assert {
    condition     = one(databricks_permissions.policy.access_control[*].permission_level) == "CAN_USE" && databricks_secret_acl.pipeline.permission == "READ"
    error_message = "It uses the policy, and reads the scope."
  }
  assert {
    condition     = length(databricks_budget.monthly) == 0 && output.databricks_host == "dbc-1.cloud.databricks.com"
    error_message = "No budget unless asked for."
  }
}

run "budget" {
  variables {
    budget = { usd = 500, emails = ["data-engineering@example.com"] }
  }
  assert {
    condition     = databricks_budget.monthly[0].alert_configurations[0].quantity_threshold == "500" && databricks_budget.monthly[0].alert_configurations[0].action_configurations[0].target == "data-engineering@example.com"
    error_message = "The budget tells somebody."
  }
}

run "no_such_environment" {
  command = plan
  variables {
    environment = "production"
  }
  expect_failures = [var.environment]
}
