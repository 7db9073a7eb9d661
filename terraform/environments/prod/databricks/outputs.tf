# Read by `sales blocks register --from-terraform`.
output "databricks_host" { value = module.databricks.databricks_host }
output "databricks_client_id" { value = module.databricks.databricks_client_id }
output "databricks_policy_id" { value = module.databricks.databricks_policy_id }
output "databricks_instance_profile_arn" { value = module.databricks.databricks_instance_profile_arn }
