# Read by `sales blocks register --from-terraform`.
output "snowflake_account" { value = "${var.organization_name}-${var.account_name}" }
output "snowflake_user" { value = module.snowflake.snowflake_user }
output "snowflake_role" { value = module.snowflake.snowflake_role }
output "kafka_connect_snowflake_user" { value = module.snowflake.kafka_connect_snowflake_user }
output "kafka_connect_snowflake_role" { value = module.snowflake.kafka_connect_snowflake_role }
output "snowflake_warehouse" { value = module.snowflake.snowflake_warehouse }
output "snowflake_database" { value = module.snowflake.snowflake_database }
output "snowflake_storage_integration" { value = module.snowflake.snowflake_storage_integration }

# For ../aws, its second apply.
output "snowflake_trust" { value = module.snowflake.snowflake_trust }
