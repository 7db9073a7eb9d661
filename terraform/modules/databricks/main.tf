locals {
  name = "sales-${var.environment}"
}

# Who submits the runs. Its secret is made by hand, put in Secrets Manager, and never comes here.
resource "databricks_service_principal" "pipeline" {
  display_name               = "${local.name}-pipeline"
  allow_cluster_create       = false
  allow_instance_pool_create = false
  workspace_access           = true
  databricks_sql_access      = false
}

resource "databricks_instance_profile" "s3" {
  instance_profile_arn = var.instance_profile_arn
}

resource "databricks_service_principal_role" "s3" {
  service_principal_id = databricks_service_principal.pipeline.id
  role                 = databricks_instance_profile.s3.id
}

# tasks/databricks.py submits one-time runs, which belong to the principal alone; there is no job whose permissions
# could be kept here. What a run's cluster may be, this policy says.
resource "databricks_cluster_policy" "batch" {
  name                  = "${local.name}-batch"
  max_clusters_per_user = 4
  definition = jsonencode({
    "cluster_type"                        = { type = "fixed", value = "job" }
    "spark_version"                       = { type = "regex", pattern = "17\\.[0-9]+\\.x-.*", defaultValue = "17.3.x-scala2.13" }
    "node_type_id"                        = { type = "allowlist", values = var.node_types, defaultValue = var.node_types[0] }
    "driver_node_type_id"                 = { type = "allowlist", values = var.node_types, isOptional = true }
    "autoscale.min_workers"               = { type = "range", minValue = 1, maxValue = 2, defaultValue = 1 }
    "autoscale.max_workers"               = { type = "range", minValue = 1, maxValue = var.max_workers, defaultValue = var.max_workers }
    "aws_attributes.availability"         = { type = "allowlist", values = ["SPOT_WITH_FALLBACK", "SPOT"], defaultValue = "SPOT_WITH_FALLBACK" }
    "aws_attributes.first_on_demand"      = { type = "range", minValue = 0, maxValue = 1, defaultValue = 1 }
    "aws_attributes.instance_profile_arn" = { type = "fixed", value = databricks_instance_profile.s3.id }
    "data_security_mode"                  = { type = "fixed", value = "SINGLE_USER" }
    "custom_tags.pipeline"                = { type = "fixed", value = "sales" }
    "custom_tags.environment"             = { type = "fixed", value = var.environment }
    "dbus_per_hour"                       = { type = "range", maxValue = 20 }
  })
}

resource "databricks_permissions" "policy" {
  cluster_policy_id = databricks_cluster_policy.batch.id
  access_control {
    service_principal_name = databricks_service_principal.pipeline.application_id
    permission_level       = "CAN_USE"
  }
}

# Values are put there by hand, so that no state holds any: databricks secrets put-secret sales-dev KEY
resource "databricks_secret_scope" "sales" {
  name = local.name
}

resource "databricks_secret_acl" "pipeline" {
  scope      = databricks_secret_scope.sales.name
  principal  = databricks_service_principal.pipeline.application_id
  permission = "READ"
}

resource "databricks_budget" "monthly" {
  count        = var.budget == null ? 0 : 1
  provider     = databricks.account
  display_name = "${local.name}-monthly"

  alert_configurations {
    time_period        = "MONTH"
    trigger_type       = "CUMULATIVE_SPENDING_EXCEEDED"
    quantity_type      = "LIST_PRICE_DOLLARS_USD"
    quantity_threshold = tostring(var.budget.usd)
    dynamic "action_configurations" {
      for_each = var.budget.emails
      content {
        action_type = "EMAIL_NOTIFICATION"
        target      = action_configurations.value
      }
    }
  }
  filter {
    tags {
      key = "environment"
      value {
        operator = "IN"
        values   = [var.environment]
      }
    }
  }
}
