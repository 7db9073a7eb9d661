# What the pipeline must not be able to change: the policies that hold for it.
resource "snowflake_schema" "governance" {
  count               = local.enabled
  database            = snowflake_database.dw[0].name
  name                = "GOVERNANCE"
  with_managed_access = "true"
}

# A hash in place of the value: joins and counts go on working. Enterprise Edition, as are tags with policies.
resource "snowflake_masking_policy" "personal" {
  count            = local.enabled
  database         = snowflake_database.dw[0].name
  schema           = snowflake_schema.governance[0].name
  name             = "PERSONAL_TEXT"
  return_data_type = "VARCHAR"
  argument {
    name = "VAL"
    type = "VARCHAR"
  }
  body = <<-SQL
    case
      when is_role_in_session('${snowflake_account_role.this["pipeline"].name}') then val
      when is_role_in_session('${snowflake_account_role.this["personal_reader"].name}') then val
      else sha2(val)
    end
  SQL
}

# The tag follows the data: a table that dbt makes of a marked column has its column marked too.
resource "snowflake_tag" "personal" {
  count                  = local.enabled
  database               = snowflake_database.dw[0].name
  schema                 = snowflake_schema.governance[0].name
  name                   = "PERSONAL"
  ordered_allowed_values = ["yes"]
  propagate              = "ON_DEPENDENCY_AND_DATA_MOVEMENT"
  masking_policies       = [snowflake_masking_policy.personal[0].fully_qualified_name]
}

resource "snowflake_tag_association" "personal" {
  count              = var.migrated ? local.enabled : 0
  object_type        = "COLUMN"
  object_identifiers = [for column in var.personal_columns : "${snowflake_schema.this["RAW"].fully_qualified_name}.\"${split(".", column)[0]}\".\"${split(".", column)[1]}\""]
  tag_id             = snowflake_tag.personal[0].fully_qualified_name
  tag_value          = "yes"
}

resource "snowflake_tag" "environment" {
  count                  = local.enabled
  database               = snowflake_database.dw[0].name
  schema                 = snowflake_schema.governance[0].name
  name                   = "COST_CENTER"
  ordered_allowed_values = ["sales-${var.environment}"]
}

resource "snowflake_tag_association" "warehouses" {
  count              = local.enabled
  object_type        = "WAREHOUSE"
  object_identifiers = [for warehouse in snowflake_warehouse.this : warehouse.fully_qualified_name]
  tag_id             = snowflake_tag.environment[0].fully_qualified_name
  tag_value          = "sales-${var.environment}"
}
