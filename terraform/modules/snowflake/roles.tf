# pipeline: loads, builds, publishes. sink: adds to SALES_RAW. reader: what is published. monitor: that and MONITORING.
# personal_reader: sees personal columns as they are; given to people, beside reader.
locals {
  roles = {
    pipeline        = "Loads, builds and publishes."
    sink            = "Adds events to RAW.SALES_RAW."
    reader          = "Reads what is published."
    monitor         = "Reads what is published, and how it came about."
    personal_reader = "Sees personal columns unmasked."
  }
  # Who reads tables of which schema. Tables of MARTS_CANDIDATE are granted to readers who cannot enter that schema:
  # publishing clones it, and the clone's tables keep their grants, while the grants of a replaced schema are lost.
  reads = {
    reader-marts       = { role = "reader", schema = "MARTS_CANDIDATE" }
    monitor-marts      = { role = "monitor", schema = "MARTS_CANDIDATE" }
    monitor-monitoring = { role = "monitor", schema = "MONITORING" }
  }
  kinds = var.enable_snowflake_objects ? { for pair in setproduct(keys(local.reads), ["TABLES", "VIEWS"]) : "${pair[0]}-${lower(pair[1])}" => merge(local.reads[pair[0]], { kind = pair[1] }) } : {}
}

resource "snowflake_account_role" "this" {
  for_each = var.enable_snowflake_objects ? local.roles : {}
  name     = upper("SALES_${each.key}${var.suffix}")
  comment  = each.value
}

resource "snowflake_grant_account_role" "to_sysadmin" {
  for_each         = snowflake_account_role.this
  role_name        = each.value.name
  parent_role_name = "SYSADMIN"
}

resource "snowflake_grant_privileges_to_account_role" "database" {
  for_each          = { for name, role in snowflake_account_role.this : name => role if name != "personal_reader" }
  account_role_name = each.value.name
  # Publishing replaces MARTS and keeps each publication as a schema of its own.
  privileges = each.key == "pipeline" ? ["USAGE", "CREATE SCHEMA"] : ["USAGE"]
  on_account_object {
    object_type = "DATABASE"
    object_name = snowflake_database.dw[0].fully_qualified_name
  }
}

resource "snowflake_grant_privileges_to_account_role" "warehouse" {
  for_each          = var.enable_snowflake_objects ? { pipeline = "WH", reader = "BI", monitor = "BI" } : {}
  account_role_name = snowflake_account_role.this[each.key].name
  privileges        = ["USAGE"]
  on_account_object {
    object_type = "WAREHOUSE"
    object_name = snowflake_warehouse.this[each.value].fully_qualified_name
  }
}

# The pipeline's rooms are its own: only an owner can replace MARTS. GOVERNANCE is not, nor is the database.
resource "snowflake_grant_ownership" "schemas" {
  for_each            = snowflake_schema.this
  account_role_name   = snowflake_account_role.this["pipeline"].name
  outbound_privileges = "COPY"
  on {
    object_type = "SCHEMA"
    object_name = each.value.fully_qualified_name
  }
}

resource "snowflake_grant_privileges_to_account_role" "enter" {
  for_each          = var.enable_snowflake_objects ? { sink-raw = "RAW", reader-marts = "MARTS", monitor-marts = "MARTS", monitor-monitoring = "MONITORING" } : {}
  account_role_name = snowflake_account_role.this[split("-", each.key)[0]].name
  privileges        = ["USAGE"]
  on_schema {
    schema_name = snowflake_schema.this[each.value].fully_qualified_name
  }
}

# MARTS is made anew by each publication. Schemas that are there already (RAW, MARTS_CANDIDATE …) are not affected.
resource "snowflake_grant_privileges_to_account_role" "enter_published" {
  for_each          = var.enable_snowflake_objects ? toset(["reader", "monitor"]) : []
  account_role_name = snowflake_account_role.this[each.key].name
  privileges        = ["USAGE"]
  on_schema {
    future_schemas_in_database = snowflake_database.dw[0].fully_qualified_name
  }
  depends_on = [snowflake_schema.this, snowflake_schema.governance]
}

resource "snowflake_grant_privileges_to_account_role" "read" {
  for_each          = local.kinds
  account_role_name = snowflake_account_role.this[each.value.role].name
  privileges        = ["SELECT"]
  on_schema_object {
    future {
      object_type_plural = each.value.kind
      in_schema          = snowflake_schema.this[each.value.schema].fully_qualified_name
    }
  }
}

resource "snowflake_grant_privileges_to_account_role" "stage" {
  count             = local.enabled
  account_role_name = snowflake_account_role.this["pipeline"].name
  privileges        = ["USAGE"]
  on_schema_object {
    object_type = "STAGE"
    object_name = snowflake_stage_external_s3.processed[0].fully_qualified_name
  }
}

resource "snowflake_grant_privileges_to_account_role" "integration" {
  count             = local.enabled
  account_role_name = snowflake_account_role.this["pipeline"].name
  privileges        = ["USAGE"]
  on_account_object {
    object_type = "INTEGRATION"
    object_name = snowflake_storage_integration_aws.processed[0].fully_qualified_name
  }
}

resource "snowflake_grant_privileges_to_account_role" "sink" {
  count             = var.migrated ? local.enabled : 0
  account_role_name = snowflake_account_role.this["sink"].name
  privileges        = ["INSERT", "SELECT"]
  on_schema_object {
    object_type = "TABLE"
    object_name = "${snowflake_schema.this["RAW"].fully_qualified_name}.\"SALES_RAW\""
  }
}
