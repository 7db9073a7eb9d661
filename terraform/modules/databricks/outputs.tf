# Named like the settings that they fill (blocks/settings.py).
output "databricks_host" { value = var.workspace_host }
output "databricks_client_id" { value = databricks_service_principal.pipeline.application_id }
output "databricks_policy_id" { value = databricks_cluster_policy.batch.id }
output "databricks_instance_profile_arn" { value = databricks_instance_profile.s3.id }
