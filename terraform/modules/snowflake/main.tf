locals {
  enabled  = var.enable_snowflake_objects ? 1 : 0
  database = "SALES_DW${var.suffix}"
  schemas  = toset(["RAW", "STAGING", "INTERMEDIATE", "MARTS_CANDIDATE", "MARTS", "MONITORING"])
}

resource "snowflake_database" "dw" {
  count                       = local.enabled
  name                        = local.database
  data_retention_time_in_days = var.retention_days
  comment                     = "Sales pipeline, ${var.environment}"
}

# Rooms only: tables in RAW and MONITORING belong to sql/ (`sales warehouse migrate`), the others to dbt.
resource "snowflake_schema" "this" {
  for_each = var.enable_snowflake_objects ? local.schemas : []
  database = snowflake_database.dw[0].name
  name     = each.key
}

resource "snowflake_resource_monitor" "this" {
  for_each                  = var.enable_snowflake_objects ? var.warehouses : {}
  name                      = "SALES_${each.key}_MONTHLY${var.suffix}"
  credit_quota              = each.value.credits
  frequency                 = "MONTHLY"
  start_timestamp           = "IMMEDIATELY"
  notify_triggers           = [50, 80]
  suspend_trigger           = 95
  suspend_immediate_trigger = 100
}

resource "snowflake_warehouse" "this" {
  for_each                     = var.enable_snowflake_objects ? var.warehouses : {}
  name                         = "SALES_${each.key}${var.suffix}"
  warehouse_size               = each.value.size
  auto_suspend                 = 60
  auto_resume                  = "true"
  initially_suspended          = true
  statement_timeout_in_seconds = 3600
  resource_monitor             = snowflake_resource_monitor.this[each.key].fully_qualified_name
}
