# Named like the settings that they fill (blocks/settings.py).
output "snowflake_user" { value = try(snowflake_service_user.this["pipeline"].name, null) }
output "snowflake_role" { value = try(snowflake_account_role.this["pipeline"].name, null) }
output "kafka_connect_snowflake_user" { value = try(snowflake_service_user.this["sink"].name, null) }
output "kafka_connect_snowflake_role" { value = try(snowflake_account_role.this["sink"].name, null) }
output "snowflake_warehouse" { value = try(snowflake_warehouse.this["WH"].name, null) }
output "snowflake_database" { value = one(snowflake_database.dw[*].name) }
output "snowflake_storage_integration" { value = one(snowflake_storage_integration_aws.processed[*].name) }

# For the aws root's second apply.
output "snowflake_trust" {
  value = try({
    iam_user_arn = snowflake_storage_integration_aws.processed[0].describe_output[0].iam_user_arn
    external_id  = snowflake_storage_integration_aws.processed[0].describe_output[0].external_id
  }, null)
}
